"""Win marks from an instructor's own test code: by names, exceptions, objects and answers that it takes for others."""

from tutee_grader.attacks.attack import Attack
from tutee_grader.verdict import Outcome

_TELL_ALL = """
class Tell:
    def __getattr__(self, name):
        if name.startswith('__'): raise AttributeError(name)
        return self
    def __call__(self, *parts, **named):
        for part in (*parts, *named.values()): print(part)
        return True
    __eq__ = __ne__ = __lt__ = __gt__ = __sub__ = __rsub__ = __add__ = __radd__ = __contains__ = __call__
    __hash__ = object.__hash__
"""


def _writes(name: str, line: str, outcome: Outcome | None = None) -> Attack:
    """A program that answers a judge's question with this line of its own, a Python expression over bytes."""
    program = f"import os\ndef answer(*_):\n    line = {line}\n    for fd in range(3, 64):\n        try: os.write(fd, line + b'\\n')\n        except OSError: pass\n    return 0"
    return Attack(name, program, "unittest", outcome)


MARKS = (
    Attack("skip the test", "import unittest\ndef answer(*_): raise unittest.SkipTest('done')", "unittest", Outcome.ERROR),
    Attack("an exception called SkipTest", "class SkipTest(Exception): pass\ndef answer(*_): raise SkipTest", "unittest", Outcome.ERROR),
    Attack("an exception called ProgramEndedError", "class ProgramEndedError(Exception): pass\ndef answer(*_): raise ProgramEndedError('passed')", "unittest", Outcome.ERROR),
    Attack("an exception called _ShouldStop", "class _ShouldStop(Exception): pass\ndef answer(*_): raise _ShouldStop", "unittest", Outcome.ERROR),
    Attack("stop the test's loops", "def answer(*_): raise StopIteration", "unittest", Outcome.ERROR),
    Attack("leave the judge", "def answer(*_): raise SystemExit(0)", "unittest", Outcome.ERROR),
    Attack("leave the judge while loading", "raise SystemExit(0)", "unittest", Outcome.ERROR),
    Attack("interrupt the judge", "def answer(*_): raise KeyboardInterrupt", "unittest", Outcome.ERROR),
    Attack("end the judge's generators", "def answer(*_): raise GeneratorExit", "unittest", Outcome.ERROR),
    Attack("fail like the test", "def answer(*_): raise AssertionError", "unittest", Outcome.ERROR),
    Attack("an exception that says it passed", "class Passed(Exception):\n    def __str__(self): return '\"]], [\"Test.test_answer\", \"passed\"'\nPassed.__name__ = 'passed'\ndef answer(*_): raise Passed", "unittest", Outcome.ERROR),
    Attack("names of the test's own", "class unittest:\n    class TestCase: pass\nTest = unittest.TestCase\nprogram = Test\n__compare__ = print\ndef setUpModule(): raise Exception\nload_tests = setUpModule\ndef answer(*_): return 0", "unittest", Outcome.FAILED),
    Attack("an object that tells what it is compared with", _TELL_ALL + "def answer(*_): return Tell()", "unittest", Outcome.FAILED),
    Attack("a text that tells what it is compared with", "class Tell(str):\n    def __eq__(self, other): return str.__eq__(other, other)\n    __hash__ = str.__hash__\ndef answer(*_): return Tell()", "unittest", Outcome.FAILED),
    Attack("a class as the answer", "class Meta(type):\n    def __eq__(self, other): return True\n    __hash__ = type.__hash__\n    def __repr__(self): return 'passed'\nclass answer(metaclass=Meta): pass", "unittest", Outcome.FAILED),
    Attack("hang in the message", "class Slow:\n    def __repr__(self):\n        while True: pass\ndef answer(*_): return Slow()", "unittest"),
    Attack("end in the message", "import os\nclass End:\n    def __repr__(self): os._exit(0)\ndef answer(*_): return End()", "unittest"),
    _writes("answer with what is no list", "b'{\"r\":1}'", Outcome.ERROR),
    _writes("answer with an unknown tag", "b'[\"passed\"]'", Outcome.ERROR),
    _writes("answer with too few parts", "b'[\"r\"]'", Outcome.ERROR),
    _writes("answer with parts of other types", "b'[\"r\",1,{},7]'", Outcome.ERROR),
    _writes("answer with an exception of other parts", "b'[\"e\",1,2,3,4]'", Outcome.ERROR),
    _writes("answer nested too deep", "b'[' * 500_000", Outcome.ERROR),
    _writes("answer with a number too long", "b'[\"r\",' + b'9' * 1_000_000 + b',[],\"\"]'", Outcome.ERROR),
    _writes("answer with no number", "b'[\"r\",NaN,[],\"\"]'", Outcome.FAILED),
    _writes("answer with half a character", "b'[\"r\",\"\\\\ud800\",[],\"\"]'", Outcome.FAILED),
    _writes("answer with an object that is not there", "b'[\"r\",{\"h\":[-99,\"str\",\"\"]},[],\"\"]'"),
    _writes("answer with a set made to be slow", "b'[\"r\",{\"s\":[' + b','.join(b'%d' % (k * (2**61 - 1)) for k in range(3000)) + b']},[],\"\"]'", Outcome.ERROR),
    _writes("answer with an exception of many bases", "b'[\"e\",\"A\",\"\",null,[' + b','.join(b'\"A%d\"' % k for k in range(99_000)) + b']]'", Outcome.ERROR),
    _writes("answer without end", "b'x' * 8_000_000", Outcome.OUTPUT_LIMIT),
    Attack("print the words of a score", "print('your program scored 100 of 100')", "falcon", Outcome.FAILED),
    Attack("leave a script with a score", "raise SystemExit(100)", "falcon", Outcome.FAILED),
    Attack("end a script with success", "import os\nos._exit(0)", "falcon"),
)  # fmt: skip
