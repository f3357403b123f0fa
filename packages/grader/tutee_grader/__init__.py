"""Grades student programs in a sandbox: programs in, verdicts out."""

from importlib import metadata

from tutee_grader.assignment import Assignment
from tutee_grader.errors import (
    AssignmentError,
    InputError,
    SandboxError,
    TuteeError,
    UnavailableError,
    WeakSandboxError,
)
from tutee_grader.feedback import Level, feedback
from tutee_grader.grader import Grader
from tutee_grader.table import GradeConfig, grade_table
from tutee_grader.verdict import VERDICTS, Outcome, Status, TestResult, Verdict

__version__ = metadata.version("tutee-grader")
__all__ = [
    "VERDICTS",
    "Assignment",
    "AssignmentError",
    "GradeConfig",
    "Grader",
    "InputError",
    "Level",
    "Outcome",
    "SandboxError",
    "Status",
    "TestResult",
    "TuteeError",
    "UnavailableError",
    "Verdict",
    "WeakSandboxError",
    "feedback",
    "grade_table",
]
