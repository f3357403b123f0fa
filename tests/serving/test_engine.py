"""One thread plays a student for all requests; they join, leave and are seen while others are written."""

import asyncio
import threading

import pytest

from serving.capacity import Capacity
from serving.engine import EngineThread
from serving.errors import ApiError
from serving.events import deadline
from tutee_evaluator.engines import Completion, Request
from tutee_serializer.dialogs.dialog import Dialog


class Steps:
    """Stands for a student: each request takes as many steps as its seed says; `step` waits for `resume`."""

    def __init__(self) -> None:
        self.left: dict[int, int] = {}
        self.together: list[set[int]] = []  # the seeds that were worked on at each step
        self.seeds: dict[int, int] = {}
        self.resume = threading.Event()
        self.stepping = threading.Event()
        self.error: Exception | None = None

    def add(self, key: int, request: Request) -> None:
        if request.seed < 0:
            raise ValueError("a request that cannot be taken")
        self.left[key], self.seeds[key] = request.seed, request.seed

    def cancel(self, key: int) -> None:
        self.left.pop(key, None)

    def written(self, key: int) -> str:
        return "x" * (self.seeds[key] - self.left[key])

    def step(self) -> list[tuple[int, Completion]]:
        self.stepping.set()
        assert self.resume.wait(10)
        if self.error:
            raise self.error
        self.together.append({self.seeds[key] for key in self.left})
        for key in self.left:
            self.left[key] -= 1
        done = [key for key, left in self.left.items() if left == 0]
        for key in done:
            del self.left[key]
        return [(key, Completion(str(self.seeds[key]), None)) for key in done]


def request(steps: int) -> Request:
    return Request(Dialog("code", "summary", []), seed=steps)


def play(story) -> Steps:
    async def told() -> Steps:
        student = Steps()
        engine = EngineThread(student, "test")
        try:
            await story(student, engine)
        finally:
            student.resume.set()
            engine.close()
            engine._thread.join()  # it takes what was asked of it before it ends
        return student

    return asyncio.run(told())


async def begin(engine: EngineThread, student: Steps, *steps: int) -> list[asyncio.Task[Completion]]:
    """Asks for the first turn, and for the others while it is being written."""
    first = asyncio.create_task(engine.complete(request(steps[0])))
    await asyncio.to_thread(student.stepping.wait, 10)
    return [first, *(asyncio.create_task(engine.complete(request(one))) for one in steps[1:])]


def test_a_request_joins_those_that_are_being_written():
    async def story(student, engine):
        tasks = await begin(engine, student, 5, 2)
        await asyncio.sleep(0)
        student.resume.set()
        assert [(await task).content for task in tasks] == ["5", "2"]

    assert play(story).together == [{5}, {5, 2}, {5, 2}, {5}, {5}]


def test_a_caller_that_goes_is_not_written_for_any_more():
    async def story(student, engine):
        long, short = await begin(engine, student, 1000, 3)
        await asyncio.sleep(0)
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        student.resume.set()
        assert (await short).content == "3"

    together = play(story).together
    assert together[0] == {1000} and all(seeds == {3} for seeds in together[1:])


def test_an_error_reaches_those_that_it_stopped_and_the_next_is_written():
    async def story(student, engine):
        student.error = ValueError("a bug")
        tasks = await begin(engine, student, 2)
        student.resume.set()
        for task in tasks:
            with pytest.raises(ValueError, match="a bug"):
                await task
        student.error = None
        assert (await engine.complete(request(1))).content == "1"
        with pytest.raises(ValueError, match="cannot be taken"):
            await engine.complete(request(-1))

    play(story)


def test_what_is_written_is_told_as_it_grows():
    told: list[str] = []

    async def story(student, engine):
        student.resume.set()
        await engine.complete(request(4), told.append)

    play(story)
    assert told == ["x", "xx", "xxx"]


def test_what_takes_longer_than_its_deadline_is_cancelled_and_said():
    async def story(student, engine):
        with pytest.raises(ApiError) as caught:
            async with deadline(0.05):
                await engine.complete(request(3))
        assert (caught.value.status, caught.value.code) == (504, "deadline_exceeded")

    assert play(story).left == {}


def test_no_more_students_work_than_the_most():
    capacity = Capacity(most=3)
    with capacity.take(2):
        with pytest.raises(ApiError) as caught, capacity.take(2):
            pass
        assert caught.value.status == 429
        assert int(caught.value.headers["Retry-After"]) >= 1
        with capacity.take(1):
            pass
    with capacity.take(3):
        pass
