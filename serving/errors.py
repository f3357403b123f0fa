"""What can go wrong between an adapter and its service."""


class ServingError(Exception):
    """Something this room cannot do; the message says what, where, and the way out."""

    exit_code = 1


class ServingInputError(ServingError):
    """The user's input is wrong: a folder that holds no student to serve."""

    exit_code = 2


class ServingEnvironmentError(ServingError):
    """The environment lacks something: a free port, room on the disk, a model that can be loaded."""

    exit_code = 3
