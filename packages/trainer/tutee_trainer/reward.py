"""The reward of DAPO: how close a written turn comes to what the real student did next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutee_grader.assignment import Assignment
from tutee_grader.grader import Grader
from tutee_serializer.dialogs.formats import TurnError, read_turn
from tutee_serializer.dialogs.trees import normalise

SAME_TREE, SAME_GRADE, OTHER, NOT_COMPILING, UNREADABLE = 2.0, 1.0, 0.0, -0.5, -1.0
FLOOR = -0.75
OVERLONG = 0.5  # weight of the penalty of an overlong turn
OVERLONG_SHARE = 0.25  # the last part of max_new_tokens, over which that penalty grows from 0 to 1


@dataclass(frozen=True)
class Target:
    """What a turn is compared with: the real next submission after `previous`, its grade 0 to 100."""

    assignment: str
    previous: str | None
    program: str
    grade: float


def rewards(
    contents: Sequence[str],
    lengths: Sequence[int],
    targets: Sequence[Target],
    assignments: Mapping[str, Assignment],
    grader: Grader,
    format: str,
    max_new_tokens: int,
) -> list[float]:
    """One reward per written turn, graded in one batch (Koutcheme et al., arXiv 2604.10720).

    2 for the real submission's normalised tree, 1 for its grade, 0 for neither, -0.5 where the program does
    not compile, -1 for a turn without a program; less half of the soft overlong penalty (DAPO, arXiv
    2503.14476: 0 up to three quarters of `max_new_tokens`, 1 at all of them); never below -0.75.
    """
    programs: list[str | None] = []
    for content, target in zip(contents, targets, strict=True):
        try:
            programs.append(read_turn(format, target.previous, content))
        except TurnError:
            programs.append(None)
    readable = [row for row, program in enumerate(programs) if program is not None]
    verdicts = grader.grade([(assignments[targets[row].assignment], programs[row]) for row in readable])
    values = [UNREADABLE] * len(contents)
    for row, verdict in zip(readable, verdicts, strict=True):
        values[row] = _compare(programs[row] or "", verdict.grade, targets[row])
    return [
        max(FLOOR, value - OVERLONG * _overlong(length, max_new_tokens))
        for value, length in zip(values, lengths, strict=True)
    ]


def _compare(program: str, grade: float, target: Target) -> float:
    tree = normalise(program)
    if program == target.program or (tree is not None and tree == normalise(target.program)):
        return SAME_TREE
    if tree is None:
        return NOT_COMPILING
    return SAME_GRADE if abs(grade - target.grade) < 1e-6 else OTHER


def _overlong(length: int, max_new_tokens: int) -> float:
    free = max_new_tokens * (1 - OVERLONG_SHARE)
    return min(1.0, max(0.0, (length - free) / (max_new_tokens - free)))
