"""What dialogs tell students about their submissions."""

from typing import Literal

from tutee_grader.feedback import Level, feedback
from tutee_grader.verdict import Verdict

BY_ARM: Literal["arm"] = "arm"
# A level of the grader's for every student, or to each the level that the student's arm of an experiment was
# given (section `arms` of the course file).
Feedback = Level | Literal["arm"]


def words(verdict: Verdict, said: Feedback) -> str:
    """The grader's words for a student; where no arm is known, of the level `summary`."""
    return feedback(verdict, "summary" if said == BY_ARM else said)
