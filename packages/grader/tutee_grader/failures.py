"""How a program failed, from the columns of its verdict: expressions over rows that have them."""

import builtins

import polars as pl

from tutee_grader.verdict import Outcome, Status

RAN = str(Status.COMPILES)
WRONG_RESULT = "wrong result"
OTHER_EXCEPTION = "another exception"

_EXCEPTIONS = [
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
]
# The class in a test's message: `f(2) stopped with NameError on line 4: "..."`, where the words in quotes are
# the program's; `test_f: KeyError: "..."`, where an instructor's test raised it. The first match counts, so
# that a program's own words are no match.
_EXCEPTION = r"(?:stopped with |^[^:]*: )([^\W\d]\w*)(?: on line \d+)?(?:: \"| \(|$)"


def failed(field: str) -> pl.Expr:
    """That field of the tests that did not pass; null where there is no verdict."""
    test = pl.element().struct
    return pl.col("tests").list.eval(test.field(field).filter(test.field("outcome") != Outcome.PASSED))


def signature() -> pl.Expr:
    """How a program failed, as one text: its status and the tests that did not pass."""
    tests = failed("name").list.sort().list.join("\x1f")
    return pl.concat_str("status", tests, separator="\x1e", ignore_nulls=True)


def error() -> pl.Expr:
    """The kind of error of a program below grade 100; null for others, and where there is no verdict.

    That of the first test that did not pass: the class of its exception where that is one of Python's own (a
    program can name a class of its own anything), a wrong result, or the test's outcome (timeout, ...). A
    program that does not compile has its status.
    """
    outcome, message = failed("outcome").list.first(), failed("message").list.first()
    exception = message.str.extract(_EXCEPTION)
    return (
        pl.when(pl.col("grade").is_null() | (pl.col("grade") == 100))
        .then(None)
        .when(pl.col("status") != RAN)
        .then(pl.col("status"))
        .when(outcome == Outcome.FAILED)
        .then(pl.lit(WRONG_RESULT))
        .when((outcome != Outcome.ERROR) | exception.is_null())
        .then(outcome)
        .when(exception.is_in(_EXCEPTIONS))
        .then(exception)
        .otherwise(pl.lit(OTHER_EXCEPTION))
    )
