"""A language model behind an OpenAI-compatible endpoint, which students, tutors and judges are."""

import os
import random
import re
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, HttpUrl, NonNegativeFloat, PositiveFloat, PositiveInt, ValidationError

from tutee_grader.config import Section
from tutee_grader.errors import InputError, UnavailableError
from tutee_serializer.dialogs.formats import Message

if TYPE_CHECKING:
    import httpx

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before another attempt, where the endpoint does not name them
SEEDS = 2**31  # some servers take no larger ones
SHOWN = 300  # characters of what the endpoint says
_TOO_LONG = re.compile(r"context[ _](length|window|size)|maximum model length|prompt is too long", re.I)


class EndpointConfig(Section):
    """Which model answers, behind which OpenAI-compatible endpoint, and how it is asked.

    `url` is what comes before `/chat/completions`. `key_variable` names the environment variable with the
    key; local servers need none. `max_new_tokens` null leaves the length of an answer to the endpoint.
    `batch` requests are under way at once. One that is silent for `timeout` seconds has failed, and a request
    is sent `attempts` times at most. Prices are per million tokens.
    """

    url: HttpUrl
    model: str
    max_new_tokens: PositiveInt | None = None
    key_variable: str = "OPENAI_API_KEY"
    batch: PositiveInt = 8
    timeout: PositiveFloat = 120.0
    attempts: PositiveInt = 6
    requests_per_minute: PositiveFloat | None = None
    prompt_price: NonNegativeFloat = 0.0
    completion_price: NonNegativeFloat = 0.0


@dataclass(frozen=True)
class Usage:
    """What an endpoint was asked: requests sent, tokens as it counts them, and their price."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


@dataclass(frozen=True)
class Answered:
    """What a model answered; `text` None: nothing that can be used, for `reason`.

    `finish_reason` is `length` where it wrote as many tokens as it may without an end; `text` is then None.
    """

    text: str | None
    reason: str | None = None
    finish_reason: Literal["stop", "length"] = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _RetryableError(Exception):
    """A request that may be answered another time, after `wait` seconds; 0: the endpoint names none."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _RefusedError(Exception):
    """A request that the endpoint does not answer."""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Tokens(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Tokens | None = None


class Endpoint:
    """The client of an endpoint. `usage` grows with every request.

    An answer that the endpoint does not give is None, with what it says as the reason; where key, address,
    model or a setting is wrong, `ask` raises UnavailableError or InputError at once. The key is in no
    message.
    """

    def __init__(self, config: EndpointConfig) -> None:
        import httpx

        self.config = config
        self.usage = Usage()
        self._url = f"{str(config.url).rstrip('/')}/chat/completions"
        self._key = _read_key(config.key_variable)
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=config.timeout,
            limits=httpx.Limits(max_connections=config.batch),
        )
        weakref.finalize(self, self._client.close)  # its connections end with it
        self._lock = threading.Lock()  # of `usage` and `_next_start`
        self._next_start = 0.0
        self._stopped = threading.Event()

    def answers(
        self, asked: Sequence[list[Message]], temperature: float = 0.0, seed: int = 0
    ) -> list[Answered]:
        """The answers to several dialogs, in the same order; `batch` requests are under way at once."""
        threads = ThreadPoolExecutor(self.config.batch)
        try:
            return list(threads.map(lambda messages: self.ask(messages, temperature, seed), asked))
        except BaseException:
            self.stop()
            raise
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def ask(self, messages: list[Message], temperature: float = 0.0, seed: int = 0) -> Answered:
        """The model's answer to a dialog, or why there is none."""
        body = self._body(messages, temperature, seed)
        reason = ""
        for attempt in range(self.config.attempts):
            try:
                return self._read(self._send(body))
            except _RefusedError as error:
                return Answered(None, f"the endpoint refused the request: {error}")
            except _RetryableError as error:
                reason = str(error)
                wait = error.wait or min(LONGEST_WAIT, FIRST_WAIT * 2**attempt)
            if attempt + 1 == self.config.attempts or self._pause(wait * random.uniform(1.0, 1.5)):
                break
        return Answered(None, f"the endpoint gave no answer in {attempt + 1} attempts: {reason}")

    def stop(self) -> None:
        """Ends all waits: requests that failed are not sent again."""
        self._stopped.set()

    def _body(self, messages: list[Message], temperature: float, seed: int) -> dict[str, Any]:
        body = {
            "model": self.config.model,
            "messages": messages,
            "temperature": temperature,
            "seed": seed % SEEDS,
        }
        limit = self.config.max_new_tokens
        return body if limit is None else {**body, "max_tokens": limit}

    def _send(self, body: dict[str, Any]) -> _Answer:
        """The answer to one request, counted in `usage`."""
        import httpx

        self._wait_for_rate()
        self._count(requests=1)
        try:
            response = self._client.post(self._url, json=body)
        except httpx.HTTPError as error:  # no connection, a timeout, half an answer
            raise _RetryableError(self._shown(f"{type(error).__name__} {error}")) from error
        if not response.is_success:
            raise self._error(response, body)
        try:
            answer = _Answer.model_validate_json(response.content)
        except ValidationError as error:
            raise _RetryableError("the answer is no chat completion") from error
        if answer.usage:
            self._count(0, answer.usage.prompt_tokens, answer.usage.completion_tokens)
        return answer

    def _error(self, response: "httpx.Response", body: dict[str, Any]) -> Exception:
        """What an answer without success means."""
        problem = _problem(response)
        said = self._shown(f"status {response.status_code}: {problem['message']}")
        place = f"{self._url}: {said}"
        match response.status_code:
            case 401 | 403:
                way = f"set {self.config.key_variable} to a key that may use {self.config.model}"
                return UnavailableError(f"{place}; {way}")
            case 402:
                return UnavailableError(f"{place}; the account has no credit left")
            case 404:
                return InputError(f"{place}; correct `url` or `model` ({self.config.model})")
            case 429 if problem["code"] == "insufficient_quota":
                return UnavailableError(f"{place}; the account has no credit left")
            case 408 | 429:
                return _RetryableError(said, _retry_after(response.headers.get("Retry-After", "")))
            case status if status >= 500:
                return _RetryableError(said, _retry_after(response.headers.get("Retry-After", "")))
        if _TOO_LONG.search(f"{problem['code']} {problem['message']}"):
            return _RefusedError(f"the dialog is too long for the model: {said}")
        if problem["param"] in body and problem["param"] != "messages":  # which no other dialog would change
            return InputError(f"{place}; the model does not take this `{problem['param']}`")
        return _RefusedError(said)

    def _read(self, answer: _Answer) -> Answered:
        choice, tokens = answer.choices[0], answer.usage or _Tokens()
        counts = tokens.prompt_tokens, tokens.completion_tokens
        text = choice.message.content
        if choice.finish_reason == "length":
            limit = self.config.max_new_tokens or tokens.completion_tokens
            return Answered(None, f"no end of turn within {limit} tokens", "length", *counts)
        if text is None or choice.finish_reason == "content_filter":
            said = self._shown(choice.message.refusal or f"finish_reason {choice.finish_reason}")
            return Answered(None, f"the endpoint gave no answer: {said}", "stop", *counts)
        return Answered(text, None, "stop", *counts)

    def _count(self, requests: int = 0, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        config = self.config
        cost = prompt_tokens * config.prompt_price + completion_tokens * config.completion_price
        with self._lock:
            before = self.usage
            self.usage = Usage(
                before.requests + requests,
                before.prompt_tokens + prompt_tokens,
                before.completion_tokens + completion_tokens,
                before.cost + cost / 1_000_000,
            )

    def _wait_for_rate(self) -> None:
        """Waits until the next request may be sent: they start evenly spaced."""
        if self.config.requests_per_minute is None:
            return
        with self._lock:
            now = monotonic()
            start = max(now, self._next_start)
            self._next_start = start + 60 / self.config.requests_per_minute
        if start > now:
            self._pause(start - now)

    def _pause(self, seconds: float) -> bool:
        """Waits; returns whether it was stopped meanwhile."""
        return self._stopped.wait(seconds)

    def _shown(self, text: str) -> str:
        """What the endpoint says, on one line, short and without the key."""
        if self._key:
            text = text.replace(self._key, "[key]")
        return " ".join(text.split())[:SHOWN]


def _read_key(variable: str) -> str:
    """The key in an environment variable; empty: there is none."""
    key = os.environ.get(variable, "").strip()
    if not re.fullmatch(r"[!-~]*", key):  # httpx would name it in its error
        raise UnavailableError(f"{variable}: holds characters that no key has; set it to the key alone")
    return key


def _problem(response: "httpx.Response") -> dict[str, str]:
    """`message`, `code` and `param` of an error, as OpenAI's API has them; empty where they are missing."""
    try:
        body = response.json()
    except ValueError:
        body = None
    error = body.get("error", body) if isinstance(body, dict) else None
    fields = error if isinstance(error, dict) else {"message": error or response.text}
    return {name: str(fields.get(name) or "") for name in ("message", "code", "param")}


def _retry_after(value: str) -> float:
    """The seconds that a header Retry-After asks for, as a number or as a date; 0: none."""
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return 0.0
