"""What writes tokens after prompts: with a model in this process, or by vLLM."""

from typing import NamedTuple, Protocol

KEPT_BYTES = 4_000_000_000  # of what a model has read and written, so that it need not be read again


class Written(NamedTuple):
    """What was written after the prompt `key`: its last token ends the turn, or there are as many as may be.

    `logprobs` has the log-likelihood of each token at temperature 1, in nats, where it was asked for.
    """

    key: int
    tokens: list[int]
    logprobs: list[float]


class Generator(Protocol):
    """Writes tokens after prompts, up to the token that ends a turn or as many as a turn may have."""

    def add(
        self,
        key: int,
        prompt: list[int],
        temperature: float = 0.0,
        seed: int = 0,
        limit: int | None = None,
        logprobs: bool = False,
    ) -> None:
        """Takes a prompt, which `key` names."""
        ...

    def cancel(self, key: int) -> None:
        """Stops writing after a prompt, which is never done; nothing if it is done."""
        ...

    def written(self, key: int) -> list[int]:
        """The tokens that have been written after a prompt that is not done yet."""
        ...

    def step(self) -> list[Written]:
        """Works for a moment, for all prompts; returns what was written after those that are done."""
        ...

    def score(self, prompt: list[int], turn: list[int]) -> float | None:
        """The negative log-likelihood of a turn after a prompt, in nats; None: they are too long."""
        ...
