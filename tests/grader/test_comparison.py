"""How returned values and printed texts are compared with the expected ones."""

import math

import pytest

from tutee_grader.sandbox.inside.comparison import equal, same_text


@pytest.mark.parametrize(
    ("expected", "got", "tolerance", "same"),
    [
        (1, True, None, True),
        (1, 1.0, None, True),
        ([1, 2], (1, 2), None, False),
        (math.nan, math.nan, None, True),
        ([math.nan], [math.nan], None, True),
        (0.3, 0.1 + 0.2, None, False),
        (0.3, 0.1 + 0.2, 1e-9, True),
        ({"a": [1.0]}, {"a": [1.05]}, 0.1, True),
        ({"a": [1.0]}, {"b": [1.0]}, 0.1, False),
        ([1.0, 2.0], [1.0], 0.1, False),
        (1.0, 10**400, 0.1, False),
        ("1", 1, 5, False),
    ],
)
def test_equality(expected, got, tolerance, same):
    assert equal(expected, got, tolerance) is same


@pytest.mark.parametrize(
    ("expected", "got", "leniency", "same"),
    [
        ("7\n", "7", dict(), True),
        ("7\n", "7  \n\n", dict(), True),
        ("7\n", " 7\n", dict(), False),
        ("7\n", "7 \n", dict(trailing_blanks="exact"), False),
        ("Yes\n", "yes\n", dict(), False),
        ("Yes\n", "yEs\n", dict(case="ignore"), True),
        ("x = 3.14\n", "x = 3.1415\n", dict(tolerance=0.01), True),
        ("x = 3.14\n", "x = 3.2\n", dict(tolerance=0.01), False),
        ("x = 3.14\n", "y = 3.14\n", dict(tolerance=0.01), False),
        ("7\n", "The sum is 7.\n", dict(), False),
        ("7\n", "Give a: Give b: The sum is 7.\n", dict(contains=True), True),
        ("1\n2\n", "a 2\nb 1\n", dict(contains=True), False),
        ("2.50\n", "It costs 2.5 euro\n", dict(contains=True, tolerance=0.001), True),
        ("7\n", "7\nand more\n", dict(), False),
        ("7\n", "17\n", dict(contains=True), False),
        ("7\n", "-7\n", dict(contains=True), False),
        ("7\n", "7.5\n", dict(contains=True), False),
        ("7\n", "The sum is 7.5.\n", dict(contains=True, tolerance=0.01), False),
        ("7\n", "1.7\n", dict(contains=True, tolerance=0.01), False),
        ("7\n", "10 - 3 = 7\n", dict(contains=True), True),
        ("5\n", "7-5\n", dict(contains=True), True),
        ("-5\n", "x=-5!\n", dict(contains=True), True),
        ("-5\n", "10-5\n", dict(contains=True), False),
        ("7.0\n", "7\n", dict(contains=True), False),
        ("sum: 7\n", "The sum: 7\n", dict(contains=True), True),
        ("sum: 7\n", "The sum: 71\n", dict(contains=True), False),
        ("1 2\n", "0 1 2 3\n", dict(contains=True), True),
        ("um\n", "sum\n", dict(contains=True), True),
    ],
)
def test_leniency(expected, got, leniency, same):
    assert same_text(expected, got, **leniency) is same
