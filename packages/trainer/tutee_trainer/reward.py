"""The rewards of DAPO: how close written turns come to what the real students did next."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Annotated, Literal

from pydantic import Field

from tutee_grader.assignment import Assignment
from tutee_grader.config import Section
from tutee_grader.errors import SandboxError
from tutee_grader.grader import Grader
from tutee_grader.verdict import Status, Verdict
from tutee_serializer.dialogs.formats import TurnError, read_turn
from tutee_serializer.dialogs.trees import normalise
from tutee_trainer.proper_reward import failing_distances, failing_tests, score_rewards

SAME_TREE, SAME_GRADE, OTHER, NOT_COMPILING, UNREADABLE = 2.0, 1.0, 0.0, -0.5, -1.0
FLOOR = -0.75
OVERLONG = 0.5  # weight of the penalty of an overlong turn


class RewardConfig(Section):
    """Key `reward` of section `dapo`: what a written turn earns.

    `published` (Koutcheme et al., arXiv 2604.10720): 2 for the real submission's normalised tree, 1 for its
    grade, 0 for neither.

    `tests`: `overlap` times the overlap of the failing tests with the real submission's (intersection over
    union; 1 where both pass all), plus `diversity` times 1 - the largest similarity to another sample of the
    group. It follows KASER (arXiv 2601.06633), which adds both, with CodeBLEU as the similarity, to the
    CodeBLEU with the real program, each with weight 1. Here nothing else holds diversity in check, so it
    weighs less than the overlap: to be unlike the others never earns more than to fail as the student did.

    Both: -0.5 where the program does not compile, unless it is the real one to the letter, -1 for a turn
    without a program; less half of the soft overlong penalty (DAPO, arXiv 2503.14476), which grows from 0
    to 1 over the last `overlong_share` of `max_new_tokens`; never below -0.75.

    `scores`: the gradient of the evaluator's proper scores (see `proper_reward.py`): `code` times that of the
    code's energy score, `grade` times that of the grade's CRPS, and `failing` times that of the energy score
    of the sets of failing tests. Nothing else is added or taken away, or it would no longer be that gradient.
    """

    kind: Literal["published", "tests", "scores"] = "published"
    overlong_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    overlap: Annotated[float, Field(ge=0)] = 1.0
    diversity: Annotated[float, Field(ge=0)] = 0.5
    code: Annotated[float, Field(ge=0)] = 1.0
    grade: Annotated[float, Field(ge=0)] = 1.0
    failing: Annotated[float, Field(ge=0)] = 1.0


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
    group_size: int,
    config: RewardConfig,
    assignments: Mapping[str, Assignment],
    grader: Grader,
    format: str,
    max_new_tokens: int,
) -> list[float]:
    """One reward per written turn, as `config` says; all programs are graded in one batch.

    Each `group_size` turns in a row are samples of one prompt. `lengths` and `max_new_tokens` count tokens.
    Raises SandboxError where the sandbox fails on every program.
    """
    if len(contents) % group_size:
        raise ValueError(f"{len(contents)} turns are not whole groups of {group_size}")
    programs = [_read(format, target, content) for content, target in zip(contents, targets, strict=True)]
    jobs = {
        (target.assignment, program): None
        for written, target in zip(programs, targets, strict=True)
        for program in (written, None if config.kind == "published" else target.program)
        if program is not None
    }
    verdicts = dict(
        zip(jobs, _grade(grader, [(assignments[name], text) for name, text in jobs]), strict=True)
    )
    if config.kind == "scores":
        return _scores(programs, targets, verdicts, group_size, config)
    diversity = _diversity(programs, group_size) if config.kind == "tests" else [0.0] * len(programs)
    values = []
    for program, target, unlike in zip(programs, targets, diversity, strict=True):
        if program is None:
            values.append(UNREADABLE)
            continue
        verdict = verdicts[target.assignment, program]
        if verdict is None:
            values.append(OTHER)
        elif verdict.status is not Status.COMPILES and program != target.program:
            values.append(NOT_COMPILING)
        elif config.kind == "published":
            values.append(_published(program, verdict, target))
        else:
            overlap = _overlap(verdict, verdicts[target.assignment, target.program])
            values.append(config.overlap * overlap + config.diversity * unlike)
    return [
        max(FLOOR, value - OVERLONG * _overlong(length, max_new_tokens, config.overlong_share))
        for value, length in zip(values, lengths, strict=True)
    ]


def _read(format: str, target: Target, content: str) -> str | None:
    try:
        return read_turn(format, target.previous, content)
    except TurnError:
        return None


def _grade(grader: Grader, programs: Sequence[tuple[Assignment, str]]) -> list[Verdict | None]:
    """The verdicts; None for a program on which the sandbox fails even where others can be graded."""
    try:
        return list(grader.grade(programs))
    except SandboxError:
        verdicts: list[Verdict | None] = []
        for program in programs:
            try:
                verdicts += grader.grade([program])
            except SandboxError:
                verdicts.append(None)
        failed = verdicts.count(None)
        if failed == len(programs):
            raise
    if failed:
        warnings.warn(f"the sandbox fails on {failed} of {len(programs)} programs: they earn 0", stacklevel=2)
    return verdicts


def _scores(
    programs: Sequence[str | None],
    targets: Sequence[Target],
    verdicts: Mapping[tuple[str, str], Verdict | None],
    group_size: int,
    config: RewardConfig,
) -> list[float]:
    """The rewards of kind `scores`."""
    from tutee_evaluator.forecasts import grade_distances, program_distances

    groups = [slice(start, start + group_size) for start in range(0, len(programs), group_size)]
    code = program_distances([[*programs[group], targets[group.start].program] for group in groups])
    values: list[float] = []
    for group, distances in zip(groups, code, strict=True):
        target = targets[group.start]
        graded = [
            None if one is None else verdicts[target.assignment, one]
            for one in (*programs[group], target.program)
        ]
        grades = [0.0 if verdict is None else verdict.grade for verdict in graded[:-1]]
        earned = (
            config.code * score_rewards(distances)
            + config.grade * score_rewards(grade_distances([*grades, target.grade]))
            + config.failing * score_rewards(failing_distances(graded))
        )
        values += earned.tolist()
    return values


def _published(program: str, verdict: Verdict, target: Target) -> float:
    tree = normalise(program)
    if program == target.program or (tree is not None and tree == normalise(target.program)):
        return SAME_TREE
    return SAME_GRADE if abs(verdict.grade - target.grade) < 1e-6 else OTHER


def _overlap(written: Verdict, real: Verdict | None) -> float:
    """Intersection over union of the failing tests, by their place in the assignment."""
    if real is None:
        return 0.0
    ours, theirs = failing_tests(written), failing_tests(real)
    return len(ours & theirs) / len(ours | theirs) if ours | theirs else 1.0


def _diversity(programs: Sequence[str | None], group_size: int) -> list[float]:
    """1 - the largest similarity of each program to another of its group; 1 where there is no other."""
    shapes = [None if program is None else _shape(program) for program in programs]
    largest = [0.0] * len(shapes)
    for start in range(0, len(shapes), group_size):
        for one, other in combinations(range(start, start + group_size), 2):
            alike = _similarity(shapes[one], shapes[other])
            largest[one] = max(largest[one], alike)
            largest[other] = max(largest[other], alike)
    return [1 - alike for alike in largest]


def _shape(program: str) -> Counter[tuple[str, str]]:
    """The pairs of neighbours in the normalised tree (the text, where there is none), counted.

    Comments, layout and the names of variables are not in it, so they make no program diverse. Counts take
    time in proportion to a program's length, which an alignment of repetitive programs does not.
    """
    return Counter(pairwise(["", *(normalise(program) or program).split(), ""]))


def _similarity(one: Counter[tuple[str, str]] | None, other: Counter[tuple[str, str]] | None) -> float:
    """The coefficient of Sørensen and Dice, 0 to 1; 0 with a turn that holds no program."""
    if one is None or other is None:
        return 0.0
    return 2 * (one & other).total() / (one.total() + other.total())


def _overlong(length: int, max_new_tokens: int, share: float) -> float:
    free = max_new_tokens * (1 - share)
    return min(1.0, max(0.0, (length - free) / (max_new_tokens - free)))
