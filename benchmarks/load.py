"""A closed-loop HTTP load generator, in a process of its own."""

import asyncio
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any, NamedTuple

import aiohttp
import numpy as np

TIMEOUT_S = 120.0
# A client that was turned away comes back after so long: the least that Retry-After may say, and sooner than
# it does.
AWAY_S = 1.0


@dataclass(frozen=True)
class Load:
    """`clients`, each of which sends its next request as soon as the one before is answered.

    They POST the chat requests `bodies` to `url`, from number `first` on and round again, each with its
    number as its seed; until `requests` are sent, `seconds` are over, or they are stopped.
    """

    url: str
    bodies: Sequence[dict[str, Any]]
    clients: int
    requests: int | None = None
    seconds: float = float("inf")
    first: int = 0


class Answer(NamedTuple):
    """How a request went: when it was sent, by `time.monotonic`, and how many seconds it took.

    All processes of a machine have that clock. `status` 0: there was no answer, for `problem`. `model` names
    the one that wrote `tokens` tokens.
    """

    sent: float
    seconds: float
    status: int
    model: str = ""
    tokens: int = 0
    retry_after: str | None = None
    problem: str = ""

    @property
    def done(self) -> float:
        """When the answer was there."""
        return self.sent + self.seconds


class LoadProcess:
    """The process that puts a load on a server, from now on."""

    def __init__(self, load: Load) -> None:
        # Not forked: this process has threads.
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._results, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(load, self._stop, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def ends_within(self, seconds: float) -> bool:
        """Waits so long at most; whether the load has ended."""
        return self._results.poll(seconds)

    def stop(self) -> list[Answer]:
        """Sends no more requests; the answers to all that were sent."""
        self._stop.set()
        return self.answers()

    def answers(self) -> list[Answer]:
        """Waits for the end of the load; the answers in the order in which they came."""
        answers: list[Answer] = self._results.recv()
        self._process.join()
        return answers


def _work(load: Load, stop: Event, results: Connection) -> None:
    results.send(asyncio.run(put(load, stop.is_set)))


async def put(load: Load, is_stopped: Callable[[], bool] = lambda: False) -> list[Answer]:
    """Puts a load on a server; the answers in the order in which they came."""
    answers: list[Answer] = []
    sent = range(load.requests) if load.requests is not None else itertools.count()
    numbers = (load.first + number for number in sent)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        end = time.monotonic() + load.seconds

        def left() -> Iterator[int]:
            # One iterator for all clients: each number is sent once.
            while time.monotonic() < end and not is_stopped():
                number = next(numbers, None)
                if number is None:
                    return
                yield number

        async def client() -> None:
            for number in left():
                body = {**load.bodies[number % len(load.bodies)], "seed": number}
                answers.append(await _send(session, load.url, body))
                if answers[-1].status == HTTPStatus.TOO_MANY_REQUESTS:
                    await asyncio.sleep(AWAY_S)

        await asyncio.gather(*(client() for _ in range(load.clients)))
    return answers


async def _send(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Answer:
    sent = time.monotonic()
    try:
        async with session.post(url, json=body) as response:
            status, retry_after = response.status, response.headers.get("Retry-After")
            if status != HTTPStatus.OK:
                text = await response.text()
                return Answer(sent, time.monotonic() - sent, status, "", 0, retry_after, text[:300])
            found = await response.json()
            seconds = time.monotonic() - sent
            return Answer(sent, seconds, status, found["model"], found["usage"]["completion_tokens"])
    except (aiohttp.ClientError, TimeoutError, OSError, KeyError, TypeError, ValueError) as error:
        return Answer(sent, time.monotonic() - sent, 0, problem=f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class Summary:
    """Answers in figures: rates of those with status 200, and their times, if there are any."""

    requests: int
    errors: int
    requests_per_second: float
    tokens_per_second: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


def summarize(
    runs: Sequence[Sequence[Answer]], warm_up_s: float = 0.0, seconds: float | None = None
) -> Summary:
    """Runs of the same load as one.

    Rates count what was answered in `seconds` of each run, after those of its warm-up: of the first answers
    too many are short. Without `seconds`, all of a run counts. Times are those of every request.
    """
    fine, span = [], 0.0
    for run in runs:
        begin = min(answer.sent for answer in run) + warm_up_s
        end = max(answer.done for answer in run) if seconds is None else begin + seconds
        span += end - begin
        fine += [answer for answer in run if answer.status == HTTPStatus.OK and begin < answer.done <= end]
    sent = [answer for run in runs for answer in run]
    times = [answer.seconds for answer in sent if answer.status == HTTPStatus.OK]
    percentiles = np.percentile(times, [50, 95, 99]).tolist() if times else [None] * 3
    return Summary(
        len(sent),
        len(sent) - len(times),
        round(len(fine) / span, 2),
        round(sum(answer.tokens for answer in fine) / span, 1),
        *(None if value is None else round(1000 * value, 1) for value in percentiles),
    )
