"""Engines write a student's next program: baselines, and language models that play students."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from pydantic import PositiveInt

from tutee_grader.config import Section
from tutee_grader.feedback import Level
from tutee_grader.progress import progress_bar
from tutee_serializer.dialogs.dialog import Dialog


class EngineConfig(Section):
    """Section `engine` of params.yaml: settings that change the speed of an engine and not what it writes.

    `batch` is the number of dialogs that a model continues at once, and `backend` the library that runs it;
    vllm needs a GPU and more of them to be worth it, 256 say.
    """

    batch: PositiveInt = 32
    backend: Literal["transformers", "vllm"] = "transformers"


@dataclass(frozen=True)
class Request:
    """A dialog to continue, which ends with a user's turn.

    At `temperature` 0 the engine writes its likeliest turn; above, it draws one, and what it draws depends on
    the dialog, the temperature and `seed`, not on the other requests.
    """

    dialog: Dialog
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """A student's turn as written, and the program in it; `program` None: there is none, for `reason`.

    `repair` says what had to be forgiven to read the program; None: nothing.
    `prompt_tokens` and `completion_tokens` are the lengths of the prompt and of what the model wrote, the end
    of the turn included; 0 where no model is involved.
    """

    content: str
    program: str | None
    reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    repair: str | None = None


class Engine(Protocol):
    """Anything that can be rolled out. It reads dialogs of this format and level of feedback.

    It works on up to `batch` requests at once, and takes more at any time.
    """

    format: str
    feedback: Level
    batch: int

    def add(self, key: int, request: Request) -> None:
        """Takes a request, which `key` names."""
        ...

    def collect(self) -> list[tuple[int, Completion]]:
        """Works until at least one request is done; returns those that are. Empty: there are none left."""
        ...


@runtime_checkable
class LanguageModel(Engine, Protocol):
    """An engine that knows how likely a turn is."""

    def nats(self, dialog: Dialog, turn: str) -> float | None:
        """The negative log-likelihood of `turn`, as it is written in dialogs, after `dialog`.

        None where the two are longer than the engine can read.
        """
        ...


def complete(engine: Engine, requests: Iterable[Request], progress: str = "") -> list[Completion]:
    """The student's next turn for each request, in the same order; `progress` names a bar for them."""
    asked = 0
    for request in requests:
        engine.add(asked, request)
        asked += 1
    done: dict[int, Completion] = {}
    with progress_bar(progress, asked, "turns", shown=bool(progress)) as bar:
        while collected := engine.collect():
            done.update(collected)
            bar.update(len(collected))
    return [done[key] for key in sorted(done)]
