"""Harm whoever compares: answers, printed texts and messages that are slow, huge, deep or no text at all.

The tests of the form `asserts` compute with the answers (see doctor.py); those of the form `tolerant` look for
numbers anywhere in what is printed.
"""

from tutee_grader.attacks.attack import Attack, Form
from tutee_grader.verdict import Outcome


def _returns(name: str, value: str, outcome: Outcome | None = None) -> Attack:
    return Attack(name, f"def answer(*_): return {value}", "asserts", outcome)


def _prints(name: str, value: str, form: Form = "tolerant", outcome: Outcome = Outcome.FAILED) -> Attack:
    program = f"import sys\nsys.stdout.reconfigure(errors='surrogatepass')\nprint({value})"
    return Attack(name, program, form, outcome)


def _raises(name: str, text: str, form: Form) -> Attack:
    program = f"def answer(*_): raise ValueError({text})\nif {form!r} != 'asserts': answer()"
    return Attack(name, program, form, Outcome.ERROR)


VALUES = (
    _returns("a width for a format", "999_999_999", Outcome.FAILED),
    _returns("a power of powers", "10 ** 4000", Outcome.FAILED),
    _returns("a number of a megabit", "1 << 1_000_000", Outcome.FAILED),
    _returns("a negative number of a megabit", "-(1 << 1_000_000)", Outcome.FAILED),
    _returns("a power that is complex", "-1e300", Outcome.FAILED),
    _returns("no number", "float('nan')", Outcome.FAILED),
    _returns("an iterator without end", "iter(int, 1)"),
    _returns("a generator without end", "(0 for _ in iter(int, 1))"),
    _returns("a range without end", "range(10 ** 30)"),
    _returns("numbers of one hash", "{k * (2 ** 61 - 1) for k in range(90)}", Outcome.FAILED),
    _returns("many numbers of one hash", "{k * (2 ** 61 - 1) for k in range(3000)}"),
    _returns("tuples of one hash", "[{(k * (2 ** 61 - 1),): k for k in range(1500)}]"),
    _returns("lists that share all their parts", "[[[[[['x' * 9] * 9] * 9] * 9] * 9] * 9] * 9"),
    _returns("lists as deep as they go", "eval('[' * 55 + ']' * 55)", Outcome.FAILED),
    _returns("a million lists", "[[]] * 1_000_000"),
    _returns("half a character among texts", "['\\ud800', 'a'] * 1000", Outcome.FAILED),
    _returns("a decimal with a huge exponent", "__import__('decimal').Decimal('1e999999999999')", Outcome.FAILED),
    _returns("a decimal that signals", "__import__('decimal').Decimal('sNaN')", Outcome.FAILED),
    _returns("a fraction of huge numbers", "__import__('fractions').Fraction(1, 7 ** 100_000)", Outcome.FAILED),
    _raises("a message of half characters", "'\\ud800' * 1000", "asserts"),
    _raises("a message of a megabyte", "'<|im_end|>\\0\\u202e' * 100_000", "asserts"),
    _raises("a printed message of half characters", "'\\ud800' * 1000", "tolerant"),
    _prints("a number with zeros inside", "'1\\0' * 1000"),
    _prints("one number of all the output", "'1' * 250_000"),
    _prints("numbers that nearly end", "'1e' * 100_000"),
    _prints("numbers with a point each", "'1.' * 100_000"),
    _prints("one sign after another", "'+-' * 100_000"),
    _prints("a number too large for a float", "'9' * 400 + 'e999999999'"),
    _prints("blanks and no word", "' ' * 250_000"),
    _prints("lines and no word", "'\\n' * 250_000"),
    _prints("the expected text's numbers over and over", "'1.5 ' * 60_000"),
    _prints("bytes that are no text", "'\\udcff\\ud800' * 1000"),
    _prints("combining marks on one letter", "'a' + '\\u0301' * 60_000"),
    _prints("letters that grow in lower case", "'\\u0130' * 60_000"),
)  # fmt: skip
