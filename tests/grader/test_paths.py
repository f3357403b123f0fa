"""What a program can learn of where things lie on this machine: where Python is, and nothing else."""

import sys
from pathlib import Path

import tutee_grader
from tutee_grader import Grader, feedback
from tutee_grader.sandbox import worker

PASSED = "The only test passed."
SEARCH = """
import ctypes, gc, os, sys, traceback, types

def strings():
    "Every text that the interpreter holds, and the command line as the kernel put it into memory."
    yield from traceback.format_stack()
    place = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "program_invocation_name").value
    for _ in range(16):
        text = ctypes.string_at(place)
        place += len(text) + 1
        yield text.decode()
    frame, waiting, seen = sys._getframe(), [sys.modules], set()
    while frame:
        waiting += [frame.f_code, frame.f_locals, frame.f_globals]
        frame = frame.f_back
    waiting += gc.get_objects()
    while waiting:
        item = waiting.pop()
        if id(item) in seen or item is waiting or item is seen:
            continue
        seen.add(id(item))
        if isinstance(item, str):
            yield item
        elif isinstance(item, bytes):
            yield item.decode("latin-1")
        elif isinstance(item, types.CodeType):
            waiting += [item.co_filename, *item.co_consts, *item.co_names]
        else:
            waiting += gc.get_referents(item)

def f(*hidden):
    names = ["".join(map(chr, codes)) for codes in hidden]
    return sorted({text[:200] for text in strings() for name in names if name in text and text != name})
"""


def found(grader: Grader, calls, *names: str) -> str:
    """Which texts in a student's process hold one of these names, all but its first and last character.

    They are passed as numbers, so that the search itself holds no such text.
    """
    hidden = ", ".join(str([ord(char) for char in name[1:-1]]) for name in names)
    (verdict,) = grader.grade([(calls((f"f({hidden})", "[]"), limits="{seconds: 10}"), SEARCH)])
    return feedback(verdict)


def test_the_folder_of_this_package_is_nowhere(any_grader, calls):
    assert found(any_grader, calls, str(Path(tutee_grader.__file__).parents[1])) == PASSED
    assert found(any_grader, calls, str(Path.cwd())) == PASSED
    assert found(any_grader, calls, sys.executable) == PASSED


def test_the_folder_outside_is_nowhere(calls):
    with Grader(1, bubblewrap=False) as made:
        one = made._pool.workers()[0]
        assert one.scratch is not None
        assert found(made, calls, one.scratch.path) == PASSED


def test_a_program_in_a_plain_folder_does_not_find_this_package_either(monkeypatch, calls):
    monkeypatch.setattr(worker, "MOUNT_POINT", "/nowhere")
    with Grader(1, bubblewrap=False) as made:
        assert found(made, calls, str(Path(tutee_grader.__file__).parents[1])) == PASSED


def test_the_search_would_find_what_is_there(any_grader, calls):
    assert found(any_grader, calls, "-/dev/sh-") != PASSED  # on the command line


def test_what_python_says_of_itself_is_the_same_in_both_modes(any_grader, calls):
    program = (
        "import os, sys\n"
        "main = sys.modules['__main__']\n"
        "def f():\n"
        "    return (sys.argv, sys.orig_argv, sys.executable, os.getcwd(), getattr(main, '__file__', None),\n"
        "            [path for path in [*sys.path, *sys.path_importer_cache] if sys.prefix not in path],\n"
        "            sorted(set(os.environ) - {'PWD', 'LC_CTYPE'}))\n"
    )
    names = sorted(worker.ENVIRONMENT)
    expected = (["program.py"], ["python", "program.py"], "", "/dev/shm", "program.py", [], names)
    (verdict,) = any_grader.grade([(calls(("f()", repr(expected))), program)])
    assert feedback(verdict) == PASSED


def test_modules_of_the_library_are_found_without_a_path_of_ours(any_grader, calls):
    program = (
        "import inspect, json, sysconfig, multiprocessing, subprocess, platform, venv\n"
        "def f(): return 'def loads' in inspect.getsource(json.loads), bool(sysconfig.get_paths())\n"
    )
    (verdict,) = any_grader.grade([(calls(("f()", "(True, True)"), limits="{seconds: 5}"), program)])
    assert feedback(verdict) == PASSED


def test_the_name_of_the_machine_is_not_told(any_grader, calls):
    program = "import os, platform\ndef f(): return os.uname().nodename, platform.node()\n"
    (verdict,) = any_grader.grade([(calls(("f()", "('sandbox', 'sandbox')")), program)])
    assert feedback(verdict) == PASSED


def test_what_can_be_seen_of_files_outside(any_grader, calls, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("text")
    program = f"""
import os, random, zoneinfo
def size():
    try: return os.stat({str(outside)!r}).st_size
    except FileNotFoundError: return None
def attempt(use):
    try: use({str(outside)!r})
    except OSError: return "refused"
def library(): return len(open(random.__file__).read()) > 0, zoneinfo.ZoneInfo("Europe/Dublin").key
"""
    seen = "None" if any_grader.protections["bubblewrap"] else "4"
    rows = [
        ("size()", seen),
        ("attempt(open)", "'refused'"),
        ("attempt(lambda path: os.listdir(os.path.dirname(path)))", "'refused'"),
        ("library()", "(True, 'Europe/Dublin')"),
    ]
    (verdict,) = any_grader.grade([(calls(*rows), program)])
    assert [test.outcome for test in verdict.tests] == ["passed"] * 4, feedback(verdict, "full")
