"""Searches for a right program near a student's own one: each step is the best of the programs drawn."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from tutee_evaluator.engines import Engine, Request, complete
from tutee_evaluator.rollout.state import gives_up, seed_of
from tutee_evaluator.steering.candidates import Candidate, best, compared
from tutee_evaluator.steering.starts import Start
from tutee_grader.config import Section
from tutee_grader.verdict import Verdict
from tutee_serializer.dialogs.dialog import Dialog

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment
    from tutee_grader.grader import Grader

Grade = Callable[[Sequence[tuple[str, str]]], list[Verdict]]  # of (assignment, program)


class SteerConfig(Section):
    """How much is tried for a start: at each weight in turn, until one has led to a right program, `steps`
    steps at most, each the best of `candidates` programs that are drawn at `temperature`."""

    candidates: PositiveInt = Field(default=8, le=64)
    steps: PositiveInt = Field(default=3, le=10)
    weights: tuple[NonNegativeFloat, ...] = Field(default=(0.0, 0.5, 1.0, 1.5), min_length=1)
    temperature: PositiveFloat = 1.0
    seed: int = 2022


@dataclass(frozen=True)
class Led:
    """How far a start was led: `programs` are the steps, each better than the one before; none: nowhere.

    `weight` is that of the guidance with which they were drawn.
    """

    start: Start
    weight: float
    programs: list[Candidate]

    @property
    def is_right(self) -> bool:
        """Whether the last step passes every test."""
        return bool(self.programs) and self.programs[-1].is_right

    @property
    def grade(self) -> float:
        """The grade that was reached."""
        return self.programs[-1].grade if self.programs else self.start.grade


def grade_with(grader: "Grader", assignments: "Mapping[str, Assignment]") -> Grade:
    """What grades programs of these assignments, each once however often it comes."""
    known: dict[tuple[str, str], Verdict] = {}

    def grade(programs: Sequence[tuple[str, str]]) -> list[Verdict]:
        new = [one for one in dict.fromkeys(programs) if one not in known]
        verdicts = grader.grade([(assignments[name], program) for name, program in new])
        known.update(zip(new, verdicts, strict=True))
        return [known[one] for one in programs]

    return grade


def climb(
    starts: Sequence[Start], engine: Engine, grade: Grade, config: SteerConfig, weight: float, name: str = ""
) -> list[Led]:
    """Leads each start on with `engine`, in the same order; `name` has a bar for each step.

    A step goes to the best candidate, if its grade is higher than that of the program at hand; else the next
    step draws others. A turn without a program, or that gives up, is no candidate. `weight` is that of the
    guidance in `engine`.
    """
    led = [Led(start, weight, []) for start in starts]
    dialogs = [_copy(start.dialog) for start in starts]
    for step in range(config.steps):
        going = [at for at, one in enumerate(led) if not one.is_right]
        if not going:
            break
        bar = f"{name}, step {step + 1}" if name else ""
        drawn = _draw([dialogs[at] for at in going], engine, config, step, bar)
        asked = [
            (starts[at].assignment, code) for at, codes in zip(going, drawn, strict=True) for code in codes
        ]
        verdicts = dict(zip(asked, grade(asked), strict=True))
        for at, codes in zip(going, drawn, strict=True):
            of_code = {code: verdicts[starts[at].assignment, code] for code in codes}
            better = [
                compared(starts[at].program, code, verdict.grade)
                for code, verdict in of_code.items()
                if verdict.grade > led[at].grade
            ]
            if better:
                chosen = best(better)
                led[at].programs.append(chosen)
                dialogs[at].append(chosen.code, of_code[chosen.code])
    return led


def steer_all(
    starts: Sequence[Start], engine_at: Callable[[float], Engine], grade: Grade, config: SteerConfig
) -> list[Led]:
    """Leads each start on under rising guidance: with the least weight that leads to a right program.

    Where none does, the one that led to the best program; of equals the least weight. In the order of
    `starts`.
    """
    found: list[list[Led]] = [[] for _ in starts]
    for weight in sorted(config.weights):
        going = [at for at, tried in enumerate(found) if not (tried and tried[-1].is_right)]
        if not going:
            break
        led = climb(
            [starts[at] for at in going], engine_at(weight), grade, config, weight, f"weight {weight:g}"
        )
        for at, one in zip(going, led, strict=True):
            found[at].append(one)
    return [max(tried, key=lambda one: one.grade) for tried in found]


def _draw(
    dialogs: Iterable[Dialog], engine: Engine, config: SteerConfig, step: int, bar: str
) -> list[list[str]]:
    """The programs that are drawn after each dialog."""
    requests = []
    for dialog in dialogs:
        for number in range(config.candidates):
            seed = seed_of(config.seed, dialog.dialog_id, len(dialog.messages), step, number)
            requests.append(Request(dialog, config.temperature, seed))
    turns = complete(engine, requests, progress=bar)
    programs = [turn.program for turn in turns]
    size = config.candidates
    return [
        [code for code in programs[first : first + size] if code is not None and not gives_up(code)]
        for first in range(0, len(programs), size)
    ]


def _copy(dialog: Dialog) -> Dialog:
    return replace(dialog, messages=list(dialog.messages))
