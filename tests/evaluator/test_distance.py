import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tutee_evaluator.distance import edit_distance, indel_distance, token_distance, token_distances, tokens

COUNT = (
    "def count(xs):\n    total = 0\n    for x in xs:\n"
    "        if x > 0:\n            total += x\n    return total\n"
)
PROGRAMS = [COUNT, COUNT.replace("total", "n"), COUNT.replace("):", ")"), "x = 1", "é", "", "\x00", "f(' '"]
WORDS = ["x", "y", "=", "1", "'", "if", "y:", "return", "(", "\n", "\n    ", "# x"]
texts = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join) | st.sampled_from(PROGRAMS) | st.text()


def distance_by_table(one: list[str], other: list[str]) -> int:
    """The Levenshtein distance, row by row of its table."""
    row = list(range(len(other) + 1))
    for n, mine in enumerate(one, 1):
        above, row = row, [n]
        for k, theirs in enumerate(other):
            row.append(min(row[k] + 1, above[k + 1] + 1, above[k] + (mine != theirs)))
    return row[-1]


token_lists = st.lists(st.sampled_from("abc"), max_size=90)  # longer than a machine word, with many ties


@given(token_lists, token_lists)
@example([], [])
@example(list("ab" * 40), list("ba" * 40))
def test_the_edit_distance_is_that_of_the_table(one: list[str], other: list[str]) -> None:
    assert edit_distance(one, other) == distance_by_table(one, other)


@given(token_lists, token_lists, token_lists)
def test_the_edit_distance_is_a_metric(one: list[str], two: list[str], three: list[str]) -> None:
    assert (edit_distance(one, two) == 0) == (one == two)
    assert edit_distance(one, two) == edit_distance(two, one)
    assert edit_distance(one, three) <= edit_distance(one, two) + edit_distance(two, three)


@given(texts, texts)
def test_the_distance_is_a_share_of_the_longer_program(one: str, other: str) -> None:
    longer = max(len(tokens(one)), len(tokens(other)))

    assert token_distance(one, other) * longer == pytest.approx(edit_distance(tokens(one), tokens(other)))


@given(texts, texts)
def test_the_distance_is_between_0_for_equal_tokens_and_1(one: str, other: str) -> None:
    assert 0 <= token_distance(one, other) <= 1
    assert (token_distance(one, other) == 0) == (tokens(one) == tokens(other))


@given(texts, texts)
def test_the_distance_is_symmetric(one: str, other: str) -> None:
    assert token_distance(one, other) == token_distance(other, one)


@pytest.mark.parametrize(
    "other",
    [
        COUNT.replace("total = 0", "total = 0  # so far"),
        COUNT.replace("    ", "\t"),
        COUNT.replace("\n", "\n\n"),
        COUNT.replace(" = ", "="),
        COUNT.rstrip(),
    ],
)
def test_comments_and_blanks_make_no_distance(other: str) -> None:
    assert other != COUNT and token_distance(COUNT, other) == 0


def test_an_indentation_is_a_token() -> None:
    inside, after = "if a:\n    b\n    c\n", "if a:\n    b\nc\n"

    assert tokens(inside) == ["if", "a", ":", "<indent>", "b", "c", "<dedent>"]
    # To leave the block a token earlier is to move one: to take it out and to put it in.
    assert token_distance(inside, after) == pytest.approx(2 / 7)


@pytest.mark.parametrize(("one", "other"), [("a = 1", "print(b)"), (COUNT, ""), ("(", "]")])
def test_programs_with_nothing_in_common_are_at_1(one: str, other: str) -> None:
    assert token_distance(one, other) == 1


@pytest.mark.parametrize("broken", ["f(x == 'a b'  # why", "x = 'a\nb", "  a\n b", "x ? y"])
def test_text_that_is_not_python_has_tokens(broken: str) -> None:
    assert tokens(broken) and not any(token.isspace() or "#" in token for token in tokens(broken))


def test_text_that_is_not_python_keeps_strings_and_operators_whole() -> None:
    assert tokens("f(x == 'a b', 1.5 //= 2  # why") == ["f", "(", "x", "==", "'a b'", ",", "1.5", "//=", "2"]


def test_distances_keep_the_order_of_their_pairs() -> None:
    pairs = [(one, other) for one in PROGRAMS for other in PROGRAMS]

    assert token_distances(pairs) == [token_distance(*pair) for pair in pairs]


def common_by_table(one: list[str], other: list[str]) -> int:
    """The length of the longest common subsequence, row by row of its table."""
    row = [0] * (len(other) + 1)
    for mine in one:
        above, row = row, [0]
        for k, theirs in enumerate(other):
            row.append(above[k] + 1 if mine == theirs else max(row[k], above[k + 1]))
    return row[-1]


@given(token_lists, token_lists)
@example([], [])
@example(list("ab" * 40), list("ba" * 40))
def test_what_is_inserted_and_deleted_is_all_but_the_longest_common_subsequence(
    one: list[str], other: list[str]
) -> None:
    assert indel_distance(one, other) == len(one) + len(other) - 2 * common_by_table(one, other)
