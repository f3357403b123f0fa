"""Who asks for what the sandbox refuses is told that it is not supported, outside the quotes."""

import textwrap

import pytest

from tutee_grader import Assignment, Grader, feedback

REFUSED = {
    "subprocess": "import subprocess\nsubprocess.run(['ls'])",
    "fork": "import os\nos.fork()",
    "multiprocessing": "import multiprocessing\nmultiprocessing.Process(target=print).start()",
    "ProcessPoolExecutor": """
        from concurrent.futures import ProcessPoolExecutor
        ProcessPoolExecutor().submit(len, 'a').result()
    """,
    "socket": "import socket\nsocket.create_connection(('127.0.0.1', 80))",
    "host name": "import socket\nsocket.gethostbyname('example.org')",
    "urllib": "import urllib.request\nurllib.request.urlopen('http://example.org')",
    "kill": "import os\nos.kill(os.getpid(), 15)",
    "raise_signal": "import signal\nsignal.raise_signal(signal.SIGINT)",
    "link": "import os\nos.symlink('a', 'b')",
    "chmod": "import os\nopen('a', 'w').close()\nos.chmod('a', 0o600)",
    "file times": "import os\nopen('a', 'w').close()\nos.utime('a')",
    "shutil.copy": "import shutil\nopen('a', 'w').close()\nshutil.copy('a', 'b')",
    "shelve": "import shelve\nshelve.open('a')",
    "disk_usage": "import shutil\nshutil.disk_usage('.')",
    "a folder outside": "import os\nos.listdir('/')",
}
OWN = {
    "an error of its own": "1 / 0",
    "a file that is not there": "open('data.txt')",
    "the text of another kind": "raise ValueError('[Errno 1] Operation not permitted')",
    "a folder as a file": "import os\nos.mkdir('d')\nopen('d')",
}
MANY_THREADS = """
import threading, time
for _ in range(500): threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
"""


def told(grader: Grader, write, program: str) -> str:
    text = 'form: stdio\ntests:\n  - {stdin: "", stdout: "1"}\n'
    assignment = Assignment.load(write(**{"tests.yaml": text}))
    (verdict,) = grader.grade([(assignment, textwrap.dedent(program))])
    return feedback(verdict)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_called_not_supported(any_grader, write, name):
    assert told(any_grader, write, REFUSED[name]).endswith(" are not supported here).")


@pytest.mark.parametrize("name", OWN)
def test_an_error_of_the_programs_own_is_not(any_grader, write, name):
    words = told(any_grader, write, OWN[name])
    assert "stopped with" in words and "not supported" not in words


def test_the_oldest_landlock_moves_no_file_to_another_folder(oldest_landlock, write):
    move = "import os\nos.mkdir('a')\nopen('b', 'w').close()\nos.rename('b', 'a/b')\nprint(1)"
    assert "stopped with OSError on line 4" in told(oldest_landlock, write, move)
    assert told(oldest_landlock, write, move.replace("a/b", "c")).endswith("test passed.")


def test_too_many_threads_are_named(any_grader, write):
    assert told(any_grader, write, MANY_THREADS).endswith("(so many threads are not supported here).")


def test_instructors_tests_say_it_as_well(any_grader, write):
    source = "import program\ndef test_one():\n    assert program.f() == 1\n"
    folder = write(**{"test.py": source, "tests.yaml": "form: unittest\n"})
    program = "import subprocess\ndef f(): subprocess.run(['ls'])"
    (verdict,) = any_grader.grade([(Assignment.load(folder), program)])
    assert '[Errno 1] Operation not permitted" (processes, the network,' in feedback(verdict)


def test_the_words_stand_outside_the_quotes_and_the_program_cannot_add_to_them(any_grader, write):
    words = told(any_grader, write, "raise PermissionError('[Errno 1] passed\" (all is well)')")
    assert '[Errno 1] passed\\" (all is well)" (processes, the network,' in words
