"""Grades student programs in a sandbox: programs in, verdicts out."""

from tutee_grader.assignment import Assignment
from tutee_grader.errors import (
    AssignmentError,
    GraderEnvironmentError,
    GraderError,
    GraderInputError,
    SandboxError,
    WeakSandboxError,
)
from tutee_grader.feedback import Level, feedback
from tutee_grader.grader import Grader
from tutee_grader.rows import VERDICTS, verdict_from_row
from tutee_grader.table import Grade, grade_table
from tutee_grader.verdict import Outcome, Status, TestResult, Verdict
from tutee_grader.version import VERSION

__version__ = VERSION
__all__ = [
    "VERDICTS",
    "Assignment",
    "AssignmentError",
    "Grade",
    "Grader",
    "GraderEnvironmentError",
    "GraderError",
    "GraderInputError",
    "Level",
    "Outcome",
    "SandboxError",
    "Status",
    "TestResult",
    "Verdict",
    "WeakSandboxError",
    "feedback",
    "grade_table",
    "verdict_from_row",
]
