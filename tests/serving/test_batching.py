"""Requests that arrive while others are processed share the next batch, and results are never swapped."""

import asyncio
import threading

import pytest

from serving.batching import Batcher


class Doubler:
    """Doubles each number. The first batch waits for `resume`; `batches` records all of them."""

    def __init__(self, max_size=32) -> None:
        self.batches: list[list[int]] = []
        self.resume = threading.Event()
        self.started = threading.Event()
        self.batcher = Batcher(self.process, max_size)

    def process(self, numbers: list[int]) -> list[int]:
        self.batches.append(numbers)
        self.started.set()
        self.resume.wait(10)
        if -1 in numbers:
            raise ValueError("a number that cannot be doubled")
        return [2 * number for number in numbers]

    async def submit(self, *numbers: int) -> list:
        """Submits the first number, and the others once the first is being processed."""
        first = asyncio.create_task(self.batcher.submit(numbers[0]))
        await asyncio.to_thread(self.started.wait, 10)
        others = [asyncio.create_task(self.batcher.submit(number)) for number in numbers[1:]]
        await asyncio.sleep(0)  # lets each of them submit
        self.resume.set()
        results = await asyncio.gather(first, *others, return_exceptions=True)
        self.batcher.close()
        return results


def test_waiting_requests_share_a_batch():
    doubler = Doubler()
    assert asyncio.run(doubler.submit(1, 2, 3, 4)) == [2, 4, 6, 8]
    assert doubler.batches == [[1], [2, 3, 4]]


def test_a_batch_is_no_larger_than_its_maximum():
    doubler = Doubler(max_size=2)
    assert asyncio.run(doubler.submit(0, 1, 2, 3)) == [0, 2, 4, 6]
    assert doubler.batches == [[0], [1, 2], [3]]


def test_an_error_reaches_its_own_batch_and_the_next_batch_is_processed():
    doubler = Doubler(max_size=1)
    results = asyncio.run(doubler.submit(-1, 5))
    assert isinstance(results[0], ValueError)
    assert results[1] == 10


def test_a_cancelled_request_does_not_stop_the_others():
    doubler = Doubler()

    async def cancel_two_of_three() -> int:
        first = asyncio.create_task(doubler.batcher.submit(1))
        await asyncio.to_thread(doubler.started.wait, 10)
        second, third = (asyncio.create_task(doubler.batcher.submit(number)) for number in (2, 3))
        await asyncio.sleep(0)
        second.cancel()
        first.cancel()
        await asyncio.sleep(0)
        doubler.resume.set()
        result = await third
        with pytest.raises(asyncio.CancelledError):
            await second
        doubler.batcher.close()
        return result

    assert asyncio.run(cancel_two_of_three()) == 6
    assert doubler.batches == [[1], [3]]
