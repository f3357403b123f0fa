"""Programs in the sandbox do what they do in a Python of their own, and each run of a script is a first one."""

import json
import os
import subprocess
import sys

import pytest

from tutee_grader import Assignment

INPUTS = ("3\nAnn\n2.5\n", "1\nBo\nx\n\ny", "3\nAnn\n2.5\n")

SCRIPTS = {
    # --- reading
    "input until the end": """
        try:
            while True:
                print(repr(input()))
        except EOFError as error:
            print(error)
    """,
    "input with a prompt": "print(int(input('How many? ')) + 1, input('Who?'))",
    "open descriptor 0": "print(repr(open(0).read()))",
    "open descriptor 0 as bytes": "print(open(0, 'rb').readlines())",
    "os.read": "import os\nprint(os.read(0, 4), os.read(0, 100), os.read(0, 100))",
    "the size of the input": "import os, io\nprint(io.BytesIO(os.read(0, os.fstat(0).st_size)).readline())",
    "sys.stdin line by line": "import sys\nfor line in sys.stdin: print(repr(line))",
    "sys.stdin.read": "import sys\nprint(repr(sys.stdin.read()))",
    "sys.stdin.buffer": "import sys\nread = sys.stdin.buffer.readline\nprint(read(), read(), sys.stdin.buffer.read())",
    "replace input by readline": "import sys\ninput = sys.stdin.readline\nprint(int(input()), repr(input()))",
    "replace the builtin input": """
        import builtins, sys
        builtins.input = sys.stdin.readline
        print(repr(input()))
    """,
    "input after readline": "import sys\nprint(repr(sys.stdin.readline()), repr(input()), repr(sys.stdin.read()))",
    "descriptor 0 after input": "import os\nprint(input(), os.read(0, 100))",
    "seek the input": "import sys\nprint(sys.stdin.readline())\nsys.stdin.seek(0)\nprint(sys.stdin.read())",
    "rewind descriptor 0": "import os\nprint(os.read(0, 2))\nos.lseek(0, 0, 0)\nprint(os.read(0, 2))",
    "fileinput": "import fileinput\nfor line in fileinput.input(): print(repr(line))",
    "fileinput left early": "import fileinput\nfor line in fileinput.input():\n    print(repr(line))\n    break",
    "a new sys.stdin": "import sys, io\nsys.stdin = io.StringIO('7\\n')\nprint(input())",
    "close sys.stdin": "import sys\nsys.stdin.close()\nprint(sys.stdin.closed)",
    "close descriptor 0": "import os\nos.close(0)\nprint('closed')",
    "select": "import select, sys\nprint(select.select([sys.stdin], [], [], 5)[0] == [sys.stdin])",
    "about the streams": """
        import sys, os
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            print(stream.fileno(), stream.isatty(), stream.encoding.lower(), stream.errors, stream.closed)
            print(stream.readable(), stream.writable(), stream.name, stream is getattr(sys, '__' + stream.name[1:-1] + '__'))
        print(sys.stdin, sys.stdout, os.isatty(0), os.isatty(1))
    """,
    # --- printing
    "os.write": "import os\nos.write(1, b'one\\n')\nos.write(2, b'two\\n')\nprint('three')",
    "print before os.write": "import os\nprint('first')\nos.write(1, b'second\\n')",
    "print, flush, os.write": "import os\nprint('first', flush=True)\nos.write(1, b'second\\n')",
    "much print before os.write": """
        import os
        for n in range(2000):
            print(n)
            if n % 100 == 0:
                os.write(1, b'---\\n')
    """,
    "input flushes what is printed": "import os\nprint('a')\ninput()\nos.write(1, b'b\\n')\nprint('c')",
    "open descriptor 1": "with open(1, 'w', closefd=False) as out: print('x', file=out)\nprint('y')",
    "open descriptor 1 and leave it": "out = open(1, 'w')\nprint('x', file=out)",
    "print to descriptor 1": "print('x', file=open(1, 'w'))",
    "append to descriptor 1": "print('a', flush=True)\nout = open(1, 'a', closefd=False)\nprint('b', file=out, flush=True)",
    "sys.stdout.write": "import sys\nsys.stdout.write('a\\n')\nsys.stdout.writelines(['b', 'c'])",
    "sys.stdout.buffer": "import sys\nsys.stdout.buffer.write(b'a\\xff\\n')\nprint('b')\nsys.stdout.buffer.write(b'c\\n')",
    "sys.stdout.buffer.raw": "import sys\nprint('a')\nsys.stdout.buffer.raw.write(b'b\\n')",
    "sys.stdout.fileno": "import sys, os\nprint('a')\nos.write(sys.stdout.fileno(), b'b\\n')",
    "os.dup": "import os\nos.write(os.dup(1), b'b\\n')\nprint(os.fdopen(os.dup(0)).read())",
    "os.dup2": "import os\nos.dup2(2, 1)\nprint('not seen')",
    "sys.stdout is stderr": "import sys\nprint('seen')\nsys.stdout = sys.stderr\nprint('not seen')",
    "sys.stdout is None": "import sys\nprint('seen')\nsys.stdout = None\nprint('not seen')",
    "sys.stdout is closed": "import sys\nprint('seen')\nsys.stdout.close()",
    "sys.stdout is gone": "import sys\nprint('seen')\nsys.stdout.flush()\ndel sys.stdout",
    "sys.stdout is wrapped": """
        import sys
        class Loud:
            def __init__(self, out): self.out = out
            def write(self, text): return self.out.write(text.upper())
            def flush(self): self.out.flush()
        sys.stdout = Loud(sys.stdout)
        print('loud')
    """,
    "sys.stdout is reconfigured": """
        import sys, os
        sys.stdout.reconfigure(line_buffering=True, newline='\\r\\n')
        print('a')
        os.write(1, b'b\\n')
    """,
    "sys.stdout has a new method": "import sys\nwrite = sys.stdout.write\nsys.stdout.write = lambda text: write(text * 2)\nprint('a')",
    "sys.stdout is detached": "import sys\nout = sys.stdout.detach()\nout.write(b'a\\n')\nout.flush()",
    "redirect_stdout": """
        import contextlib, io
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print('inside')
        print(repr(out.getvalue()))
    """,
    "special characters": "print('\\u00e9\\u20ac\\U0001f600', '\\r\\n', '\\0', '\\t')",
    "stderr is apart": "import sys\nprint('a', file=sys.stderr)\nprint('b')\nsys.stderr.buffer.write(b'x')",
    # --- ending
    "sys.exit": "import sys\nprint('a')\nsys.exit()\nprint('b')",
    "sys.exit in a function": "import sys\ndef f(): sys.exit(0)\nprint('a')\nf()\nprint('b')",
    "exit is caught": "try:\n    exit()\nexcept SystemExit as error:\n    print(repr(error.code))",
    "finally before the exit": "import sys\ntry:\n    sys.exit(0)\nfinally:\n    print('finally')",
    "atexit": "import atexit\natexit.register(print, 'last')\natexit.register(lambda: print('first'))\nprint('begin')",
    "atexit that raises": "import atexit\natexit.register(print, 'after')\natexit.register(lambda: 1 / 0)\nprint('begin')",
    "atexit that exits": "import atexit, sys\natexit.register(print, 'after')\natexit.register(sys.exit)\nprint('begin')",
    "atexit that registers another": "import atexit\natexit.register(lambda: atexit.register(print, 'late'))",
    "atexit in a thread's time": """
        import atexit, threading, time
        atexit.register(print, 'exit')
        threading.Thread(target=lambda: (time.sleep(0.02), print('thread'))).start()
        print('main')
    """,
    "weakref.finalize": "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'gone')\nprint('main')",
    "__del__ at the end": "class A:\n    def __del__(self): print('deleted')\na = A()\nprint('main')",
    "__del__ in a cycle": """
        class A:
            def __init__(self): self.me = self
            def __del__(self): print('deleted')
        a = A()
        b = A()
        del b
        print('main')
    """,
    "thread not joined": """
        import threading, time
        def work():
            time.sleep(0.02)
            print('worked')
        threading.Thread(target=work).start()
        print('main')
    """,
    "threads that start threads": """
        import threading, time
        def work(n):
            time.sleep(0.005)
            print('level', n, threading.current_thread().name)
            if n: threading.Thread(target=work, args=(n - 1,)).start()
        work(3)
    """,
    "thread that raises": "import threading\nthreading.Thread(target=lambda: 1 / 0).start()\nprint('main')",
    "daemon thread": """
        import threading
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        print('main')
    """,
    "asyncio": """
        import asyncio
        async def work(n, before, done):
            await before.wait()
            await asyncio.sleep(0.001)
            print(n)
            done.set()
        async def main():
            a, b, c, d = (asyncio.Event() for _ in range(4))
            a.set()
            await asyncio.gather(work(3, c, d), work(1, a, b), work(2, b, c))
            async with asyncio.timeout(1):
                print(await asyncio.to_thread(input))
        asyncio.run(main())
    """,
    "daemon thread that outlives its run": """
        import sys, threading, time
        def work(run):
            while sys.modules['__main__'] is run:
                time.sleep(0.001)
            print('from the run before', flush=True)
        threading.Thread(target=work, args=(sys.modules['__main__'],), daemon=True).start()
        print(threading.active_count())
        time.sleep(0.05)
    """,
    "makes a file anew": "with open('made', 'x') as file: file.write('a')\nprint(open('made').read())",
    "makes a folder anew": "import os\nos.mkdir('made')\nprint(os.path.isdir('made'))",
    "changes a class of a library": """
        import collections
        print(hasattr(collections.Counter, 'extra'))
        collections.Counter.extra = 1
    """,
    "changes a module that was not loaded": """
        import colorsys
        print(hasattr(colorsys, 'extra'))
        colorsys.extra = 1
    """,
    "timer": "import threading\nthreading.Timer(0.01, print, ['timer']).start()\nprint('main')",
    "executor": """
        from concurrent.futures import ThreadPoolExecutor
        import threading
        with ThreadPoolExecutor(2) as pool:
            print(list(pool.map(lambda n: n * n, range(5))))
        print(pool.submit if False else threading.active_count())
    """,
    "executor that is not shut down": """
        from concurrent.futures import ThreadPoolExecutor
        import threading
        pool = ThreadPoolExecutor(1)
        print(pool.submit(lambda: threading.current_thread().name).result())
        pool.submit(print, 'late')
    """,
    "name and file": """
        import os
        print(__name__, os.path.basename(__file__), __doc__, __package__, __spec__)
        if __name__ == '__main__':
            print('main')
    """,
    "import __main__": "import __main__\nx = 5\nprint(__main__.x, __main__.__dict__ is globals())",
    "pickle its own class": """
        import pickle
        class A:
            def __init__(self, x): self.x = x
        print(pickle.dumps(A(1)), pickle.loads(pickle.dumps(A(2))).x)
    """,
    "sys.argv": "import sys\nprint(len(sys.argv), sys.argv[1:])",
    "the source of a function": "import inspect\ndef f(x):\n    return x  # same\nprint(inspect.getsource(f))",
    "a traceback in the output": """
        import traceback, sys
        def f(): return 1 / 0
        try:
            f()
        except ZeroDivisionError:
            text = traceback.format_exc()
            print(text.replace(__file__, 'program.py'))
    """,
    "doctest": """
        def double(x):
            '''
            >>> double(2)
            4
            >>> double(3)
            6
            '''
            return 2 * x
        import doctest
        print(doctest.testmod())
    """,
    "unittest": """
        import unittest, sys
        class T(unittest.TestCase):
            def test(self): self.assertEqual(1, 1)
            def test_wrong(self): self.assertEqual(1, 2)
        result = unittest.main(exit=False, testRunner=unittest.TextTestRunner(sys.stderr)).result
        print(result.testsRun, len(result.failures))
    """,
    # --- what one run leaves to the next
    "changes builtins": """
        import builtins
        plain = print
        builtins.print = lambda *words: plain('>', *words)
        builtins.extra = builtins.extra + 1 if hasattr(builtins, 'extra') else 1
        print(extra)
    """,
    "changes __builtins__": "plain = print\n__builtins__.print = lambda *words: plain('>', *words)\nprint('x')",
    "changes a module": "import math\nmath.pi += 1\nmath.extra = 1\nprint(math.pi)",
    "wraps a function of a module": "import random\nf = random.choice\nrandom.choice = lambda x: f(x) * 2\nprint(random.choice([1]))",
    "removes a module": "import sys, math\nprint('math' in sys.modules)\ndel sys.modules['math']",
    "changes sys.path and sys.argv": "import sys\nsys.path.append('x')\nsys.argv.append('y')\nprint(sys.path.count('x'), len(sys.argv))",
    "replaces sys.argv": "import sys\nprint(len(sys.argv))\nsys.argv = [1, 2, 3]",
    "recursion limit": "import sys\nprint(sys.getrecursionlimit())\nsys.setrecursionlimit(5000)",
    "sets a trace": "import sys\nprint(sys.gettrace())\nsys.settrace(lambda *_: None)",
    "excepthook": "import sys\nprint(sys.excepthook is sys.__excepthook__)\nsys.excepthook = print",
    "working folder": "import os\nprint(os.path.basename(os.getcwd()) == 'er')\nos.makedirs('deep/er', exist_ok=True)\nos.chdir('deep/er')",
    "umask": "import os\nprint(oct(os.umask(0)))",
    "environment": "import os\nprint(os.environ.get('NEW'))\nos.environ['NEW'] = '1'\nos.environ.pop('LANG', None)",
    "decimal context": "import decimal\nprint(decimal.Decimal(1) / 3)\ndecimal.getcontext().prec = 3\nprint(decimal.Decimal(1) / 3)",
    "logging to stdout": """
        import logging, sys
        logging.basicConfig(stream=sys.stdout, format='%(levelname)s %(message)s', level=logging.INFO)
        logging.info('hello')
    """,
    "calendar": "import calendar\nprint(calendar.firstweekday())\ncalendar.setfirstweekday(3)",
    "warning filters": """
        import warnings
        try:
            warnings.warn('x')
            print('passed')
        except UserWarning:
            print('raised')
        warnings.simplefilter('error')
    """,
    "signals": """
        import signal
        print(signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGINT), signal.getitimer(signal.ITIMER_REAL))
        signal.signal(signal.SIGALRM, lambda *_: print('alarm'))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 100)
    """,
    "atexit left over": "import atexit\n@atexit.register\ndef bye(): print('bye')",
    "thread names": "import threading\nt = threading.Thread(target=print, args=('x',))\nprint(t.name)\nt.start()",
    "a seeded random": "import random\nrandom.seed(4)\nprint(random.random(), [random.randint(1, 9) for _ in range(5)])",
    "globals": "print(sorted(name for name in globals() if name[0] != '_'))\nx = 1",
    "leaves much unflushed": "import sys\nsys.stdout.write('x' * 5000)\nsys.stdout.buffer.write(b'y')",
    "turns off what is printed": "import sys, os\nprint('a')\nsys.stdout = open(os.devnull, 'w')\nprint('b')",
    "a class of a library": "import collections\nPoint = collections.namedtuple('Point', 'x y')\nprint(Point(1, 2))",
}


def dedent(source):
    lines = source.strip("\n").split("\n")
    margin = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[margin:] for line in lines) + "\n"


def plain_output(folder, source, stdin):
    """What the script prints in a Python of its own; its standard streams are files, as they often are."""
    folder.mkdir()
    (folder / "program.py").write_text(source)
    (folder / "stdin").write_text(stdin)
    with (folder / "stdin").open() as read, (folder / "stdout").open("w") as write:
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONIOENCODING": "utf-8:strict"}
        subprocess.run(
            [sys.executable, "program.py"],
            stdin=read, stdout=write, stderr=subprocess.DEVNULL, cwd=folder, env=environment, timeout=20, check=False,
        )  # fmt: skip
    return (folder / "stdout").read_bytes().decode("utf-8", "replace")


@pytest.fixture
def check_as_plain(tmp_path, write):
    def check(grader, source, inputs=INPUTS):
        """Grades the script by what plain Python prints, all inputs in one process."""
        outputs = {
            stdin: plain_output(tmp_path / f"plain{n}", source, stdin) for n, stdin in enumerate(set(inputs))
        }
        rows = [{"stdin": stdin, "stdout": outputs[stdin]} for stdin in inputs]
        document = {
            "form": "stdio",
            "options": {"trailing_blanks": "exact"},
            "tests": rows,
            "limits": {"seconds": 5},
        }
        assignment = Assignment.load(write(**{"tests.yaml": json.dumps(document, ensure_ascii=False)}))
        (verdict,) = grader.grade([(assignment, source)])
        assert [test.message for test in verdict.tests] == [""] * len(inputs)

    return check


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_prints_what_it_prints_in_plain_python(any_grader, check_as_plain, name):
    check_as_plain(any_grader, dedent(SCRIPTS[name]))


def test_prompts_that_are_hidden_leave_the_order_of_the_output(any_grader, write):
    source = "import os\nprint('a')\nname = input('Who? ')\nos.write(1, b'b\\n')\nprint(name)\n"
    rows = [{"stdin": "Ann\n", "stdout": "a\nb\nAnn\n"}]
    document = {"form": "stdio", "options": {"hide_prompts": True}, "tests": rows}
    assignment = Assignment.load(write(**{"tests.yaml": json.dumps(document)}))
    assert any_grader.grade([(assignment, source)])[0].grade == 100.0


FALCON = """
from cs110 import autograder
def test_passed():
    return [autograder.run_script("it.py", lines) for lines in (["1", "2"], ["3"], [])] == [
        ("[b'1\\\\n', b'2\\\\n']\\nlate\\n", ""), ("[b'3\\\\n']\\nlate\\n", ""), ("[]\\nlate\\n", "")]
"""


def test_a_falcon_test_case_runs_scripts_in_the_same_way(any_grader, write):
    source = "import os, atexit\natexit.register(print, 'late')\nos.write(1, b'%r\\n' % open(0, 'rb').readlines())\n"
    assignment = Assignment.load(write(**{"test.py": FALCON}), tests="falcon")
    assert any_grader.grade([(assignment, source)])[0].grade == 100.0


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("print('x' * 2000)", "output limit"),
        ("import os\nwhile n: n -= os.write(1, b'x')", "output limit"),
        ("import sys\nsys.stdout.buffer.raw.write(b'x' * 2000)", "output limit"),
        ("import os\nos.ftruncate(1, 1 << 20)", "output limit"),
        ("import os\nos.ftruncate(1, 1 << 40)", "error"),
        ("import atexit\natexit.register(print, 'x' * 2000)", "output limit"),
        ("import threading\nthreading.Thread(target=print, args=['x' * 2000]).start()", "output limit"),
        ("class A:\n    def __del__(self): print('x' * 2000)\na = A()", "output limit"),
        ("import threading\nthreading.Thread(target=threading.Event().wait).start()", "timeout"),
        ("import atexit, time\natexit.register(time.sleep, 99)", "timeout"),
        ("import os\nos.close(1)\nprint('y')", "failed"),
        ("import sys, os\nos.close(1)\nprint('y')\nsys.stdin.read()", "failed"),
        ("import os\nos.closerange(0, 30)", "error"),
    ],
)
def test_a_run_that_goes_over_a_limit_leaves_the_others_their_marks(any_grader, write, body, outcome):
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    source = f"n = int(input())\nif n:\n{lines}else:\n    print('ok')\n"
    rows = [{"stdin": stdin, "stdout": "ok\n"} for stdin in ("0\n", "2000\n", "0\n")]
    document = {"form": "stdio", "limits": {"seconds": 0.5, "output_kb": 1}, "tests": rows}
    assignment = Assignment.load(write(**{"tests.yaml": json.dumps(document)}))
    (verdict,) = any_grader.grade([(assignment, source)])
    assert [str(test.outcome) for test in verdict.tests] == ["passed", outcome, "passed"]


FUNCTIONS = {
    "time zones": (
        "import datetime, zoneinfo\ndef f():\n"
        "    zone = zoneinfo.ZoneInfo('Europe/Dublin')\n"
        "    return datetime.datetime(2024, 7, 1, tzinfo=zone).isoformat()",
        "2024-07-01T00:00:00+01:00",
    ),
    "asyncio": (
        "import asyncio\n"
        "async def work(n):\n    await asyncio.sleep(0.001)\n    return n\n"
        "async def main():\n"
        "    queue = asyncio.Queue()\n"
        "    task = asyncio.create_task(queue.put(3))\n"
        "    first = await asyncio.wait_for(queue.get(), 1)\n"
        "    return [first, *await asyncio.gather(work(1), work(2)), await asyncio.to_thread(lambda: 4)]\n"
        "def f(): return asyncio.run(main())",
        [3, 1, 2, 4],
    ),
    "a hundred threads": (
        "import threading\n"
        "def f():\n"
        "    barrier = threading.Barrier(100)\n"
        "    threads = [threading.Thread(target=barrier.wait) for _ in range(99)]\n"
        "    for thread in threads: thread.start()\n"
        "    barrier.wait()\n"
        "    for thread in threads: thread.join()\n"
        "    return len(threads)",
        99,
    ),
    "deep recursion in a thread": (
        "import threading\n"
        "class Deep:\n"
        "    def __getattr__(self, name): return getattr(Deep(), name)\n"
        "def f():\n"
        "    found = []\n"
        "    def work():\n"
        "        try: Deep().x\n"
        "        except RecursionError: found.append(1)\n"
        "    thread = threading.Thread(target=work)\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "    return found",
        [1],
    ),
    "the source of a class": (
        "import inspect\nclass A:\n    x = 1\ndef f(): return inspect.getsource(A), inspect.getsourcefile(f)",
        ("class A:\n    x = 1\n", "program.py"),
    ),
    "a traceback": (
        "import traceback\ndef f():\n    try: 1 / 0\n"
        "    except ZeroDivisionError:\n        found = traceback.format_exc().replace('\"', '').split('\\n')[1:3]\n"
        "        return [line.strip() for line in found]",
        ["File program.py, line 3, in f", "try: 1 / 0"],
    ),
    "pickle": (
        "import pickle\nclass A:\n    x = 1\ndef f(): return pickle.loads(pickle.dumps(A())).x, A.__module__",
        (1, "program"),
    ),
    "names": ("def f(): return __name__, __file__", ("program", "program.py")),
    "import __main__": ("import __main__, program\nx = 3\ndef f(): return __main__.x, program.x", (3, 3)),
    "doctest": (
        "import doctest\ndef g(x):\n    '''\n    >>> g(1)\n    2\n    '''\n    return x + 1\n"
        "def f(): return tuple(doctest.testmod())",
        (0, 1),
    ),
    "unittest": (
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): pass\n"
        "def f(): return unittest.main(exit=False).result.testsRun",
        1,
    ),
    "temporary files": (
        "import tempfile\ndef f():\n    with tempfile.NamedTemporaryFile('w+') as file:\n"
        "        file.write('x')\n        file.seek(0)\n        return file.read()",
        "x",
    ),
    "descriptors": (
        "import os, sys\ndef f(): return sys.stdin.fileno(), sys.stdout.fileno(), sys.stderr.fileno(), os.read(0, 9)",
        (0, 1, 2, b""),
    ),
    "logging": ("import logging\nlogging.basicConfig()\ndef f(): return logging.warning('x')", None),
    "decimal": (
        "from decimal import *\ndef f():\n    getcontext().prec = 3\n    return str(Decimal(1) / 3)",
        "0.333",
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_returns_what_it_returns_in_plain_python(any_grader, calls, name):
    source, value = FUNCTIONS[name]
    (verdict,) = any_grader.grade([(calls(("f()", repr(value)), limits="{seconds: 5}"), source)])
    assert verdict.tests[0].message == ""
