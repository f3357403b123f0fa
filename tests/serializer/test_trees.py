import ast
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutee_serializer.dialogs.trees import normalise, same_tree

LOOP = """
def total(numbers):
    result = 0
    for number in numbers:
        result += number
    return result
"""


def test_layout_comments_and_the_names_of_variables_do_not_count():
    other = """
# my try
def total(xs):
    s = 0
    for x in xs: s += (x)
    return s
"""
    assert normalise(other) == normalise(LOOP)


def test_swapped_variables_are_another_program():
    swapped = LOOP.replace("return result", "return number")
    assert normalise(swapped) != normalise(LOOP)


def test_names_that_others_call_count():
    assert normalise(LOOP.replace("total", "sum_of")) != normalise(LOOP)
    assert normalise("print(len(x))") != normalise("print(max(x))")
    assert normalise("import math\nmath.sin(1)") != normalise("import math\nmath.cos(1)")
    assert normalise("class A:\n def f(self): pass") != normalise("class A:\n def g(self): pass")
    assert normalise("class A:\n x = 1") != normalise("class A:\n y = 1")


def test_inner_functions_handlers_and_globals_are_renamed():
    first = "def f():\n global n\n def g(): return n\n try: n = g()\n except ValueError as e: print(e)"
    second = "def f():\n global m\n def h(): return m\n try: m = h()\n except ValueError as x: print(x)"
    assert normalise(first) == normalise(second)


def test_constants_of_other_types_differ():
    constants = ["1", "1.0", "True", "'1'", "b'1'", "None", "'None'"]
    assert len({normalise(f"x = {value}") for value in constants}) == len(constants)


def test_lists_of_other_lengths_differ():
    assert normalise("f([a], b)") != normalise("f([a, b])")
    assert normalise("if a: pass\nelse: b") != normalise("if a: pass\nb")


def test_what_does_not_parse_is_none():
    for code in ["def f(:", "x = 1\x00", "(" * 500, "-" * 100_000 + "1", "x = 0x" + "f" * 9000]:
        assert normalise(code) is None


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=" \n\t()[]:=+-*'\"\\xyz01.,defifor#\r\f\x00é\ud800", max_size=40))
def test_any_text_gives_a_tree_or_none(text):
    assert normalise(text) is None or isinstance(normalise(text), str)


def test_long_sums_are_walked_without_recursion():
    code = "x = " + "+".join(["1"] * 900)
    assert normalise(code) is not None


# What a student changes, and what only looks changed.
EDITS = [
    ("result", "total_"),
    ("number", "n"),
    ("result += number", "result += numbers"),
    ("result += number", "result += (number)"),
    ("result += number", "result += number  # add"),
    ("result += number", "result -= number"),
    ("= 0", "= 1"),
    ("= 0", "= 0.0"),
    ("= 0", "= 0x0"),
    ("'odd'", '"odd"'),
    ("'odd'", "'od' 'd'"),
    ("'odd'", "'even'"),
    ("'odd'", "f'odd'"),
    ("    elif number:\n        pass", "    else:\n        if number:\n            pass"),
    ("elif", "if"),
    ("len(", "max("),
    ("len(numbers)", "len( numbers )"),
    ("return result", "return (result)"),
    ("return result", "return result.real"),
    ("return result", "print(result, end='')"),
    ("return result", "    return result"),
    ("def ", "def  "),
    ("numbers", "int"),
    ("number)", "number"),
    ("sep=result", "sep=number"),
    ("sep=", "result="),
    ("'odd', sep=result", "*numbers, sep=result"),
    ("'odd', sep=result", "sep=result, *numbers"),
    ("*numbers, sep=result", "sep=result, *numbers"),
    ("    result = 0", '    """It\'s\n    a "sum\'s" """  # don\'t\n    result = 0'),
    ("don't", "won't"),
    ("\n", "\r\n"),
    ("return result", "return None"),
    ("return None", "return"),
    ("0", "0or 1"),
    ("% 2:", "% 2 == (number):"),
    ("(number)", "number"),
]
FULL = LOOP.replace(
    "    return",
    """    if len(numbers) % 2:
        print('odd', sep=result)
    elif number:
        pass
    return""",
)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(EDITS), max_size=3), st.lists(st.sampled_from(EDITS), min_size=1, max_size=3))
def test_telling_programs_apart_without_parsing_never_errs(first, second):
    before = FULL
    for old, new in first:
        before = before.replace(old, new)
    after = before
    for old, new in second:
        after = after.replace(old, new)
    trees = normalise(before), normalise(after)
    assert same_tree(before, after) == (before == after if None in trees else trees[0] == trees[1])


# Pairs that a reader of lines and tokens, without a parser, is easily wrong about.
CORNERS = [
    ("x = 1 # a", "x = 1 # \x00"),
    ("# a\rx = 1", "# a\rx = 2"),
    ("x = 1 # a\r\n", "x = 1\r\n"),
    ("x = 'a\\\nb'\ny", "x = 'a\\\r\nb'\r\ny"),
    (f"x = 0x{'f' * 9000}", f"x = 0x{'f' * 9000} # b"),
    ('def f():\n """\n it\'s """ # don\'t', 'def f():\n """\n it\'s """ # won\'t'),
    ("x = 'a\\\nit\"s' # don\"t", "x = 'a\\\nit\"s' # won\"t"),
    ('x = """ a "b"\n c""" # d"s', 'x = """ a "b"\n c""" # e"s'),
    ('def f():\n """Add\n a, b"""', 'def f():\n """A\\\ndd\n a, b"""'),
    ("x = 1 \\\n\ny = 2", "x = 1 \\\ny = 2"),
    ("print(end='', *x)", "print(*x, end='')"),
    ("print(x or'a')", "print(x or 'a')"),
    ("x = r'a'", "x = 'a'"),
    ("x = b'a'", "x = 'a'"),
    ("x = 0xfor y", "x = 0xf or y"),
    ("def f(): return", "def f(): return None"),
    ("def f(): pass", "def f() -> None: pass"),
    ("x[1:2]", "x[1:2:None]"),
    ("x[1:2]", "x[1:2:]"),
    ("x = ...", "x = Ellipsis"),
    ("x = 1e999", "x = inf"),
    ("{**x}", "{None: x}"),
    ("x = range(y)", "x = len(y)"),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize(("first", "second"), CORNERS)
def test_corners_of_the_language_are_told_apart_as_the_parser_tells_them(first, second):
    trees = []
    for code in (first, second):
        with suppress(SyntaxError, ValueError):
            trees.append(ast.dump(ast.parse(code)))
    same = len(trees) == 2 and trees[0] == trees[1]
    assert same_tree(first, second) == same_tree(second, first) == same
    if len(trees) == 2:
        assert (normalise(first) == normalise(second)) == same


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("if x == 1: x()\nx = 2", "if (y) == 1: y()\ny = 2", True),
        ("len = 3\nprint(len (x))", "max = 3\nprint(max (x))", True),
        ("def f():\n def g(): pass\n g()", "def f():\n def h(): pass\n h()", True),
        ("def f():\n def  g(): pass\n g()", "def f():\n def \\\n h(): pass\n h()", True),
        ("for x in y: x()", "for z in y: z()", True),
        ("x = len(y)\nx()", "z = max(y)\nz()", False),
        ("f(x=1)\nx = 2", "f(y=1)\ny = 2", False),
    ],
)
def test_a_program_under_other_names_is_the_same_where_the_names_are_its_own(first, second, same):
    assert same_tree(first, second) == same_tree(second, first) == same


def test_two_texts_that_do_not_parse_are_the_same_only_when_equal():
    assert same_tree("def f(:", "def f(:")
    assert not same_tree("def f(:", "def f(:  # why?")
    assert same_tree("def f(): pass", "def f(): pass  # why?")
