"""Engines write a student's next program: baselines, and language models that play students."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from pydantic import NonNegativeInt, PositiveInt

from tutee_evaluator.engines.generator import KEPT_BYTES
from tutee_grader.config import Section
from tutee_grader.progress import progress_bar
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.levels import Feedback


class EngineConfig(Section):
    """Section `engine` of params.yaml: settings that change the speed of an engine and not what it writes.

    `batch` is the number of dialogs that a model continues at once, and `backend` the library that runs it;
    vllm needs a GPU and more of them to be worth it, 256 say. `prefix_bytes` is the memory in which the
    library transformers keeps what a model has read and written; vllm sees to that itself.
    """

    batch: PositiveInt = 32
    backend: Literal["transformers", "vllm"] = "transformers"
    prefix_bytes: NonNegativeInt = KEPT_BYTES


@dataclass(frozen=True)
class Request:
    """A dialog to continue, which ends with a user's turn.

    At `temperature` 0 the engine writes its likeliest turn; above, it draws one, and what it draws depends on
    the dialog, the temperature and `seed`, not on the other requests. A model writes `max_new_tokens` at
    most, and never more than its card says; with `logprobs` it says how likely its turn is. `prompt` has the
    tokens that a model is to read of the dialog, where they are known already.
    """

    dialog: Dialog
    temperature: float = 0.0
    seed: int = 0
    max_new_tokens: int | None = None
    logprobs: bool = False
    prompt: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Completion:
    """A student's turn as written, and the program in it; `program` None: there is none, for `reason`.

    `repair` says what had to be forgiven to read the program; None: nothing.
    `prompt_tokens` and `completion_tokens` are the lengths of the prompt and of what the model wrote, the end
    of the turn included; 0 where no model is involved. `finish_reason` is `length` where it wrote as many
    tokens as it may without an end; `content` is then what it wrote.

    Where it was asked for, `logprob` is the log-likelihood of the turn at temperature 1, in nats, and
    `tokens` are the model's tokens, each with its own; a mixture has none. None: it is not known.
    """

    content: str
    program: str | None
    reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    repair: str | None = None
    finish_reason: Literal["stop", "length"] = "stop"
    logprob: float | None = None
    tokens: tuple[tuple[int, float], ...] = ()


class Engine(Protocol):
    """Anything that can be rolled out. It reads dialogs of this format and level of feedback.

    It works on up to `batch` requests at once, and takes more at any time.
    """

    format: str
    feedback: Feedback
    batch: int

    def add(self, key: int, request: Request) -> None:
        """Takes a request, which `key` names."""
        ...

    def collect(self) -> list[tuple[int, Completion]]:
        """Works until at least one request is done; returns those that are. Empty: there are none left."""
        ...


class SteppingEngine(Engine, Protocol):
    """An engine that can be given other work, or relieved of some, while it works."""

    def step(self) -> list[tuple[int, Completion]]:
        """Works for a moment, on all requests; returns those that are done by it."""
        ...

    def cancel(self, key: int) -> None:
        """Stops working on a request, which is never done; nothing if it is done."""
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
