"""Engines write a student's next program: baselines, and language models that play students."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import PositiveInt

from tutee_grader.config import Section
from tutee_grader.feedback import Level
from tutee_serializer.dialogs.dialog import Dialog


class EngineConfig(Section):
    """Section `engine` of params.yaml: settings that change the speed of an engine and not what it writes.

    `batch` is the number of dialogs that a model continues at once.
    """

    batch: PositiveInt = 32


@dataclass(frozen=True)
class Completion:
    """A student's turn as written, and the program in it; `program` None: there is none, for `reason`.

    `repair` says what had to be forgiven to read the program; None: nothing.
    `prompt_tokens` and `completion_tokens` are the lengths of the prompt and of `content`; 0 where no
    model is involved.
    """

    content: str
    program: str | None
    reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    repair: str | None = None


class Engine(Protocol):
    """Anything that can be rolled out. It reads dialogs of this format and level of feedback."""

    format: str
    feedback: Level

    def complete(self, dialogs: Sequence[Dialog]) -> list[Completion]:
        """The student's next turn in each dialog, in the same order; each dialog ends with a user's turn."""
        ...
