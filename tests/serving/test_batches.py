"""Requests that come while others are answered are answered together, and never mixed up."""

import asyncio
import threading

import pytest

from serving.batches import Batches


class Clerk:
    """Answers a question by doubling it; the first list waits until `go`, and all lists are kept."""

    def __init__(self, kind=lambda question: None, size=32) -> None:
        self.lists: list[list[int]] = []
        self.go = threading.Event()
        self.begun = threading.Event()
        self.batches = Batches(self.answer, kind, size)

    def answer(self, questions: list[int]) -> list[int]:
        self.lists.append(questions)
        self.begun.set()
        self.go.wait(10)
        if -1 in questions:
            raise ValueError("no such question")
        return [2 * question for question in questions]

    async def ask(self, *questions: int) -> list:
        """Asks the first, and the others once the first is being answered."""
        first = asyncio.create_task(self.batches.ask(questions[0]))
        await asyncio.to_thread(self.begun.wait, 10)
        others = [asyncio.create_task(self.batches.ask(question)) for question in questions[1:]]
        await asyncio.sleep(0)  # each of them has asked
        self.go.set()
        answers = await asyncio.gather(first, *others, return_exceptions=True)
        self.batches.close()
        return answers


def test_those_who_wait_are_answered_together():
    clerk = Clerk()
    assert asyncio.run(clerk.ask(1, 2, 3, 4)) == [2, 4, 6, 8]
    assert clerk.lists == [[1], [2, 3, 4]]


def test_kinds_are_not_mixed_and_none_is_lost():
    clerk = Clerk(kind=lambda question: question % 2)
    assert asyncio.run(clerk.ask(1, 2, 3, 4, 5)) == [2, 4, 6, 8, 10]
    assert clerk.lists == [[1], [2, 4], [3, 5]]


def test_a_list_is_no_longer_than_its_size():
    clerk = Clerk(size=2)
    assert asyncio.run(clerk.ask(0, 1, 2, 3)) == [0, 2, 4, 6]
    assert clerk.lists == [[0], [1, 2], [3]]


def test_an_error_reaches_those_it_concerns_and_the_next_are_answered():
    clerk = Clerk(kind=lambda question: question)
    answers = asyncio.run(clerk.ask(-1, 5))
    assert isinstance(answers[0], ValueError)
    assert answers[1] == 10


def test_one_that_gives_up_does_not_stop_the_others():
    clerk = Clerk()

    async def give_up() -> int:
        first = asyncio.create_task(clerk.batches.ask(1))
        await asyncio.to_thread(clerk.begun.wait, 10)
        second, third = (asyncio.create_task(clerk.batches.ask(question)) for question in (2, 3))
        await asyncio.sleep(0)
        second.cancel()
        first.cancel()
        await asyncio.sleep(0)
        clerk.go.set()
        answer = await third
        with pytest.raises(asyncio.CancelledError):
            await second
        clerk.batches.close()
        return answer

    assert asyncio.run(give_up()) == 6
    assert clerk.lists == [[1], [3]]
