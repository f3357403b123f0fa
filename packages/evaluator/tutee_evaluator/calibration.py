"""Calibrates a student: fits how it is mixed with look-ups (`engines/gate.py`) to validation students.

The mixture's parts k forecast each submission; a_k is the mean distance of a part's programs to what the
student really submitted, B_kl that between the programs of two parts. With weights w the score of the mixture
is

    w a - w B w / 2,

so the model writes its samples once, and any weights can be scored (and have a gradient) from there on. What
is made least is the energy score of the code plus the CRPS of the grade, each as a share of COPY's, and a
penalty on how much the weights depend on the state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from random import Random

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tqdm import tqdm

from tutee_evaluator.engines import Engine, Request
from tutee_evaluator.engines.baselines.nearest import Successors
from tutee_evaluator.engines.gate import FEATURES, PARTS, Gate, features
from tutee_evaluator.forecasts import Program, grade_distances, program_distances
from tutee_evaluator.rollout.state import gives_up
from tutee_evaluator.schemas import COPY
from tutee_grader.assignment import Assignment
from tutee_grader.grader import Grader
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import task_turn

Array = NDArray[np.float64]


@dataclass
class _Start:
    """A validation student's submission with what preceded it, and the programs of each of PARTS."""

    dialog: Dialog
    assignment: str
    real: str
    real_grade: float
    programs: list[list[Program]] = field(default_factory=list)

    @property
    def forecast(self) -> list[Program]:
        """The programs of all parts."""
        return [program for part in self.programs for program in part]


def calibrate(
    student: Engine,
    dialogs: pl.DataFrame,
    successors: Successors,
    assignments: Mapping[str, Assignment],
    grader: Grader,
    *,
    starts: int,
    samples: int,
    penalty: float,
    seed: int = 0,
    progress: bool = False,
) -> Gate:
    """The gate with the best scores on validation students, of the table DIALOGS.

    The student writes `samples` turns (2 or more) at temperature 1 for up to `starts` of their submissions.
    Where there is nothing to fit to, all parts are equally likely.
    """
    drawn = _starts(student, dialogs, assignments)
    drawn = Random(seed).sample(drawn, min(starts, len(drawn)))
    if not drawn:
        return Gate((0.0,) * len(FEATURES), {part: (0.0,) * (len(FEATURES) + 1) for part in PARTS})
    written = _write(student, [start.dialog for start in drawn], samples, seed, progress)
    for start, turns in zip(drawn, written, strict=True):
        previous = start.dialog.previous
        assert previous is not None
        start.programs = [[previous], list(successors.of(start.dialog.task, previous)), turns]
    code = program_distances([[*start.forecast, start.real] for start in drawn])
    return _fit(drawn, code, _grade_distances(drawn, assignments, grader), penalty)


def _starts(student: Engine, dialogs: pl.DataFrame, assignments: Mapping[str, Assignment]) -> list[_Start]:
    """Each submission of the validation students but the first ones on a task, in order."""
    names = {task_turn(student.format, assignment.task): name for name, assignment in assignments.items()}
    rows = dialogs.filter(split="validation", format=student.format, feedback=student.feedback)
    return [
        _Start(whole.before(number), name, turn.program, turn.grade)
        for row in rows.sort("dialog_id").iter_rows(named=True)
        for whole in (Dialog.from_row(row),)
        for number, turn in enumerate(whole.turns(), 1)
        for name in (names.get(whole.messages[turn.task]["content"]),)
        if name is not None and turn.previous is not None
    ]


def _write(
    student: Engine, dialogs: Sequence[Dialog], samples: int, seed: int, progress: bool
) -> list[list[Program]]:
    """`samples` programs of the student after each dialog."""
    chance = Random(seed)
    for key, (dialog, _) in enumerate(product(dialogs, range(samples))):
        student.add(key, Request(dialog, 1.0, chance.getrandbits(63)))
    programs: list[Program] = [None] * (len(dialogs) * samples)
    with tqdm(total=len(programs), desc="samples", unit="turn", disable=None if progress else True) as bar:
        while done := student.collect():
            for key, completion in done:
                program = completion.program
                programs[key] = None if program is None or gives_up(program) else program
            bar.update(len(done))
    return [programs[at : at + samples] for at in range(0, len(programs), samples)]


def _grade_distances(
    starts: Sequence[_Start], assignments: Mapping[str, Assignment], grader: Grader
) -> list[Array]:
    """For each start, the differences between the grades of all programs / 100, the real one's last."""
    jobs = list(
        dict.fromkeys(
            (start.assignment, one) for start in starts for one in start.forecast if one is not None
        )
    )
    verdicts = grader.grade([(assignments[name], program) for name, program in jobs])
    grades: dict[tuple[str, Program], float] = {
        job: verdict.grade for job, verdict in zip(jobs, verdicts, strict=True)
    }
    return [
        grade_distances(
            [*(grades.get((start.assignment, one), 0.0) for one in start.forecast), start.real_grade]
        )
        for start in starts
    ]


def _fit(starts: Sequence[_Start], code: Sequence[Array], grades: Sequence[Array], penalty: float) -> Gate:
    """The gate at which the scores are least, by L-BFGS."""
    import torch

    forecasts = [
        _forecast(matrix, [len(part) for part in start.programs])
        for matrices in (code, grades)
        for start, matrix in zip(starts, matrices, strict=True)
    ]
    shape = (2, len(starts))
    to_real = torch.tensor(np.array([one for one, _ in forecasts])).reshape(*shape, len(PARTS))
    among = torch.tensor(np.array([one for _, one in forecasts])).reshape(*shape, len(PARTS), len(PARTS))
    found = [features(start.dialog) for start in starts]
    known = np.array([one for one in found if one is not None]).reshape(-1, len(FEATURES))
    means = known.mean(0) if len(known) else np.zeros(len(FEATURES))
    centred = [np.zeros(len(FEATURES)) if one is None else np.array(one) - means for one in found]
    inputs = torch.tensor(np.column_stack([np.ones(len(starts)), np.array(centred)]))
    unit = to_real[:, :, PARTS.index(COPY)].mean(1)  # COPY's scores: it has no spread
    unit = torch.where(unit > 0, unit, torch.ones_like(unit))
    weights = torch.zeros(len(FEATURES) + 1, len(PARTS), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        chances = torch.softmax(inputs @ weights, 1)
        spread = torch.einsum("nk,snkl,nl->sn", chances, among, chances)
        scores = torch.einsum("nk,snk->sn", chances, to_real) - spread / 2
        value = (scores.mean(1) / unit).sum() + penalty * (weights[1:] ** 2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    fitted = weights.detach().numpy()
    return Gate(tuple(means.tolist()), {part: tuple(fitted[:, at].tolist()) for at, part in enumerate(PARTS)})


def _forecast(distances: Array, sizes: Sequence[int]) -> tuple[Array, Array]:
    """The mean distances of the parts to the real program, and between the parts' programs.

    COPY and NEAREST draw from their programs, so that two draws may be the same one; of the model two
    different samples are compared: fair, whatever their number.
    """
    ends = np.cumsum([0, *sizes])
    parts = [slice(start, end) for start, end in pairwise(ends)]
    to_real = np.array([distances[part, -1].mean() for part in parts])
    among = np.array([[distances[one, other].mean() for other in parts] for one in parts])
    drawn = sizes[-1]
    among[-1, -1] *= drawn / (drawn - 1)
    return to_real, among
