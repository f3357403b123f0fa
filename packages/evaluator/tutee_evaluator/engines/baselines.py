"""Engines without a model, against which the others are compared."""

from collections.abc import Callable, Sequence

from tutee_evaluator.engines import Completion, Engine
from tutee_evaluator.schemas import COPY
from tutee_grader.feedback import Level
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import write_turn


class Copy:
    """The baseline that submits the last program again. A model that has learned anything beats it."""

    def __init__(self, format: str, feedback: Level) -> None:
        self.format = format
        self.feedback = feedback

    def complete(self, dialogs: Sequence[Dialog]) -> list[Completion]:
        completions = []
        for dialog in dialogs:
            program = dialog.previous
            if program is None:
                completions.append(Completion("", None, "no previous program to submit again"))
            else:
                completions.append(Completion(write_turn(self.format, program, program), program))
        return completions


# A baseline by the name of its method; it is made with the format and the feedback level of the dialogs.
BASELINES: dict[str, Callable[[str, Level], Engine]] = {COPY: Copy}
