"""A repair goes from the turn as a model wrote it to the rows of its rollout."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_evaluator.engines import Completion, Request, complete
from tutee_evaluator.engines.generator import Written
from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.pairing import pair
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.run import roll_out
from tutee_grader import Assignment, Grader
from tutee_serializer.dialogs.dialog import Dialog

DialogsOf = Callable[..., pl.DataFrame]


def test_an_engine_says_what_it_forgave(
    students: Path, dialogs_of: DialogsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = Student.load(students / "sft", device="cpu")
    row = dialogs_of().filter(feedback="summary").row(0, named=True)
    dialog = Dialog.from_row(row).before(2)
    written = ["<|same|>", "<|same|>\n", "nonsense"]
    turns = [Written(key, student.chat.reply(text), []) for key, text in enumerate(written)]
    monkeypatch.setattr(student._generator, "step", lambda: turns)

    exact, repaired, unreadable = complete(student, map(Request, [dialog] * 3))

    assert exact.program == repaired.program == dialog.previous
    assert (exact.repair, repaired.repair) == (None, "newlines")
    assert unreadable.program is None and unreadable.repair is None


def test_rollouts_and_steps_keep_each_turns_repair(
    dialogs_of: DialogsOf,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    grader: Grader,
    scripted: Any,
    tmp_path: Path,
) -> None:
    class Careless(scripted):
        """Its programs can be read only after a repair, from the second turn on."""

        def _answer(self, dialog: Dialog) -> Completion:
            first = sum(asked is dialog for asked in self._asked) == 1
            return Completion("", "x = 1\n", repair=None if first else "no closing fence")

    dialogs = dialogs_of()
    config = RolloutConfig(steps=2, samples=0)
    careless = Careless(lambda dialog, step: None)
    table = tmp_path / "rollouts.parquet"
    arguments = (dialogs, submissions, assignments, grader, config, table)
    rollouts = roll_out("sft", lambda: careless, *arguments).collect()
    steps = pair(rollouts, dialogs, submissions, verdicts)

    for rows in (rollouts, steps):
        assert set(rows.filter(step=1)["repair"]) == {None}
        assert set(rows.filter(step=2)["repair"]) == {"no closing fence"}
