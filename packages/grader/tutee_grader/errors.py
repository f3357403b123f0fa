"""The one family of errors of tutee; each class carries the exit code with which a command ends.

What a student's program does wrong is never an error: it is a verdict.
"""


class TuteeError(Exception):
    """Anything tutee raises on purpose; the message says what, where, and the way out."""

    exit_code = 1


class InputError(TuteeError):
    """The user's input is wrong: a file, a parameter, an argument, a stage run out of order."""

    exit_code = 2


class UnavailableError(TuteeError):
    """The environment lacks something: a GPU, a library, a network, a free port, space on the disk."""

    exit_code = 3


class AssignmentError(InputError):
    """An assignment folder that cannot be used; names the file and the line."""


class WeakSandboxError(UnavailableError):
    """A protection is missing and the caller did not allow a weak sandbox."""


class SandboxError(UnavailableError):
    """The sandbox itself failed; says nothing about the student's program."""
