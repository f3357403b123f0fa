"""Answers requests together that arrive while earlier ones are being answered."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batches(Generic[Question, Answer]):
    """One thread that answers a list of questions at a time.

    No request waits for others to come: while a list is being answered, the next one fills up. Only
    questions of equal `kind` are answered together, at most `size` at once.
    """

    def __init__(
        self,
        answer: Callable[[list[Question]], Sequence[Answer]],
        kind: Callable[[Question], Hashable],
        size: int,
    ) -> None:
        self._answer = answer
        self._kind = kind
        self._size = size
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._busy: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1)

    async def ask(self, question: Question) -> Answer:
        """The answer to one question; raises what answering it raised."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._busy is None or self._busy.done():
            self._busy = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            batch = self._take()
            questions = [question for question, _ in batch]
            try:
                answers = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._answer, questions
                )
            except Exception as error:  # noqa: BLE001 - handed on to each of those who asked
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                # A caller that hung up has cancelled its future.
                if not future.done():
                    future.set_result(answer)

    def _take(self) -> list[tuple[Question, asyncio.Future[Answer]]]:
        self._waiting = [entry for entry in self._waiting if not entry[1].done()]
        if not self._waiting:
            return []
        kind = self._kind(self._waiting[0][0])
        batch = [entry for entry in self._waiting if self._kind(entry[0]) == kind][: self._size]
        taken = {id(future) for _, future in batch}
        self._waiting = [entry for entry in self._waiting if id(entry[1]) not in taken]
        return batch

    def close(self) -> None:
        """Ends the thread after the list it is answering."""
        self._thread.shutdown(wait=True)
