"""A class at work: every student's attempts at every assignment, graded round by round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import clues
from authored import Work, works
from clues import Clue
from misconceptions import Bug
from students import MOST_ATTEMPTS, Student, Trajectory

ONE_ARM = ("summary",)
ATTENDANCE = 0.8  # share of the assignments that an average student hands in

# Grades (assignment, program) pairs, each to a verdict of tutee_grader, in the order asked.
Grade = Callable[[Sequence[tuple[str, str]]], Sequence[Any]]


@dataclass(frozen=True)
class Row:
    """One submission, as the log has it. `encoding` is how its line of the file is written.

    `arm` is the level of feedback that the student is given.
    """

    student: str
    semester: str
    assignment: str
    submitted_at: datetime
    code: str
    score: float
    arm: str
    encoding: str = "utf-8"


@dataclass(frozen=True)
class Step:
    """What happened between two attempts: kept so that the class itself can be inspected."""

    student: str
    assignment: str
    seen: tuple[Clue, ...]
    before: tuple[Bug, ...]
    fixed: tuple[Bug, ...]


def enrol(seed: int, semesters: dict[str, int], arms: Sequence[str] = ONE_ARM) -> list[Student]:
    """The students of each semester, numbered through: made-up-001, made-up-002, ...; each in one of `arms`.

    A student is the same whatever the arms: the draw of an arm has a random stream of its own.
    """
    students: list[Student] = []
    for semester, count in semesters.items():
        for _ in range(count):
            name = f"made-up-{len(students) + 1:03}"
            arm = Random(f"{seed}/{semester}/{name}/arm").choice(arms)
            students.append(Student.draw(name, semester, Random(f"{seed}/{semester}/{name}"), arm))
    return students


def run(
    seed: int, semesters: dict[str, int], grade: Grade, arms: Sequence[str] = ONE_ARM
) -> tuple[list[list[Row]], list[Step]]:
    """Simulates the semesters. Returns the trajectories, each a list of rows in order, and the steps between.

    Every trajectory has a random stream of its own, so none depends on how the others went.
    """
    students = enrol(seed, semesters, arms)
    return work([found for student in students for found in assignments(seed, student)], grade)


def work(trajectories: list[Trajectory], grade: Grade) -> tuple[list[list[Row]], list[Step]]:
    """Lets each student work to the end, from where they stand; returns what `run` does."""
    rows: list[list[Row]] = [[] for _ in trajectories]
    steps: list[Step] = []
    known: dict[tuple[str, str], Any] = {}  # many students hand in the same program
    times = [_start(trajectory) for trajectory in trajectories]
    for _ in range(MOST_ATTEMPTS):
        active = [at for at, trajectory in enumerate(trajectories) if not trajectory.finished]
        if not active:
            break
        asked = [(trajectories[at].work.assignment, trajectories[at].code) for at in active]
        new = [one for one in dict.fromkeys(asked) if one not in known]
        known.update(zip(new, grade(new), strict=True))
        for at, one in zip(active, asked, strict=True):
            trajectory, verdict = trajectories[at], known[one]
            student = trajectory.student
            rows[at].append(
                Row(
                    student.name,
                    student.semester,
                    trajectory.work.assignment,
                    times[at],
                    trajectory.code,
                    round(verdict.grade, 2),
                    student.arm,
                )
            )
            if verdict.grade == 100:
                trajectory.finished = True
                continue
            seen = clues.seen(verdict, student.arm)
            before = tuple(trajectory.bugs)
            fixed = trajectory.step(seen)
            steps.append(Step(student.name, trajectory.work.assignment, seen, before, tuple(fixed)))
            times[at] += timedelta(seconds=trajectory.random.randrange(25, 600))
    return rows, steps


def assignments(seed: int, student: Student) -> list[Trajectory]:
    """The assignments a student works on; the skilled skip fewer."""
    found = []
    for work in works():
        random = Random(f"{seed}/{student.semester}/{student.name}/{work.assignment}")
        if random.random() < ATTENDANCE + 0.2 * (student.skill - 0.5):
            found.append(Trajectory(student, work, random))
    return found


def _start(trajectory: Trajectory) -> datetime:
    """When a student first hands in: in the assignment's week, between 9 and 21 hours."""
    return _week(trajectory.student.semester, trajectory.work) + timedelta(
        days=trajectory.random.randrange(5),
        hours=trajectory.random.randrange(9, 21),
        seconds=trajectory.random.randrange(3600),
    )


def _week(semester: str, work: Work) -> datetime:
    """The Monday of an assignment's week. A semester is called by its year and season: 2024-autumn."""
    year, _, season = semester.partition("-")
    month = {"autumn": 10, "spring": 2}.get(season, 1)
    first = datetime(int(year), month, 1, tzinfo=UTC)
    return first + timedelta(days=(7 - first.weekday()) % 7, weeks=work.week - 1)
