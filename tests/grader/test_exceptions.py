"""What is said of an exception, whatever the program has made of it."""

import pytest

EXCEPTIONS = {
    "__str__ raises": (
        "class E(Exception):\n    def __str__(self): raise SystemExit\ndef f():\n    raise E",
        ("E", 4, ""),
    ),
    "__str__ returns no text": (
        "class E(Exception):\n    def __str__(self): return 5\ndef f():\n    raise E",
        ("E", 4, ""),
    ),
    "__str__ returns a text of its own": (
        "class S(str):\n    def __getitem__(self, key): return 5\n    def __str__(self): return self\n"
        "class E(Exception):\n    def __str__(self): return S('mine')\ndef f():\n    raise E",
        ("E", 7, "mine"),
    ),
    "a name that is no plain text": (
        "class S(str):\n    def __getitem__(self, key): raise SystemExit\n    __str__ = __getitem__\n"
        "class E(Exception): pass\nE.__name__ = S('F')\ndef f():\n    raise E('x')",
        ("F", 7, "x"),
    ),
    "a metaclass that lies": (
        "class M(type):\n    __name__ = property(lambda cls: 'Other')\n"
        "    def __getattribute__(cls, name): raise SystemExit\n"
        "    def __instancecheck__(cls, other): raise SystemExit\n"
        "class E(Exception, metaclass=M): pass\ndef f():\n    raise E('x')",
        ("E", 7, "x"),
    ),
    "a class that denies itself": (
        "class E(Exception):\n    @property\n    def __class__(self): raise SystemExit\n"
        "    __traceback__ = 5\ndef f():\n    raise E('x')",
        ("E", 6, "x"),
    ),
    "a long text": ("def f():\n    raise ValueError('x' * 10**8)", ("ValueError", 2, "x" * 100)),
    "a long key": ("def f():\n    return {}['x' * 10**8]", ("KeyError", 2, "'" + "x" * 100)),
    "a long key that leaves no room to be repeated": (
        "def f():\n    return {}['x' * (150 << 20)]",
        ("KeyError", 2, "'" + "x" * 100),
    ),
    "a value too long to be written": (
        # In few large pieces: it is memory that is to run out, and not time.
        "class A:\n    def __repr__(self): return 'x' * 10**8\ndef f():\n    raise ValueError([A()] * 100)",
        ("ValueError", 4, ""),
    ),
    "surrogates": ("def f():\n    raise ValueError('\\ud800')", ("ValueError", 2, "")),
    "a group": (
        "def f():\n    raise ExceptionGroup('several', [ValueError(1)])",
        ("ExceptionGroup", 2, "several (1 sub-exception)"),
    ),
    "a syntax error in evaluated text": (
        "def f():\n    eval('(')",
        ("SyntaxError", 2, "'(' was never closed"),
    ),
    "a syntax error made by hand": (
        "def f():\n    raise SyntaxError('x', ('program.py', 10**30, 1, '', 1, 1))",
        ("SyntaxError", None, "x"),
    ),
    "a line that is no number": (
        "class N(int):\n    def __int__(self): raise SystemExit\n"
        "def f():\n    raise SyntaxError('x', ('program.py', N(3), 1, '', 1, 1))",
        ("SyntaxError", None, "x"),
    ),
    "a traceback of another": (
        "def g():\n    raise KeyError\ndef f():\n    try:\n        g()\n    except KeyError as error:\n"
        "        raise ValueError('x').with_traceback(error.__traceback__)",
        ("ValueError", 2, "x"),
    ),
    "a file name that is no plain text": (
        "class S(str):\n    def __eq__(self, other): raise SystemExit\n    __hash__ = str.__hash__\n"
        "def g():\n    raise ValueError('x')\n"
        "g.__code__ = g.__code__.replace(co_filename=S('program.py'))\ndef f():\n    g()",
        ("ValueError", None, "x"),
    ),
    "a low recursion limit": (
        "import sys\ndef f():\n    for limit in range(1, 100):\n"
        "        try:\n            sys.setrecursionlimit(limit)\n            break\n"
        "        except RecursionError: pass\n    raise ValueError('x')",
        ("ValueError", 8, ""),
    ),
}


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_keeps_its_type_and_line(grader, calls, name):
    source, (kind, line, words) = EXCEPTIONS[name]
    (verdict,) = grader.grade([(calls(("f()", "1"), ("1 + 1", "2")), source)])
    first, second = verdict.tests
    assert (str(first.outcome), first.exception) == ("error", kind)
    assert first.line == line if line else True
    assert words in first.message
    assert name == "a low recursion limit" or str(second.outcome) == "passed"
