"""A repair goes from the turn as a model wrote it to the rows of its rollout."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl
import pytest

from tutee_evaluator.engines import Completion
from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.pairing import pair
from tutee_evaluator.rollout import RolloutConfig, roll_out
from tutee_grader import Assignment, Grader
from tutee_serializer.dialogs.dialog import Dialog

DialogsOf = Callable[..., pl.DataFrame]


def test_an_engine_says_what_it_forgave(
    students: Path, dialogs_of: DialogsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = Student.load(students / "sft", device="cpu")
    row = dialogs_of().filter(feedback="summary").row(0, named=True)
    dialog = Dialog.from_row(row).before(2)
    written = iter(["<|same|>", "<|same|>\n", "nonsense"])
    monkeypatch.setattr(student, "_write", lambda prompts: [next(written) for _ in prompts])

    exact, repaired, unreadable = student.complete([dialog] * 3)

    assert exact.program == repaired.program == dialog.previous
    assert (exact.repair, repaired.repair) == (None, "newlines")
    assert unreadable.program is None and unreadable.repair is None


class Careless:
    """Writes the same program each time, readable only after a repair from its second turn on."""

    format, feedback = "edits", "summary"

    def __init__(self) -> None:
        self.step = 0

    def complete(self, dialogs: Sequence[Dialog]) -> list[Completion]:
        self.step += 1
        repair = "no closing fence" if self.step > 1 else None
        return [Completion("", "x = 1\n", repair=repair) for _ in dialogs]


def test_rollouts_and_steps_keep_each_turns_repair(
    dialogs_of: DialogsOf,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    grader: Grader,
) -> None:
    dialogs = dialogs_of()
    config = RolloutConfig(steps=2)
    rollouts = roll_out("sft", Careless(), dialogs, submissions, assignments, grader, config)
    steps = pair(rollouts, dialogs, submissions, verdicts)

    for table in (rollouts, steps):
        assert set(table.filter(step=1)["repair"]) == {None}
        assert set(table.filter(step=2)["repair"]) == {"no closing fence"}
