"""Plays one student for all requests at once."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

from tutee_evaluator.engines import Completion, Request
from tutee_evaluator.engines.calibrated import TrainedStudent

OnText = Callable[[str], None]


@dataclass(frozen=True)
class _Job:
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Completion]
    on_text: OnText | None

    def tell(self, result: Completion | Exception) -> None:
        self.loop.call_soon_threadsafe(self._set, result)

    def _set(self, result: Completion | Exception) -> None:
        if self.future.done():  # its caller has gone
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class EngineThread:
    """Continues dialogs with a student, in a thread of its own: a request joins and leaves at any time.

    Between two passes of the model it takes what is asked for and drops what is no longer wanted.
    """

    def __init__(self, student: TrainedStudent, name: str) -> None:
        self._student = student
        self._keys = itertools.count()
        self._jobs: dict[int, _Job] = {}  # of the thread
        self._commands: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def complete(self, request: Request, on_text: OnText | None = None) -> Completion:
        """The student's next turn; cancelled, the model stops writing it.

        `on_text` is called in the event loop with the whole text that is written so far, as often as it
        grows, where what is written stays.
        """
        loop, key = asyncio.get_running_loop(), next(self._keys)
        job = _Job(loop, loop.create_future(), on_text)
        self._commands.put(partial(self._add, key, request, job))
        try:
            return await job.future
        except asyncio.CancelledError:
            self._commands.put(partial(self._cancel, key))
            raise

    def close(self) -> None:
        """Ends the thread; what it works on is not finished."""
        self._commands.put(None)

    def _run(self) -> None:
        while True:
            while not self._jobs or not self._commands.empty():
                command = self._commands.get()
                if command is None:
                    return
                command()
            self._work()

    def _add(self, key: int, request: Request, job: _Job) -> None:
        try:
            self._student.add(key, request)
        except Exception as error:  # noqa: BLE001 - raised by `complete`
            job.tell(error)
        else:
            self._jobs[key] = job

    def _cancel(self, key: int) -> None:
        if self._jobs.pop(key, None):
            self._student.cancel(key)

    def _work(self) -> None:
        try:
            done = self._student.step()
        except Exception as error:  # noqa: BLE001 - raised by `complete`, of each request that it stopped
            for key, job in self._jobs.items():
                self._student.cancel(key)
                job.tell(error)
            self._jobs.clear()
            return
        for key, completion in done:
            self._jobs.pop(key).tell(completion)
        for key, job in self._jobs.items():
            if job.on_text and (text := self._student.written(key)):
                job.loop.call_soon_threadsafe(job.on_text, text)
