"""What can go wrong in the grader, apart from student programs (those are verdicts)."""


class GraderError(Exception):
    """Anything the grader raises on purpose."""

    exit_code = 1


class GraderInputError(GraderError):
    """The user's input is wrong."""

    exit_code = 2


class AssignmentError(GraderInputError):
    """An assignment folder that cannot be understood; names the file and the line."""


class GraderEnvironmentError(GraderError):
    """The machine lacks something the grader needs."""

    exit_code = 3


class WeakSandboxError(GraderEnvironmentError):
    """A protection is missing and the caller did not allow a weak sandbox."""


class SandboxError(GraderEnvironmentError):
    """The sandbox itself failed; says nothing about the student's program."""
