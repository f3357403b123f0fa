import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutee_evaluator.programs import edits

LOOP = "for x in xs:\n    print(x)\n"


@pytest.mark.parametrize(
    ("before", "after", "lines", "tokens", "tree"),
    [
        (LOOP, LOOP, 0, 0, 0),
        (LOOP, LOOP + "y = 1\n", 1, 3, 4),  # y, 1, the assignment and the module around all
        (LOOP, "# all of them\n" + LOOP, 1, 0, 0),
        # The constant, the assignment and the module; one line goes and one comes.
        ("y = 1\n", "y = 2\n", 2, 1, 3),
        ("y = 1\n", "y = True\n", 2, 1, 3),
        # Two statements change places: the module only.
        ("a = 1\nb = 2\n", "b = 2\na = 1\n", 2, 4, 1),
        # Read or written, a name is the same subtree: the assignment and the module.
        ("x = y\n", "y = x\n", 2, 2, 2),
    ],
)
def test_small_edits_by_hand(before: str, after: str, lines: int, tokens: int, tree: int) -> None:
    assert edits([(before, after), (after, before)]) == [(lines, tokens, tree)] * 2


def test_an_edit_of_what_is_not_python_has_no_tree() -> None:
    (same, broken) = edits([("if x\n", "if x\n"), (LOOP, "if x\n")])

    assert same == (0, 0, None)
    assert broken.tree is None and broken.lines == 3


def test_a_program_that_python_cannot_nest_has_no_tree() -> None:
    assert edits([("x = 1\n", f"x = {'-' * 3000}1\n")])[0].tree is None


programs = st.lists(st.sampled_from(["a = 1", "b = a", "a = 2", "print(a)", "def", ""]), max_size=5).map(
    "\n".join
)


@settings(deadline=None)
@given(st.lists(st.tuples(programs, programs), max_size=4))
def test_an_edit_depends_on_its_two_programs_only(pairs: list[tuple[str, str]]) -> None:
    together = edits(pairs)

    assert together == [edits([pair])[0] for pair in pairs]
    assert together == edits([(after, before) for before, after in pairs])
