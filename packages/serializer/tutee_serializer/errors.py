"""What can go wrong between a course's logs and its dialogs."""


class SerializerError(Exception):
    """Something this package cannot do; the message says what, where, and the way out."""

    exit_code = 1


class SerializerInputError(SerializerError):
    """The user's input is wrong: a course file, a log, a parameter."""

    exit_code = 2


class CourseError(SerializerInputError):
    """A course file that cannot be used. The message lists every problem found, one a line."""


class LogError(SerializerInputError):
    """A log that cannot be read, or holds no usable row."""


class ValidationError(SerializerInputError):
    """Submissions that fail an expectation of level error; the message shows sample rows."""


class SerializerEnvironmentError(SerializerError):
    """The environment lacks something: a key, a library, a network, room on the disk."""

    exit_code = 3
