"""Fill the scratch folder, or leave something in it that cannot be counted, entered or removed."""

from tutee_grader.attacks.attack import SYSCALL, Attack
from tutee_grader.verdict import Outcome

_FILL = """
import os, time
def fill(keep):
    # Whether files come to more than a program may have, whatever it does with them.
    total = 0
    for number in range(480):
        file = os.open(str(number), os.O_RDWR | os.O_CREAT)
        total += os.write(file, bytes(1 << 20))
        keep(file, str(number))
        if total > 16 << 20:
            time.sleep(0.1)  # a plain folder may be too full for a moment, until the pool looks
            return '@SECRET@'
"""
_TREES = """
import os
def inside(path):
    os.mkdir(path)
    os.chdir(path)
"""


def _leaves(name: str, body: str, in_folder: Outcome | None = None) -> Attack:
    """An attack that leaves a tree behind when it has loaded."""
    program = f"{_TREES}{body}\ndef answer(*_): return 0"
    return Attack(name, program, outcome=Outcome.FAILED, in_folder=in_folder)


SCRATCH = (
    Attack("fill the scratch with files", _FILL + "def answer(*_): return fill(lambda file, name: os.close(file))", outcome=Outcome.ERROR, in_folder=Outcome.OUTPUT_LIMIT),
    Attack("fill the scratch with removed files", _FILL + "def answer(*_): return fill(lambda file, name: os.unlink(name))", outcome=Outcome.ERROR),
    Attack("fill the scratch with files written over", _FILL + "def answer(*_): return fill(lambda file, name: os.rename(name, 'same'))", outcome=Outcome.ERROR),
    Attack("fill the scratch with mapped files", SYSCALL + _FILL + "libc.mmap.restype = ctypes.c_void_p\nlibc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]\ndef keep(file, name):\n    if libc.mmap(None, 4096, 1, 2, file, 0) in (None, 2**64 - 1): raise OSError\n    os.close(file)\n    os.unlink(name)\ndef answer(*_): return fill(keep)", outcome=Outcome.ERROR, in_folder=Outcome.OUTPUT_LIMIT),
    Attack("fill the scratch with one file", "def answer(*_):\n    import os\n    file = os.open('x', os.O_RDWR | os.O_CREAT)\n    for number in range(480): os.pwrite(file, bytes(1 << 20), number << 20)\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("fill the scratch with empty files", "import time\ndef answer(*_):\n    for number in range(5000): open(str(number), 'w').close()\n    time.sleep(0.1)\n    return '@SECRET@'", outcome=Outcome.ERROR, in_folder=Outcome.OUTPUT_LIMIT),
    Attack("fill the scratch with folders", "import os\ndef answer(*_):\n    for number in range(5000): os.mkdir(str(number))\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("fill the scratch and stay", _FILL + "try: fill(lambda file, name: None)\nexcept OSError: pass\nwhile True: pass", outcome=Outcome.TIMEOUT),
    _leaves("a chain of folders as long as it gets", "try:\n    while True: inside('d' * 200)\nexcept OSError: pass"),
    _leaves("a chain of closed folders", "try:\n    for number in range(900): inside(str(number))\nexcept OSError: pass\nos.umask(0o777)\nos.mkdir('closed')\nos.mkdir('also')", Outcome.ERROR),
    _leaves("folders that only their owner can't enter", "os.umask(0o700)\nfor number in range(200):\n    os.mkdir(f'closed{number}')", Outcome.ERROR),
    _leaves("files in each of many folders", "for number in range(400):\n    os.mkdir(str(number))\n    open(f'{number}/{number}', 'w').close()", Outcome.ERROR),
    _leaves("a tree of trees", "try:\n    for one in range(9):\n        for two in range(9):\n            os.makedirs(f'{one}/{two}/' + 'x/' * 9)\nexcept OSError: pass"),
    _leaves("folders with the names that cleaning could use", "for number in range(99): os.makedirs(f'{number}/{number + 1}/{number + 2}')", Outcome.ERROR),
    _leaves("a folder it stays in", "inside('here')\nopen('x', 'w').close()", Outcome.ERROR),
    _leaves("a folder it stays in and removes", "inside('here')\nos.rmdir('../here')", Outcome.ERROR),
    _leaves("a file that can't be written", "os.umask(0o777)\nopen('closed', 'w').close()"),
    _leaves("names of every byte", "for byte in range(1, 256):\n    if byte != 47: open(bytes([byte, byte, byte]), 'w').close()"),
)  # fmt: skip
