"""A language model behind an OpenAI-compatible endpoint that plays a student."""

from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from tutee_evaluator.endpoint import Endpoint, EndpointConfig, Usage
from tutee_evaluator.engines import Completion, Request
from tutee_serializer.dialogs.formats import Format, TurnError, read_reply
from tutee_serializer.dialogs.levels import Feedback


class StudentEndpointConfig(EndpointConfig):
    """An endpoint whose model plays a student: it reads dialogs of this format and level of feedback."""

    format: Format = Format.CODE
    feedback: Feedback = "summary"


class OpenAIStudent:
    """A language model behind an endpoint that plays a student.

    It writes after the whole dialog, as it is. A turn that the endpoint does not give has no program, and its
    reason is what the endpoint says; `collect` raises what `Endpoint.ask` raises.
    """

    def __init__(self, config: StudentEndpointConfig) -> None:
        self.config = config
        self.format: str = config.format
        self.feedback = config.feedback
        self.batch = config.batch
        self._endpoint = Endpoint(config)
        self._threads = ThreadPoolExecutor(config.batch)
        self._keys: dict[Future[Completion], int] = {}
        self._done: SimpleQueue[Future[Completion]] = SimpleQueue()

    @property
    def usage(self) -> Usage:
        """What the endpoint was asked up to now."""
        return self._endpoint.usage

    def add(self, key: int, request: Request) -> None:
        """Takes a request, which `key` names."""
        future = self._threads.submit(self._write, request)
        self._keys[future] = key
        future.add_done_callback(self._done.put)

    def collect(self) -> list[tuple[int, Completion]]:
        """Waits until at least one request is done; returns those that are. Empty: there are none left."""
        if not self._keys:
            return []
        try:
            done = [self._done.get()]
            while not self._done.empty():
                done.append(self._done.get())
            return [(self._keys.pop(future), future.result()) for future in done]
        except BaseException:  # or the threads would keep the program from ending
            self._endpoint.stop()
            self._threads.shutdown(wait=False, cancel_futures=True)
            raise

    def _write(self, request: Request) -> Completion:
        """The model's turn, or why there is none."""
        answered = self._endpoint.ask(request.dialog.messages, request.temperature, request.seed)
        counts = answered.prompt_tokens, answered.completion_tokens
        if answered.text is None:
            return Completion("", None, answered.reason, *counts)
        try:
            reading = read_reply(self.format, request.dialog.previous, answered.text)
        except TurnError as error:
            return Completion(answered.text, None, str(error), *counts)
        return Completion(answered.text, reading.program, None, *counts, reading.repair)
