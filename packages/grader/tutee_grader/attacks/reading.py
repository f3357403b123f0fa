"""See what is not its own: files, memory, the network, the tests."""

from tutee_grader.attacks.attack import SYSCALL, Attack

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
_FIND = """
def find(text):
    import re
    found = re.search(r"secret-[0-9a-f]{32}", text if isinstance(text, str) else repr(text))
    return found.group() if found else ""
"""


def _reads(name: str, body: str) -> Attack:
    """An attack whose `answer` tries to find the secret."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    return Attack(name, f"{_TRY_ALL}{SYSCALL}{_FIND}\ndef answer(*_):\n{lines}\n")


READING = (
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
