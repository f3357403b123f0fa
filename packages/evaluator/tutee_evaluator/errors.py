"""What can go wrong between an adapter and its report."""


class EvaluatorError(Exception):
    """Something this package cannot do; the message says what, where, and the way out."""

    exit_code = 1


class EvaluatorInputError(EvaluatorError):
    """The user's input is wrong: a parameter, or a table that an earlier stage should have written."""

    exit_code = 2


class EvaluatorEnvironmentError(EvaluatorError):
    """The environment lacks something: memory, room on the disk, a model that can be loaded."""

    exit_code = 3
