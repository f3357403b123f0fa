"""A model as a solver: told to repair a program, where a student would take a step of its own."""

from dataclasses import replace

from tutee_evaluator.engines import Completion, Engine, Request
from tutee_serializer.dialogs.dialog import Dialog

# Follows the system turn of the dialog's format, which says how a program is written. Short: a tiny model
# reads few tokens.
SOLVE = "Now repair the program with the fewest changes."


def ask_to_solve(dialog: Dialog) -> Dialog:
    """The dialog with a solver's system turn."""
    system, *rest = dialog.messages
    return replace(dialog, messages=[{**system, "content": f"{system['content']}\n\n{SOLVE}"}, *rest])


class Solver:
    """`engine`, which is asked to repair each program."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.format, self.feedback, self.batch = engine.format, engine.feedback, engine.batch

    def add(self, key: int, request: Request) -> None:
        """Takes a request, which `key` names."""
        self._engine.add(key, replace(request, dialog=ask_to_solve(request.dialog)))

    def collect(self) -> list[tuple[int, Completion]]:
        """Works until at least one request is done; returns those that are. Empty: there are none left."""
        return self._engine.collect()
