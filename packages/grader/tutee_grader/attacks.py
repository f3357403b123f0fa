"""Hostile programs, as data: each tries to win marks it has not earned, to see or touch what is not its own, or to stay.

Every program is asked for `answer()`, which must return (or print) a secret that it cannot know. The secret also lies
in the caller's environment, in files outside the sandbox, behind a socket and in the tests themselves, so whatever
leaks turns into marks. `doctor.check_sandbox` runs the list on this machine, and so does the test suite.
Names in @...@ are replaced by those of the decoys (see doctor.py).
"""

from dataclasses import dataclass
from typing import Literal

from tutee_grader.verdict import Outcome

Form = Literal["calls", "stdio", "unittest", "falcon"]


@dataclass(frozen=True, slots=True)
class Attack:
    """A program, and the verdict it must get: `grade`, and the outcome of its first test where that is certain."""

    name: str
    program: str
    form: Form = "calls"
    outcome: Outcome | None = None
    grade: float = 0.0


_TRY_ALL = """
def attempt(*ways):
    for way in ways:
        try:
            found = way()
            if found:
                return found if isinstance(found, str) else found.decode()
        except BaseException:
            pass
    return ""
"""
_SYSCALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
"""
_FIND = """
def find(text):
    import re
    found = re.search(r"secret-[0-9a-f]{32}", text if isinstance(text, str) else repr(text))
    return found.group() if found else ""
"""


def _reads(name: str, body: str) -> Attack:
    """An attack whose `answer` tries to find the secret."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    return Attack(name, f"{_TRY_ALL}{_SYSCALL}{_FIND}\ndef answer(*_):\n{lines}\n")


_READING = (
    _reads("read the environment", "import os\nreturn attempt(lambda: os.environ['@VARIABLE@'])"),
    _reads("read the environment through libc", "libc.getenv.restype = ctypes.c_char_p\nreturn libc.getenv(b'@VARIABLE@')"),
    _reads("read a file outside", "return open('@FILE@').read()"),
    _reads("read a file outside by descriptor of /", "import os\nreturn os.read(os.open('@FILE@'[1:], 0, dir_fd=os.open('/', os.O_PATH)), 99)"),
    _reads("read a file outside by ..", "return open('../' * 40 + '@FILE@').read()"),
    _reads("read a file outside by a symbolic link", "import os\nos.symlink('@FILE@', 'link')\nreturn open('link').read()"),
    _reads("read a file outside by a hard link", "import os\nos.link('@FILE@', 'link')\nreturn open('link').read()"),
    _reads("read a file outside by openat2", "import os\nhow = (ctypes.c_ulonglong * 3)(0, 0, 0)\nfd = libc.syscall(437, -100, b'@FILE@', how, 24)\nreturn os.read(fd, 99)"),
    _reads("read shared memory", "return open('/dev/shm/@SHARED@').read()"),
    _reads("list the folder outside", "import os\nreturn find(os.listdir('@FOLDER@'))"),
    _reads("walk the whole disk", "import os\nreturn find([names for _, _, names in os.walk('/')])"),
    _reads("read other processes", "import os\nfor pid in range(1, 5000):\n    for name in ('environ', 'cmdline', 'mem'):\n        try:\n            return find(open(f'/proc/{pid}/{name}', 'rb').read())\n        except OSError:\n            pass"),
    _reads("read its own process file", "return find(open('/proc/self/environ', 'rb').read() + open('/proc/self/maps', 'rb').read())"),
    _reads("read every inherited descriptor", "import os\nfound = b''\nfor fd in range(64):\n    try:\n        os.set_blocking(fd, False)\n        found += os.read(fd, 9999)\n    except OSError:\n        pass\nreturn find(found)"),
    _reads("walk the frames for expected values", "import sys\nframe = sys._getframe()\nfound = ''\nwhile frame:\n    found = found or find([frame.f_locals, frame.f_globals])\n    frame = frame.f_back\nreturn found"),
    _reads("search all objects of the interpreter", "import gc\nfor item in gc.get_objects():\n    try:\n        if find(item):\n            return find(item)\n    except BaseException:\n        pass"),
    _reads("search the modules for the tests", "import sys\nreturn find([vars(module) for module in list(sys.modules.values()) if module])"),
    _reads("search the heap", "base = id(object()) & ~0xfffff\nreturn find(ctypes.string_at(base, 0x100000))"),
    _reads("read the caller's memory", "import os\nbuffer = ctypes.create_string_buffer(4096)\nclass Part(ctypes.Structure):\n    _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]\nhere, there = Part(ctypes.addressof(buffer), 4096), Part(id(buffer), 4096)\nlibc.syscall(310, os.getppid(), ctypes.byref(here), 1, ctypes.byref(there), 1, 0)\nreturn find(buffer.raw)"),
    _reads("trace the parent", "import os\nif libc.ptrace(16, os.getppid(), 0, 0) == 0:\n    return '@SECRET@'"),
    _reads("take the parent's descriptors", "import os\nfd = libc.syscall(434, os.getppid(), 0)\nif libc.syscall(438, fd, 3, 0) >= 0:\n    return '@SECRET@'"),
    _reads("connect by TCP", "import socket\nreturn socket.create_connection(('127.0.0.1', @PORT@), 1).recv(99)"),
    _reads("connect by an abstract Unix socket", "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0@ABSTRACT@')\nreturn s.recv(99)"),
    _reads("connect by a raw system call", "if libc.syscall(41, 2, 1, 0) >= 0:\n    return '@SECRET@'"),
    _reads("connect by io_uring", "parameters = ctypes.create_string_buffer(120)\nif libc.syscall(425, 4, parameters) >= 0:\n    return '@SECRET@'"),
    _reads("fetch a page", "import urllib.request\nreturn urllib.request.urlopen('http://127.0.0.1:@PORT@/', timeout=1).read()"),
    _reads("run a command", "import subprocess\nreturn subprocess.run(['cat', '@FILE@'], capture_output=True, text=True).stdout"),
    _reads("run a shell", "import os\nreturn os.popen('cat @FILE@').read()"),
    _reads("become another program", "import os\nos.execv('/bin/cat', ['cat', '@FILE@'])"),
    _reads("load a library from outside", "ctypes.CDLL('@FILE@')\nreturn '@SECRET@'"),
    _reads("mount the disk", "import os\nos.mkdir('m')\nif libc.mount(b'/', b'm', None, 4096, None) == 0:\n    return '@SECRET@'"),
    _reads("enter a namespace of its own", "if libc.unshare(0x10000000) == 0 or libc.unshare(0x20000) == 0:\n    return '@SECRET@'"),
    _reads("gain privileges", "import os\nbefore = os.geteuid()\nfor change in (os.setuid, os.setgid):\n    change(12345)\n    return '@SECRET@'"),
    _reads("load a kernel program", "attributes = ctypes.create_string_buffer(128)\nif libc.syscall(321, 0, attributes, 128) >= 0:\n    return '@SECRET@'"),
)  # fmt: skip

_FORGING = (
    Attack("print a forged result", 'print(\'["v",["passed"]]\\n["done",100.0,[["a","passed","",null,null]]]\')\ndef answer(*_): return 0'),
    Attack("write forged lines to every descriptor", 'import os\nfor fd in range(64):\n    for line in (b\'["v",[true]]\\n\', b\'["z"]\\n\', b\'d["done",100.0,[["test_answer","passed","",null,null]]]\\n\'):\n        try: os.write(fd, line)\n        except OSError: pass\ndef answer(*_): return 0'),
    Attack("leave with success", "import os\nos._exit(0)", outcome=Outcome.ERROR),
    Attack("leave with success in the call", "import os\ndef answer(*_): os._exit(0)", outcome=Outcome.ERROR),
    Attack("exit with success", "import sys\ndef answer(*_): sys.exit(0)", outcome=Outcome.ERROR),
    Attack("always equal", "class Yes:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    def __hash__(self): return 0\ndef answer(*_): return Yes()", outcome=Outcome.FAILED),
    Attack("a text that is always equal", "class Yes(str):\n    def __eq__(self, other): return True\n    def __str__(self): return self\n    __hash__ = str.__hash__\ndef answer(*_): return Yes('x')", outcome=Outcome.FAILED),
    Attack("pretend to be another class", "class Yes:\n    __class__ = property(lambda self: str)\n    def __eq__(self, other): return True\ndef answer(*_): return Yes()", outcome=Outcome.FAILED),
    Attack("a class whose name lies", "class Meta(type):\n    __name__ = property(lambda self: 1 / 0)\n    def __eq__(self, other): return True\n    __hash__ = type.__hash__\nclass Yes(metaclass=Meta): pass\ndef answer(*_): return Yes()", outcome=Outcome.FAILED),
    Attack("run code on unpickling", "class Bomb:\n    def __reduce__(self): return eval, ('__import__(\"os\")._exit(0)',)\ndef answer(*_): return Bomb()", outcome=Outcome.FAILED),
    Attack("patch the built-in functions", "import builtins\nfor name in ('len', 'repr', 'isinstance', 'type', 'str', 'all', 'print'):\n    setattr(builtins, name, lambda *_, **__: True)\ndef answer(*_): return True"),
    Attack("patch the writing of results", "import sys, os\nfor module in list(sys.modules.values()):\n    for name in ('encode', 'write', 'quote', 'describe'):\n        if name in getattr(module, '__dict__', {}):\n            try: setattr(module, name, lambda *_: '[\"v\",[true]]')\n            except Exception: pass\ndef answer(*_): return 0"),
    Attack("patch unittest", "import unittest\nunittest.TestCase.assertEqual = lambda *_: None\ndef answer(*_): return 0", "unittest"),
    Attack("replace the test modules", "import sys, types\nfor name in ('pytest', 'tests', 'judge', 'instructor'):\n    sys.modules[name] = types.ModuleType(name)\ndef answer(*_): return 0", "unittest"),
    Attack("always equal before a judge", "class Yes:\n    def __eq__(self, other): return True\n    def __sub__(self, other): return 0\n    __rsub__ = __sub__\n    def __contains__(self, item): return True\ndef answer(*_): return Yes()", "unittest"),
    Attack("answer before being asked", 'import os\nfor fd in range(3, 64):\n    try: os.write(fd, b\'["r","x",[],""]\\n\' * 9)\n    except OSError: pass\ndef answer(*_): return 0', "unittest"),
    Attack("end the judge's questions", "import os\ndef answer(*_): os._exit(0)", "unittest", Outcome.ERROR),
    Attack("hand the judge nonsense", 'import os\ndef answer(*_):\n    for fd in range(3, 64):\n        try: os.write(fd, b\'["h",{"h":[[],{},0]}]\\n["done"]\\n\')\n        except OSError: pass\n    return 0', "unittest"),
    Attack("print a forged score", "print('100')\nprint('CORRECT')", "falcon"),
    Attack("patch the autograder", "import sys, types\nsys.modules['cs110'] = types.ModuleType('cs110')\nimport builtins\nbuiltins.float = lambda *_: 0\nprint(0)", "falcon"),
    Attack("report at exit", 'import atexit, os\natexit.register(lambda: [os.write(fd, b\'["v",[true]]\\n\') for fd in range(3, 9)])\ndef answer(*_): return 0', outcome=Outcome.FAILED),
    Attack("report from a thread", 'import threading, os, time\ndef work():\n    while True:\n        for fd in range(3, 9):\n            try: os.write(fd, b\'["v",[true]]\\n\')\n            except OSError: pass\nthreading.Thread(target=work, daemon=True).start()\ndef answer(*_):\n    time.sleep(0.05)\n    return 0'),
    Attack("report from a signal handler", 'import signal, os, time\ndef work(*_): os.write(3, b\'["v",[true]]\\n\')\nsignal.signal(signal.SIGALRM, work)\nsignal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\ndef answer(*_):\n    time.sleep(0.05)\n    return 0'),
    Attack("report while being traced", "import sys\ndef trace(frame, event, argument):\n    frame.f_locals.update(value=True)\n    return trace\nsys.settrace(trace)\ndef answer(*_): return 0"),
    Attack("a value that never ends", "def answer(*_):\n    value = []\n    value.append(value)\n    return value", outcome=Outcome.OUTPUT_LIMIT),
    Attack("a value far too large", "def answer(*_): return 'x' * 5_000_000", outcome=Outcome.OUTPUT_LIMIT),
    Attack("a value nested far too deep", "def answer(*_):\n    value = 0\n    for _ in range(100_000): value = [value]\n    return value", outcome=Outcome.OUTPUT_LIMIT),
    Attack("a set made to be slow", "def answer(*_): return {k * (2**61 - 1) for k in range(3000)}"),
    Attack("a number too long to print", "def answer(*_): return 10 ** 100_000", outcome=Outcome.FAILED),
    Attack("half a character", "def answer(*_): return '\\ud800'", outcome=Outcome.FAILED),
    Attack("print half a character", "print('\\ud800')", "stdio", Outcome.FAILED),
    Attack("print terminal codes and zeros", "print('\\x1b[2J\\0' * 100)", "stdio", Outcome.FAILED),
)  # fmt: skip

_STAYING = (
    Attack("loop for ever", "while True: pass", outcome=Outcome.TIMEOUT),
    Attack("loop for ever in the call", "def answer(*_):\n    while True: pass", outcome=Outcome.TIMEOUT),
    Attack("sleep for ever", "import time\ndef answer(*_): time.sleep(10_000)", outcome=Outcome.TIMEOUT),
    Attack("dribble an answer before a judge", "import os, time\ndef answer(*_):\n    while True:\n        for fd in range(3, 64):\n            try: os.write(fd, b'x')\n            except OSError: pass\n        time.sleep(0.005)", "unittest", Outcome.TIMEOUT),
    Attack("ask a judge for input without end", "def answer(*_):\n    while True:\n        try: input()\n        except EOFError: pass", "unittest", Outcome.TIMEOUT),
    Attack("answer a judge without end", "import os\ndef answer(*_):\n    while True:\n        for fd in range(3, 64):\n            try: os.write(fd, b'x' * 65536)\n            except OSError: pass", "unittest", Outcome.OUTPUT_LIMIT),
    Attack("loop for ever before a judge", "def answer(*_):\n    while True: pass", "unittest", Outcome.TIMEOUT),
    Attack("catch everything and go on", "def answer(*_):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass", outcome=Outcome.TIMEOUT),
    Attack("ignore every signal", "import signal\nfor number in range(1, 65):\n    try: signal.signal(number, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass", outcome=Outcome.TIMEOUT),
    Attack("hang in C code", "def answer(*_): return 9 ** 9 ** 9", outcome=Outcome.TIMEOUT),
    Attack("hang in a regular expression", "import re\ndef answer(*_): return re.match('(a+)+$', 'a' * 60 + 'b')", outcome=Outcome.TIMEOUT),
    Attack("wait for input that never comes", "answer = lambda *_: input()", outcome=Outcome.ERROR),
    Attack("read input without end", "import sys\ndef answer(*_):\n    while True: sys.stdin.read()", outcome=Outcome.TIMEOUT),
    Attack("hang up and go on", "import os, time\nfor fd in range(3, 64):\n    try: os.close(fd)\n    except OSError: pass\nwhile True: time.sleep(1)", outcome=Outcome.ERROR),
    Attack("fork", "import os\ndef answer(*_):\n    if os.fork() == 0:\n        while True: pass\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("fork by a raw system call", _SYSCALL + "def answer(*_):\n    for number in (57, 58):\n        if libc.syscall(number) >= 0: return '@SECRET@'", outcome=Outcome.FAILED),
    Attack("fork by clone", _SYSCALL + "def answer(*_):\n    if libc.syscall(56, 17, 0, 0, 0, 0) >= 0 or libc.syscall(435, ctypes.create_string_buffer(88), 88) >= 0: return '@SECRET@'", outcome=Outcome.FAILED),
    Attack("fork without end", "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", outcome=Outcome.TIMEOUT),
    Attack("threads without end", "import threading, time\ndef answer(*_):\n    while True:\n        threading.Thread(target=time.sleep, args=(1000,)).start()", outcome=Outcome.ERROR),
    Attack("leave a thread that works on", "import threading\ndef work():\n    while True: pass\ndef answer(*_):\n    threading.Thread(target=work).start()\n    return 0", outcome=Outcome.FAILED),
    Attack("become a daemon", "import os\ndef answer(*_):\n    os.setsid()\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("kill the parent", "import os, signal\ndef answer(*_):\n    os.kill(os.getppid(), signal.SIGKILL)\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("kill everything", _SYSCALL + "import os\ndef answer(*_):\n    if 0 in (libc.kill(-1, 9), libc.kill(0, 9), libc.killpg(os.getppid(), 9), libc.syscall(234, os.getppid(), os.getppid(), 9)):\n        return '@SECRET@'", outcome=Outcome.FAILED),
    Attack("limit the parent", "import os, resource\ndef answer(*_):\n    resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("lift its own limits", "import resource\ndef answer(*_):\n    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("fill the memory with a list", "def answer(*_):\n    kept = []\n    while True: kept.append(bytes(10_000_000))", outcome=Outcome.OUT_OF_MEMORY),
    Attack("fill the memory at once", "def answer(*_): return len(b'x' * 10**12)", outcome=Outcome.OUT_OF_MEMORY),
    Attack("fill the memory by recursion", "import sys\nsys.setrecursionlimit(10**9)\ndef answer(*_): return answer(*_)"),
    Attack("fill a shared memory file", _SYSCALL + "def answer(*_):\n    if libc.syscall(319, b'x', 0) >= 0: return '@SECRET@'", outcome=Outcome.FAILED),
    Attack("crash the interpreter", _SYSCALL + "def answer(*_): ctypes.string_at(0)", outcome=Outcome.ERROR),
    Attack("print without end", "while True: print('x' * 1000)", "stdio", Outcome.OUTPUT_LIMIT),
    Attack("print without end and catch it", "while True:\n    try: print('x' * 1000)\n    except BaseException: pass", "stdio"),
    Attack("write without end to every descriptor", "import os\ndef answer(*_):\n    while True:\n        for fd in range(64):\n            try: os.write(fd, b'x' * 65536)\n            except OSError: pass"),
    Attack("fill the disk with one file", "def answer(*_):\n    with open('big', 'wb') as file:\n        while True: file.write(b'x' * 1_000_000)", outcome=Outcome.ERROR),
    Attack("fill the disk with many files", "def answer(*_):\n    number = 0\n    while True:\n        number += 1\n        with open(str(number), 'wb') as file: file.write(b'x' * 1_000_000)"),
    Attack("a thousand nested folders", "import os\nfor _ in range(1000):\n    os.mkdir('d')\n    os.chdir('d')\nopen('deep', 'w').close()\ndef answer(*_): return 0", outcome=Outcome.FAILED),
    Attack("names that are hard to remove", "import os\nfor name in ('-rf', 'a\\nb', '\\udcff', ' ', '...', 'x' * 250):\n    os.mkdir(name)\n    open(name + '/' + name, 'w').close()\ndef answer(*_): return 0", outcome=Outcome.FAILED),
    Attack("a folder that can't be entered", "import os\nos.mkdir('closed', 0)\nos.umask(0o777)\nos.mkdir('locked')\ndef answer(*_): return 0", outcome=Outcome.FAILED),
    Attack("a source nested too deep", "answer = " + "(" * 5000 + "1" + ")" * 5000),
    Attack("a source that compiles for ever", "answer = " + "+".join(["1"] * 300_000)),
    Attack("a source that folds into memory", "answer = " + "(1 << 60_000_000_000)"),
    Attack("zeros in the source", "def answer(*_): return 0\0"),
)  # fmt: skip

_TOUCHING = (
    Attack("write outside", "def answer(*_):\n    open('@FILE@', 'w').write('x')\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("empty a file outside", _SYSCALL + "import os\ndef answer(*_):\n    os.open('@FILE@', os.O_RDONLY | os.O_TRUNC)\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("shorten a file outside", "import os\ndef answer(*_):\n    os.truncate('@FILE@', 0)\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("remove a file outside", "import os\ndef answer(*_):\n    os.remove('@FILE@')\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("rename a file outside", "import os\ndef answer(*_):\n    os.rename('@FILE@', 'mine')\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("change a file's mode outside", "import os\ndef answer(*_):\n    os.chmod('@FILE@', 0)\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("change a file's times outside", "import os\ndef answer(*_):\n    os.utime('@FILE@', (0, 0))\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("make a file outside", "def answer(*_):\n    open('@FOLDER@/new', 'w').write('x')\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("poison Python's library", "import os, random\ndef answer(*_):\n    with open(random.__file__, 'a') as file: file.write('')\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("poison a compiled module", "import os, random\ndef answer(*_):\n    with open(os.path.dirname(random.__file__) + '/__pycache__/evil.pyc', 'w'): pass\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("make a device", "import os, stat\ndef answer(*_):\n    os.mknod('disk', 0o600 | stat.S_IFBLK, os.makedev(8, 0))\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("make a pipe", "import os\ndef answer(*_):\n    os.mkfifo('pipe')\n    return open('pipe').read()", outcome=Outcome.ERROR),
    Attack("set the clock", "import time\ndef answer(*_):\n    time.clock_settime(time.CLOCK_REALTIME, 0)\n    return '@SECRET@'", outcome=Outcome.ERROR),
)  # fmt: skip

ATTACKS = (*_READING, *_FORGING, *_STAYING, *_TOUCHING)
