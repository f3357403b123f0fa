"""Plain values across the boundary of the sandbox."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutee_grader.sandbox.inside.comparison import equal
from tutee_grader.sandbox.inside.values import ValueTooLargeError, decode, encode

atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.binary(max_size=20)
    | st.text(st.characters(exclude_categories=[]), max_size=20)
)
hashable = st.recursive(
    atoms, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=6
)
plain = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(hashable, max_size=4)
    ),
    max_leaves=12,
)


def through(value):
    return decode(json.loads(encode(value)))


@given(plain)
def test_every_plain_value_comes_out_as_it_went_in(value):
    # repr tells apart what == does not: 1 and True, 0.0 and -0.0, one nan and another value
    if not contains_set(value):
        assert repr(through(value)) == repr(value)
    assert type(through(value)) is type(value)


def contains_set(value):
    if isinstance(value, set | frozenset):
        return True
    if isinstance(value, dict):
        return any(contains_set(item) for pair in value.items() for item in pair)
    return isinstance(value, list | tuple) and any(map(contains_set, value))


@given(st.sets(st.integers() | st.text(max_size=5)))
def test_sets_come_out_equal(value):
    assert through(value) == value


def test_what_is_not_plain_is_known_by_its_type_only():
    class Robot:
        def __eq__(self, other):
            return True

        __hash__ = None

    value = through([Robot()])[0]
    assert repr(value) == "<Robot object>"
    assert value != value


def test_a_subclass_counts_as_the_plain_value_underneath():
    class Liar(int):
        def __eq__(self, other):
            return True

        def __int__(self):
            return 42

        __hash__ = int.__hash__

    assert through(Liar(7)) == 7
    assert type(through(Liar(7))) is int


@pytest.mark.parametrize("value", [["x" * 2_000_000], [[[]]]])
def test_too_large_or_too_deep_is_refused(value):
    for _ in range(70):
        value = [value]
    with pytest.raises(ValueTooLargeError):
        encode(value)


@pytest.mark.parametrize(
    "text",
    ['{"q": 1}', '{"i": 3}', '{"i": "zz"}', '{"d": [[1]]}', '{"s": [[1]]}', '{"c": [1]}', '{"t": 3}', "{}",
     '{"i": "1", "t": []}', '{"h": [1, "", ""]}', '{"f": [1, 0]}', '{"q": "x"}', '{"r": [0, 1, 0]}',
     '{"k": [[1]]}', '{"m": [[1]]}', '{"e": [-1, []]}', '{"d": [[[1], 2]]}'],
)  # fmt: skip
def test_what_encode_never_writes_is_refused(text):
    with pytest.raises(ValueError):
        decode(json.loads(text))


def test_a_set_of_one_hash_is_refused_before_it_is_built():
    hostile = [{"i": f"{k * (2**61 - 1):x}"} for k in range(101)]
    with pytest.raises(ValueError, match="one hash"):
        decode({"s": hostile})


@given(plain, plain)
def test_without_a_tolerance_equal_is_pythons_own_except_for_nan(one, other):
    if "nan" not in repr(one) and "nan" not in repr(other):
        assert equal(one, other, None) == (one == other)
    assert equal(one, one, None) or "nan" in repr(one)
