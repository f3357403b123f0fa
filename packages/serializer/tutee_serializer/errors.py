"""What can go wrong between a course's logs and its dialogs, beyond the errors that all packages share."""

from tutee_grader.errors import InputError, TuteeError


class CourseError(InputError):
    """A course file that cannot be used. The message lists every problem found, one a line."""


class LogError(InputError):
    """A log that cannot be read, or holds no usable row."""


class ValidationError(InputError):
    """Submissions that fail an expectation of level error; the message shows sample rows."""


class TurnError(TuteeError):
    """A student's turn that holds no program; the message is the reason."""
