"""Makes an artificial class of a course: who works on what is drawn, played, dated, audited and written."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import polars as pl

from flows.classroom import Classroom
from flows.finding import FoundStudent, find_student
from flows.parameters import Setup
from flows.provenance import PACKAGES, rollouts_key
from tutee_evaluator.artificial_class.assemble import SEMESTER, attempts_of, draw_work, names
from tutee_evaluator.artificial_class.attendance import Attendance
from tutee_evaluator.artificial_class.audit import Audit, audit
from tutee_evaluator.artificial_class.realism import Figures, describe
from tutee_evaluator.artificial_class.times import Times
from tutee_evaluator.artificial_class.writing import check_folder, write_class
from tutee_evaluator.engines.baselines import BASELINES
from tutee_evaluator.engines.gate import FILE as LOOK_UPS
from tutee_evaluator.experiments.play import Start
from tutee_evaluator.experiments.policies import GraderPolicy
from tutee_evaluator.experiments.run import play_all
from tutee_evaluator.metrics import METRICS
from tutee_evaluator.report.figures import Figures as Report
from tutee_evaluator.rollout.grading import known_verdicts
from tutee_grader.assignment import Assignment
from tutee_grader.errors import InputError
from tutee_grader.files import atomic_dir, folder_hash, read_table
from tutee_grader.grader import Grader
from tutee_grader.verdict import VERDICTS
from tutee_serializer.card import FILE as CARD
from tutee_serializer.card import MODEL_CARD, StudentCard
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.levels import BY_ARM
from tutee_serializer.schemas import SUBMISSIONS
from tutee_serializer.semesters import resolve

_POLICY = "grader"


@dataclass(frozen=True)
class Log:
    """What the class is learnt from: `learnt` are graded SUBMISSIONS of the semesters that are trained on.

    The class has the calendar of the newest of these. `graded` are those of all `semesters` with a role.
    """

    assignments: dict[str, Assignment]
    submissions: pl.DataFrame
    verdicts: pl.DataFrame
    graded: pl.DataFrame
    learnt: pl.DataFrame
    semesters: list[str]
    calendar: str

    @classmethod
    def read(cls, setup: Setup) -> "Log":
        """Raises InputError where the course's tables are missing or have nobody to learn from."""
        places, course = setup.places, setup.course
        submissions = read_table(places.submissions, SUBMISSIONS, "ingest")
        verdicts = read_table(places.verdicts, VERDICTS, "grade")
        assignments, _ = course.load_assignments()
        grades = verdicts.select("submission_id", "grade", "status")
        graded = submissions.filter(pl.col("assignment").is_in(list(assignments))).join(
            grades, on="submission_id", maintain_order="left"
        )
        roles = resolve(course.semesters, graded)
        if not roles.train:
            raise InputError("\n".join(f"{course.file}: {problem}" for problem in roles.problems()))
        learnt = graded.filter(pl.col("semester").is_in(roles.train))
        return cls(assignments, submissions, verdicts, graded, learnt, roles.used, roles.train[-1])


@dataclass(frozen=True)
class ArtificialClass:
    """What was made: how many attempts, their figures beside those of the real semesters, and the audit.

    `player` names the student that played everyone, and `has_look_ups` says whether that hands in programs
    of real students now and then; `timed` whether the log has times to learn from.
    """

    attempts: int
    figures: dict[str, Figures]
    audit: Audit
    player: str
    has_look_ups: bool
    timed: bool


def make_class(
    setup: Setup, students: int, method: str | None, seed: int, folder: Path, overwrite: bool
) -> ArtificialClass:
    """Writes an artificial class to `folder`, played by `method`; by default the best of the report.

    What was played is kept until the class is written, so that a killed run goes on. Raises InputError where
    the folder is taken, the student is not there, or the course's tables hold nothing to learn from.
    """
    check_folder(folder, overwrite)
    if method in BASELINES:
        raise InputError(
            f"{method!r} is a look-up, which begins no task; name a trained student with --method"
        )
    student = find_student(method or best_student(setup), setup.parameters.students, setup.places)
    log = Log.read(setup)
    times = Times.fit(log.learnt, log.calendar)
    attendance = Attendance.fit(log.learnt.filter(semester=log.calendar))
    work = list(draw_work(names(students), attendance, seed))
    model = student.model if isinstance(student.model, Path) else None
    settings = f"{student.row.model_dump_json()} {seed}"
    folder_of_played = setup.places.played(rollouts_key(setup.places, setup.preset.rollout, model, settings))
    played = _play(student, work, log, seed, setup, folder_of_played)
    attempts = attempts_of(played, setup.course.name, times, seed)
    if attempts.is_empty():
        raise InputError(f"{student.name} wrote no program in {len(work):,} trajectories; name another one")
    audited = audit(attempts, log.submissions, log.assignments)
    figures = {SEMESTER: describe(attempts)}
    figures |= {name: describe(log.graded.filter(semester=name)) for name in log.semesters}
    stops = Counter(played.filter(step=1)["stop_reason"])
    about = {
        "synthetic": True,
        "course": setup.course.name,
        "calendar of": log.calendar,
        "students": students,
        "seed": seed,
        "student model": _identity(student),
        "made with": {name: version(name) for name in PACKAGES if name.startswith("tutee")},
        "trajectories ended by": dict(sorted(stops.items())),
        "turns that are no attempt": played.height - attempts.height,
        "times": "drawn as in the log" if times else None,
        "privacy": asdict(audited),
        "figures": figures,
    }
    with atomic_dir(folder) as part:
        write_class(attempts, about, audited, setup.course, part, folder)
    shutil.rmtree(folder_of_played)
    return ArtificialClass(
        attempts.height, figures, audited, student.name, _has_look_ups(student.model), times is not None
    )


def best_student(setup: Setup) -> str:
    """The best method of the report that is a model alone: look-ups hand in what real students wrote."""
    places = setup.places
    trained = [
        name
        for name in setup.parameters.adapters
        if (places.model(name) / CARD).exists() and not _has_look_ups(places.model(name))
    ]
    if not trained:
        raise InputError(
            f"{places.models}: holds no trained student of course {places.course}; run "
            f"`tutee retrain {places.course}` first, or name a student with --method"
        )
    report = Report(read_table(places.metrics, METRICS, "report"))
    measured = report.measured(trained)
    if not measured:
        raise InputError(
            f"{places.metrics}: has figures of none of {', '.join(trained)}; name one of them with --method"
        )
    return report.best(measured)


def _has_look_ups(model: object) -> bool:
    return isinstance(model, Path) and (model / LOOK_UPS).exists()


def _play(
    student: FoundStudent, work: Sequence[tuple[str, str]], log: Log, seed: int, setup: Setup, folder: Path
) -> pl.DataFrame:
    """PLAYED of each pair of a student and an assignment in `work`, from the task on.

    The feedback is that which the student learnt with. Pairs that are in `folder` are not played again.
    """
    classroom = Classroom.of(student, setup)
    engine = classroom.engine
    if engine.feedback == BY_ARM:
        raise InputError(
            f"{student.name} learnt with the feedback of each student's arm, and a class has no arms; "
            "name a student that learnt with one level of feedback"
        )
    tasks = {
        name: Dialog.start(engine.format, engine.feedback, assignment.task)
        for name, assignment in log.assignments.items()
    }
    longest = classroom.dialogs.filter(split="train")["turns"].list.len().max()
    with Grader(cache=setup.places.verdict_cache) as grader:
        played = play_all(
            [Start(name, assignment, tasks[assignment]) for name, assignment in work],
            {_POLICY: GraderPolicy(engine.feedback)},
            1,
            engine,
            log.assignments,
            grader,
            known_verdicts(log.submissions, log.verdicts),
            classroom.giving_up,
            int(longest),  # type: ignore[arg-type]
            seed,
            folder / "played.parquet",
            folder / "unfinished",
            "class",
        )
    # Those of other students too, where a larger class was killed before.
    wanted = pl.DataFrame(work, schema=["student", "assignment"], orient="row")
    return played.join(wanted, on=["student", "assignment"], how="semi")


def _identity(student: FoundStudent) -> dict[str, str | int]:
    """Which model played everyone, without the paths and addresses of the machine that it lies on."""
    model, examples = student.model, student.row.examples
    prompted: dict[str, str | int] = {} if examples is None else {"examples in its prompt": examples}
    if not isinstance(model, Path):
        return {"model": model.model, **prompted}
    card = StudentCard.load(model)
    base = Path(card.base_of(model))
    source = str(student.row.source)
    version = {"version": source} if source.startswith("models:/") else {}
    return {
        **version,
        **{name: getattr(card, name) for name in ("method", "preset", "course", "format", "feedback")},
        "sha256": folder_hash(model, but=MODEL_CARD),
        "base": f"sha256 {folder_hash(base, but=MODEL_CARD)}" if base.is_dir() else card.base,
        **prompted,
    }
