"""Groups concurrent requests into batches, which one thread processes."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")


class Batcher(Generic[Request, Result]):
    """Calls `process` in a thread, with one batch of requests at a time.

    No request waits for a batch to fill: while one batch is processed, the next one collects, at most
    `max_size` requests. `process` returns a result per request, in the same order.
    """

    def __init__(self, process: Callable[[list[Request]], Sequence[Result]], max_size: int) -> None:
        self._process = process
        self._max_size = max_size
        self._waiting: list[tuple[Request, asyncio.Future[Result]]] = []
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1)

    async def submit(self, request: Request) -> Result:
        """The result of one request; raises the exception that `process` raised for its batch."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    def close(self) -> None:
        """Stops the thread after the batch that it is processing."""
        self._thread.shutdown(wait=True)

    async def _work(self) -> None:
        while batch := self._next_batch():
            requests = [request for request, _ in batch]
            try:
                results = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._process, requests
                )
            except Exception as error:  # noqa: BLE001 - raised by `submit`, for each request of the batch
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                # The future of a caller that disconnected is cancelled.
                if not future.done():
                    future.set_result(result)

    def _next_batch(self) -> list[tuple[Request, asyncio.Future[Result]]]:
        self._waiting = [entry for entry in self._waiting if not entry[1].done()]
        batch, self._waiting = self._waiting[: self._max_size], self._waiting[self._max_size :]
        return batch
