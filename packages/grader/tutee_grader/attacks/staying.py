"""Stay, or use more than the limits allow."""

from tutee_grader.attacks.attack import SYSCALL, Attack
from tutee_grader.verdict import Outcome

_NATIVE = """
thread = ctypes.c_ulong()
def start(routine, attributes=None):
    return libc.pthread_create(ctypes.byref(thread), attributes, ctypes.byref(routine) if not callable(routine) else routine, None)
"""

STAYING = (
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
    Attack("fork by a raw system call", SYSCALL + "def answer(*_):\n    for number in (57, 58):\n        if libc.syscall(number) >= 0: return '@SECRET@'", outcome=Outcome.FAILED),
    Attack("fork by clone", SYSCALL + "def answer(*_):\n    if libc.syscall(56, 17, 0, 0, 0, 0) >= 0 or libc.syscall(435, ctypes.create_string_buffer(88), 88) >= 0: return '@SECRET@'", outcome=Outcome.FAILED),
    Attack("fork without end", "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", outcome=Outcome.TIMEOUT),
    Attack("threads without end", "import threading, time\ndef answer(*_):\n    while True:\n        threading.Thread(target=time.sleep, args=(1000,)).start()", outcome=Outcome.ERROR),
    Attack("threads on small stacks without end", "import _thread, time\n_thread.stack_size(32768)\ndef answer(*_):\n    while True:\n        try: _thread.start_new_thread(time.sleep, (1000,))\n        except RuntimeError: time.sleep(0.001)", outcome=Outcome.OUT_OF_MEMORY),
    Attack("threads that Python does not know of", SYSCALL + _NATIVE + "def answer(*_):\n    attributes = (ctypes.c_char * 64)()\n    libc.pthread_attr_init(attributes)\n    libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(16384))\n    while True: start(libc.pause, attributes)", outcome=Outcome.OUT_OF_MEMORY),
    Attack("let its own threads keep it waiting", SYSCALL + _NATIVE + "import mmap, os, time\nloop = mmap.mmap(-1, 4096, flags=0x22, prot=7)\nloop.write(b'\\xeb\\xfe')\ndef answer(*_):\n    for _ in range(40): start(ctypes.c_char.from_buffer(loop))\n    end = time.process_time() + 0.6\n    while time.process_time() < end: pass\n    os._exit(0)", outcome=Outcome.TIMEOUT),
    Attack("shared memory that no limit counts", SYSCALL + "libc.mmap.restype = ctypes.c_void_p\nlibc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]\ndef answer(*_):\n    if any(libc.mmap(None, 4096, 3, flags, -1, 0) not in (None, 2**64 - 1) for flags in (0x21, 0x8021, 0x4021, 0x100021)): return '@SECRET@'", outcome=Outcome.FAILED),
    Attack("allow a dump of its memory", "import resource\ndef answer(*_):\n    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("leave a thread that works on", "import threading\ndef work():\n    while True: pass\ndef answer(*_):\n    threading.Thread(target=work).start()\n    return 0", outcome=Outcome.FAILED),
    Attack("become a daemon", "import os\ndef answer(*_):\n    os.setsid()\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("kill the parent", "import os, signal\ndef answer(*_):\n    os.kill(os.getppid(), signal.SIGKILL)\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("kill everything", SYSCALL + "import os\ndef answer(*_):\n    if 0 in (libc.kill(-1, 9), libc.kill(0, 9), libc.killpg(os.getppid(), 9), libc.syscall(234, os.getppid(), os.getppid(), 9)):\n        return '@SECRET@'", outcome=Outcome.FAILED),
    Attack("limit the parent", "import os, resource\ndef answer(*_):\n    resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("lift its own limits", "import resource\ndef answer(*_):\n    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("fill the memory with a list", "def answer(*_):\n    kept = []\n    while True: kept.append(bytes(10_000_000))", outcome=Outcome.OUT_OF_MEMORY),
    Attack("fill the memory at once", "def answer(*_): return len(b'x' * 10**12)", outcome=Outcome.OUT_OF_MEMORY),
    Attack("fill the memory by recursion", "import sys\nsys.setrecursionlimit(10**9)\ndef answer(*_): return answer(*_)"),
    Attack("fill a shared memory file", SYSCALL + "def answer(*_):\n    if libc.syscall(319, b'x', 0) >= 0: return '@SECRET@'", outcome=Outcome.FAILED),
    Attack("crash the interpreter", SYSCALL + "def answer(*_): ctypes.string_at(0)", outcome=Outcome.ERROR),
    Attack("print without end", "while True: print('x' * 1000)", "stdio", Outcome.OUTPUT_LIMIT),
    Attack("print without end and catch it", "while True:\n    try: print('x' * 1000)\n    except BaseException: pass", "stdio"),
    Attack("write without end to every descriptor", "import os\ndef answer(*_):\n    while True:\n        for fd in range(64):\n            try: os.write(fd, b'x' * 65536)\n            except OSError: pass"),
    Attack("fill the disk with one file", "def answer(*_):\n    with open('big', 'wb') as file:\n        while True: file.write(b'x' * 1_000_000)", outcome=Outcome.ERROR),
    Attack("fill the disk with many files", "def answer(*_):\n    number = 0\n    while True:\n        number += 1\n        with open(str(number), 'wb') as file: file.write(b'x' * 1_000_000)"),
    Attack("a thousand nested folders", "import os\nfor _ in range(1000):\n    os.mkdir('d')\n    os.chdir('d')\nopen('deep', 'w').close()\ndef answer(*_): return 0", outcome=Outcome.FAILED, in_folder=Outcome.ERROR),
    Attack("names that are hard to remove", "import os\nfor name in ('-rf', 'a\\nb', '\\udcff', ' ', '...', 'x' * 250):\n    os.mkdir(name)\n    open(name + '/' + name, 'w').close()\ndef answer(*_): return 0", outcome=Outcome.FAILED, in_folder=Outcome.ERROR),
    Attack("a folder that can't be entered", "import os\nos.mkdir('closed', 0)\nos.umask(0o777)\nos.mkdir('locked')\ndef answer(*_): return 0", outcome=Outcome.FAILED, in_folder=Outcome.ERROR),
    Attack("a source nested too deep", "answer = " + "(" * 5000 + "1" + ")" * 5000),
    Attack("a source that compiles for ever", "answer = " + "+".join(["1"] * 300_000)),
    Attack("a source that folds into memory", "answer = " + "(1 << 60_000_000_000)"),
    Attack("zeros in the source", "def answer(*_): return 0\0"),
)  # fmt: skip
