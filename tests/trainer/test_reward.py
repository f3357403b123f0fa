"""The reward of DAPO, by the real grader."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tutee_grader import Assignment, Grader
from tutee_serializer.dialogs.formats import write_turn
from tutee_trainer.reward import Target, rewards

REAL = "def double(n):\n    return n + 2\n"
PREVIOUS = "def double(n):\n    print(n)\n"


@pytest.fixture(scope="module")
def assignment(tmp_path_factory: pytest.TempPathFactory) -> Assignment:
    folder: Path = tmp_path_factory.mktemp("assignments") / "double"
    folder.mkdir()
    (folder / "task.md").write_text("Write a function double(n) that returns twice n.\n")
    (folder / "solution.py").write_text("def double(n):\n    return n * 2\n")
    (folder / "tests.yaml").write_text(
        'form: calls\ntests:\n  - {call: "double(2)", returns: "4"}\n  - {call: "double(5)", returns: "10"}\n'
    )
    return Assignment.load(folder)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as grader:
        yield grader


@pytest.mark.parametrize(
    ("program", "reward"),
    [
        ("def double(m):\n    return m + 2\n", 2.0),  # the real one, but for a name
        ("def double(n):\n    return 4\n", 1.0),  # half of the tests, as the real one
        ("def double(n):\n    return n * 2\n", 0.0),
        ("def double(n)\n    return n + 2\n", -0.5),
        (None, -0.75),  # -1, raised to the floor
    ],
)
def test_each_kind_of_answer_earns_its_reward(
    assignment: Assignment, grader: Grader, program: str | None, reward: float
) -> None:
    content = "<|to|>" if program is None else write_turn("edits", PREVIOUS, program)
    target = Target("double", PREVIOUS, REAL, 50.0)
    assert rewards([content], [5], [target], {"double": assignment}, grader, "edits", 100) == [reward]


@pytest.mark.parametrize(("length", "reward"), [(75, 2.0), (88, 1.74), (100, 1.5)])
def test_overlong_answers_lose_up_to_a_half(
    assignment: Assignment, grader: Grader, length: int, reward: float
) -> None:
    content = write_turn("edits", PREVIOUS, REAL)
    target = Target("double", PREVIOUS, REAL, 50.0)
    earned = rewards([content], [length], [target], {"double": assignment}, grader, "edits", 100)
    assert earned == pytest.approx([reward])
