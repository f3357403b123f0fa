"""Calibrates a student: fits how it is mixed with look-ups (`engines/gate.py`) to validation students."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import polars as pl

from tutee_evaluator.calibration.fitting import Forecasts, cross_validate, fit
from tutee_evaluator.engines import Request, SteppingEngine, complete
from tutee_evaluator.engines.baselines.revisions import Revisions
from tutee_evaluator.engines.gate import Gate, features, last_grade
from tutee_evaluator.engines.peers import Peers
from tutee_evaluator.engines.rejection import RejectionSampler, acceptance_rate, accepts, another_draw
from tutee_evaluator.forecasts import Array, Program, grade_distances, program_distances
from tutee_evaluator.rollout.state import gives_up
from tutee_grader.assignment import Assignment
from tutee_grader.grader import Grader
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import assignments_by_turn


@dataclass
class _Start:
    """A validation student's submission with what preceded it, and the forecasts of it.

    `forecasts` are those of COMPONENTS, then NEAREST's: programs and how likely each is.
    """

    dialog: Dialog
    student: str
    assignment: str
    real: str
    real_grade: float
    forecasts: list[list[tuple[Program, float]]] = field(default_factory=list)

    @property
    def programs(self) -> list[Program]:
        """The programs of all forecasts."""
        return [program for forecast in self.forecasts for program, _ in forecast]

    @property
    def shares(self) -> list[list[float]]:
        """How likely they are."""
        return [[share for _, share in forecast] for forecast in self.forecasts]


def calibrate(
    student: SteppingEngine,
    dialogs: pl.DataFrame,
    revisions: Revisions,
    assignments: Mapping[str, Assignment],
    grader: Grader,
    *,
    starts: int,
    samples: int,
    penalty: float,
    seed: int = 0,
    progress: bool = False,
) -> tuple[Gate, dict[str, float]]:
    """The gate with the best scores on validation students, of the table DIALOGS; and how good it is.

    The student writes `samples` turns (2 or more) at temperature 1 for up to `starts` of their submissions.
    `revisions` are the training students', which are looked up, and tell how often students break the syntax.
    Where there is nothing to fit to, all components are equally likely. The figures are those of
    `cross_validate`.
    """
    drawn = _starts(student, dialogs, assignments)
    drawn = Random(seed).sample(drawn, min(starts, len(drawn)))
    if not drawn:
        return Gate.constant(), {}
    chance = Random(seed)
    requests = [Request(start.dialog, 1.0, chance.getrandbits(63)) for start in drawn for _ in range(samples)]
    programs, acceptance = _write(student, requests, revisions, progress)
    peers = Peers(revisions)
    for number, start in enumerate(drawn):
        task, previous = start.dialog.task, _previous(start.dialog)
        turns = programs[number * samples : (number + 1) * samples]
        nearest = [one.program for one in peers.successors.of(task, previous)]
        start.forecasts = [
            [(previous, 1.0)],
            list(peers.chances(task, previous, last_grade(start.dialog)).items()),
            _alike(turns),
            _alike(nearest),
        ]
    code = program_distances([[*start.programs, start.real] for start in drawn])
    forecasts = Forecasts.of(
        [code, _grade_distances(drawn, assignments, grader)],
        [start.shares for start in drawn],
        [features(start.dialog) for start in drawn],
        [start.student for start in drawn],
    )
    return replace(fit(forecasts, penalty), acceptance=acceptance), cross_validate(forecasts, penalty)


def _starts(
    student: SteppingEngine, dialogs: pl.DataFrame, assignments: Mapping[str, Assignment]
) -> list[_Start]:
    """Each submission of the validation students but the first ones on a task, in order."""
    names = assignments_by_turn(student.format, assignments)
    rows = dialogs.filter(split="validation", format=student.format, feedback=student.feedback)
    return [
        _Start(whole.before(number), row["student"], name, turn.program, turn.grade)
        for row in rows.sort("dialog_id").iter_rows(named=True)
        for whole in (Dialog.from_row(row),)
        for number, turn in enumerate(whole.turns(), 1)
        for name in (names.get(whole.messages[turn.task]["content"]),)
        if name is not None and turn.previous is not None
    ]


def _write(
    student: SteppingEngine, requests: Sequence[Request], revisions: Revisions, progress: bool
) -> tuple[list[Program], float]:
    """The student's program for each request, as `RejectionSampler` draws it, and its acceptance rate."""
    turns = complete(student, requests, "samples" if progress else "")
    acceptance = acceptance_rate(
        [(one.program, one.next) for found in revisions.values() for one in found],
        [
            (_previous(request.dialog), turn.program)
            for request, turn in zip(requests, turns, strict=True)
            if turn.program is not None
        ],
    )
    rejected = [at for at, turn in enumerate(turns) if not accepts(requests[at], turn, acceptance)]
    others = [another_draw(requests[at]) for at in rejected]
    again = complete(RejectionSampler(student, acceptance), others, "samples again" if progress else "")
    for at, turn in zip(rejected, again, strict=True):
        turns[at] = turn
    programs = [turn.program for turn in turns]
    return [None if one is None or gives_up(one) else one for one in programs], acceptance


def _alike(programs: Sequence[Program]) -> list[tuple[Program, float]]:
    """Programs that are equally likely."""
    return [(program, 1 / len(programs)) for program in programs]


def _previous(dialog: Dialog) -> str:
    """The last program of a dialog in which there is one."""
    assert dialog.previous is not None
    return dialog.previous


def _grade_distances(
    starts: Sequence[_Start], assignments: Mapping[str, Assignment], grader: Grader
) -> list[Array]:
    """For each start, the differences between the grades of all programs / 100, the real one's last."""
    jobs = list(
        dict.fromkeys(
            (start.assignment, one) for start in starts for one in start.programs if one is not None
        )
    )
    verdicts = grader.grade([(assignments[name], program) for name, program in jobs])
    grades: dict[tuple[str, Program], float] = {
        job: verdict.grade for job, verdict in zip(jobs, verdicts, strict=True)
    }
    return [
        grade_distances(
            [*(grades.get((start.assignment, one), 0.0) for one in start.programs), start.real_grade]
        )
        for start in starts
    ]
