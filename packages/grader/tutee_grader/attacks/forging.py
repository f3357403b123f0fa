"""Win marks that are not earned."""

from tutee_grader.attacks.attack import Attack
from tutee_grader.verdict import Outcome

FORGING = (
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
    Attack("print half a character", "print('\\ud800')", "stdio", Outcome.ERROR),
    Attack("print terminal codes and zeros", "print('\\x1b[2J\\0' * 100)", "stdio", Outcome.FAILED),
)  # fmt: skip
