"""Measures whether a student of a course responds to feedback."""

import polars as pl

from flows.classroom import Classroom
from flows.finding import find_student
from flows.parameters import Setup
from tutee_evaluator.experiments.classes import draw_class
from tutee_evaluator.experiments.config import ClassConfig
from tutee_evaluator.experiments.responsiveness import measure, tell
from tutee_grader.files import atomic_file
from tutee_grader.grader import Grader
from tutee_grader.verdict import Verdict


def run_responsiveness(setup: Setup, student: str, students: int | None, samples: int) -> pl.DataFrame:
    """RESPONSES of the student of this name at the first submissions of held-out ones; writes them too."""
    found = find_student(student, setup.parameters.students, setup.places)
    whole = Classroom.of(found, setup)
    assignments, _ = setup.course.load_assignments()
    config = ClassConfig(students=students)
    starts = draw_class(config, whole.engine, assignments, whole.dialogs, whole.submissions, whole.verdicts)
    graded = whole.submissions.select("submission_id", "assignment").join(whole.verdicts, on="submission_id")
    verdicts = {
        str(name): [Verdict.from_row(row) for row in rows.iter_rows(named=True)]
        for (name,), rows in graded.group_by("assignment")
    }
    with Grader(cache=setup.places.verdict_cache) as grader:
        responses = measure(tell(starts, verdicts), samples, whole.engine, assignments, grader, config.seed)
    with atomic_file(setup.places.responsiveness(found.name)) as part:
        responses.write_csv(part)
    return responses
