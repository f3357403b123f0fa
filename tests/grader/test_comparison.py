"""How returned values and printed texts are compared with the expected ones."""

import math

import pytest

from tutee_grader.forms.calls import equal
from tutee_grader.forms.scoring import Leniency
from tutee_grader.forms.stdio import same_text


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
        ("7\n", "7", Leniency(), True),
        ("7\n", "7  \n\n", Leniency(), True),
        ("7\n", " 7\n", Leniency(), False),
        ("7\n", "7 \n", Leniency(trailing_blanks="exact"), False),
        ("Yes\n", "yes\n", Leniency(), False),
        ("Yes\n", "yEs\n", Leniency(case="ignore"), True),
        ("x = 3.14\n", "x = 3.1415\n", Leniency(tolerance=0.01), True),
        ("x = 3.14\n", "x = 3.2\n", Leniency(tolerance=0.01), False),
        ("x = 3.14\n", "y = 3.14\n", Leniency(tolerance=0.01), False),
        ("7\n", "The sum is 7.\n", Leniency(), False),
        ("7\n", "Give a: Give b: The sum is 7.\n", Leniency(contains=True), True),
        ("1\n2\n", "a 2\nb 1\n", Leniency(contains=True), False),
        ("2.50\n", "It costs 2.5 euro\n", Leniency(contains=True, tolerance=0.001), True),
        ("7\n", "7\nand more\n", Leniency(), False),
    ],
)
def test_leniency(expected, got, leniency, same):
    assert same_text(expected, got, leniency) is same
