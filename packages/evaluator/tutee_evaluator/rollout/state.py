"""One rollout in progress."""

import ast
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tutee_evaluator.engines import Completion, Request
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.schemas import GREEDY, Outcome, StopReason
from tutee_grader.verdict import Verdict
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.programs import parse

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment

Key = tuple[str, int, int]  # dialog_id, start, sample


@dataclass
class Rollout:
    """One rollout in progress: its dialog up to now, and its ROLLOUTS rows, without the method.

    `real` lists the ids of the real submissions from the start on: it has as many steps at most. `turn` is
    the first of them as the student's dialog has it, and `nats` its negative log-likelihood.
    """

    key: Key
    assignment: "Assignment"
    real: list[str]
    dialog: Dialog
    turn: str
    config: RolloutConfig
    nats: float | None = None
    stop: StopReason | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def begin(
        cls,
        start: Mapping[str, Any],
        whole: Dialog,
        sample: int,
        assignment: "Assignment",
        config: RolloutConfig,
    ) -> Self:
        """The rollout `sample` before its first step, from a start and the whole dialog that it is in."""
        key = (start["dialog_id"], start["start"], sample)
        dialog = whole.before(start["start"])
        turn = whole.messages[len(dialog.messages)]["content"]
        return cls(key, assignment, start["real"], dialog, turn, config)

    def request(self) -> Request:
        """What the engine is asked for next."""
        if self.key[2] == GREEDY:
            return Request(self.dialog)
        seed = seed_of(self.config.seed, *self.key, len(self.rows))
        return Request(self.dialog, self.config.temperature, seed)

    def read(self, completion: Completion) -> str | None:
        """Takes the engine's turn; returns the program to be graded, None where the rollout is over."""
        program = completion.program
        if program is None:
            self._add(Outcome.UNREADABLE, status=completion.reason)
            self.stop = StopReason.UNREADABLE
        elif gives_up(program):
            self._add(Outcome.GAVE_UP, code=program, repair=completion.repair)
            self.stop = StopReason.GAVE_UP
        else:
            self._add(Outcome.PROGRAM, code=program, repair=completion.repair)
            return program
        return None

    def grade(self, verdict: Verdict) -> None:
        """Takes the verdict on the last program, which may be the last step."""
        row = self.rows[-1]
        row |= {"feedback": self.dialog.words(verdict), **verdict.to_row()}
        if verdict.grade == 100:
            self.stop = StopReason.SOLVED
        elif len(self.rows) == len(self.real):
            self.stop = StopReason.STEPS
        else:
            self.dialog.append(row["code"], verdict)

    def table(self) -> list[dict[str, Any]]:
        """All rows, of the steps too at which only the real student submitted something."""
        while len(self.rows) < len(self.real):
            self._add(Outcome.ENDED)
        self.rows[0]["nats"] = self.nats
        return [{**row, "stop_reason": self.stop} for row in self.rows]

    def _add(self, outcome: Outcome, **values: Any) -> None:
        dialog_id, start, sample = self.key
        row = {
            "dialog_id": dialog_id,
            "start": start,
            "step": len(self.rows) + 1,
            "sample": sample,
            "outcome": outcome,
            "submission_id": self.real[len(self.rows)],
        }
        self.rows.append({**row, **values})


def seed_of(*place: int | str) -> int:
    """A seed for each place in a random experiment, without a pattern among them."""
    return int.from_bytes(hashlib.sha256(repr(place).encode()).digest()[:8])


def gives_up(program: str) -> bool:
    """Whether a program is empty or calls `exit()`, which the published evaluation takes for giving up."""
    tree = parse(program)
    if tree is None:
        return not program.strip()
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return not tree.body or any(isinstance(called, ast.Name) and called.id == "exit" for called in calls)
