"""What can go wrong between dialogs and an adapter."""


class TrainerError(Exception):
    """Something this package cannot do; the message says what, where, and the way out."""

    exit_code = 1


class TrainerInputError(TrainerError):
    """The user's input is wrong: dialogs that cannot be trained on, a stage run out of order."""

    exit_code = 2


class PresetError(TrainerInputError):
    """A preset that cannot be used. The message lists every problem found, one a line."""


class TrainerEnvironmentError(TrainerError):
    """The environment lacks something: a GPU, a library, a model's weights, room on the disk."""

    exit_code = 3
