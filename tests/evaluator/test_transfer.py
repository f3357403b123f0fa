"""What another student changed, changed in the student's own program."""

import builtins
import keyword
import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tutee_evaluator.engines.baselines.nearest import TRANSFERRED, TRIED, Successor, Successors
from tutee_evaluator.engines.baselines.revisions import Change, Revision
from tutee_evaluator.engines.baselines.transfer import transfer
from tutee_serializer.programs import parse

BEFORE = """\
def total(numbers):
    result = 0
    for number in numbers:
        result = number
    return result
"""
AFTER = BEFORE.replace("result = number", "result += number")
# The same program by somebody with other names, who does more in it.
OWN = """\
def total(items):
    s = 0
    for x in items:
        s = x
        print(s)
    return s
"""


def test_an_edit_is_made_where_the_same_code_stands_and_in_the_students_names() -> None:
    assert transfer(BEFORE, AFTER, OWN) == OWN.replace("s = x", "s += x")


def test_a_new_line_has_the_students_names() -> None:
    after = BEFORE.replace("    return", "    result = result / len(numbers)\n    return")
    assert transfer(BEFORE, after, OWN) == OWN.replace("    return", "    s = s / len(items)\n    return")


def test_names_of_methods_are_not_exchanged() -> None:
    before, after = "a.sort()\nb = a\n", "a.sort()\nb = a.sort()\n"
    assert transfer(before, after, "c.append()\nd = c\n") == "c.append()\nd = c.sort()\n"


@pytest.mark.parametrize(
    "program",
    ["", "print(1)\n", "def total(items):\n    return sum(items)\n", OWN.replace("s = x", "pass")],
)
def test_an_edit_of_code_that_the_student_does_not_have_is_not_made(program: str) -> None:
    assert transfer(BEFORE, AFTER, program) is None


def test_all_edits_are_made_or_none() -> None:
    after = AFTER.replace("return result", "return result + 1")
    assert transfer(BEFORE, after, OWN.replace("return s", "return 's'")) is None


def test_an_edit_that_the_student_has_made_already_is_none() -> None:
    assert transfer(BEFORE, AFTER, OWN.replace("s = x", "s += x")) is None


def test_an_edit_does_not_break_a_program_that_parses() -> None:
    after = BEFORE.replace("in numbers:", "in numbers")
    assert transfer(BEFORE, after, OWN) is None
    broken = OWN.replace("print(s)", "print(s")
    assert transfer(BEFORE, after, broken) == broken.replace("in items:", "in items")


TEXTS = st.text(st.sampled_from("ab1.:= \n\t\r\x0cé#'("), max_size=40)


@given(TEXTS, TEXTS)
@example(BEFORE, AFTER)
def test_in_the_first_program_itself_edits_lead_to_the_second(before: str, after: str) -> None:
    left_out = before == after or (parse(after) is None and parse(before) is not None)
    assert transfer(before, after, before) == (None if left_out else after)


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name) and name not in dir(builtins) and name != "total"
)


@given(st.lists(NAMES, min_size=3, max_size=3, unique=True))
def test_names_do_not_matter(names: list[str]) -> None:
    new = dict(zip(["numbers", "result", "number"], names, strict=True))

    def renamed(program: str) -> str:
        return re.sub(r"\w+", lambda word: new.get(word[0], word[0]), program)

    assert transfer(BEFORE, AFTER, renamed(BEFORE)) == renamed(AFTER)


# --- looking them up -------------------------------------------------------------------------------------


def revision(before: str, after: str) -> Revision:
    return Revision(before, 0, after, 50, "a")


def programs(found: Sequence[Successor]) -> list[str]:
    return [one.program for one in found]


def test_the_edits_after_the_nearest_programs_come_first() -> None:
    far = f"import math\n\n\n{BEFORE}"
    revisions = [revision(far, far.replace("= number", "= 1")), revision(BEFORE, AFTER)]
    found = programs(Successors({"task": revisions}).transferred("task", OWN))
    assert found == [OWN.replace("s = x", "s += x"), OWN.replace("s = x", "s = 1")]


def test_where_no_edit_fits_it_is_what_others_submitted() -> None:
    found = Successors({"task": [revision(BEFORE, AFTER)]})
    assert programs(found.transferred("task", "print(1)\n")) == [AFTER]
    assert programs(found.transferred("other task", "print(1)\n")) == ["print(1)\n"]


def test_a_program_stands_for_how_the_peers_grade_changed() -> None:
    found = Successors({"task": [Revision(BEFORE, 0, AFTER, 0, "a"), Revision(AFTER, 50, BEFORE, 100, "b")]})
    assert [one.change for one in found.of("task", BEFORE)] == [Change.STAYS, Change.SOLVES]
    assert [one.change for one in found.transferred("task", OWN)] == [Change.STAYS]


def test_only_so_many_are_tried_and_kept() -> None:
    misfit = [revision(OWN, OWN.replace("print(s)", f"print({number})")) for number in range(TRIED)]
    fitting = [revision(BEFORE, BEFORE.replace("= 0", f"= {number}")) for number in range(1, 50)]
    program = OWN.replace("        print(s)\n", "")
    assert len(Successors({"task": fitting}).transferred("task", program)) == TRANSFERRED
    near = programs(Successors({"task": [*fitting, *misfit]}).transferred("task", OWN))
    assert set(near) <= {one.next for one in misfit}
