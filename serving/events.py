"""Server-sent events, and what a request may take: a deadline, and a client that is still there."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import ApiError

CLIENT_CLOSED = 499  # nginx's status for a client that closed the connection
KEEP_ALIVE_S = 15.0  # proxies close connections that are silent for longer
KEEP_ALIVE = ": still at work\n\n"
# One event, for OpenAPI, which has no words for a stream of them; `data` is JSON.
EVENT_SCHEMA = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}

SendEvent = Callable[[str], None]


class EventStream(Response):
    """A response of server-sent events, as they come. Where the client goes, `events` is closed at once."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)
        async with aclosing(self._events) as events:
            async for event in events:
                await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def begun(events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The same events, of which the first is there: what raises before it is said by a status."""
    first = await anext(events)

    async def all_events() -> AsyncGenerator[str, None]:
        async with aclosing(events):
            yield first
            async for event in events:
                yield event

    return all_events()


async def events_of(work: Callable[[SendEvent], Coroutine[Any, Any, None]]) -> AsyncGenerator[str, None]:
    """The events that `work` sends while it runs, and a comment now and then while it sends none.

    Closed before that, it cancels `work`; and it raises what `work` raises.
    """
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    worker = asyncio.create_task(work(queue.put_nowait))
    worker.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), KEEP_ALIVE_S)
            except TimeoutError:
                event = KEEP_ALIVE
            if event is None:
                break
            yield event
        await worker
    finally:
        worker.cancel()


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Raises ApiError (504) where the block takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        text = f"the students did not finish in {seconds:.0f} s; ask for fewer, or when fewer are at work"
        raise ApiError(HTTPStatus.GATEWAY_TIMEOUT, "deadline_exceeded", text) from None


class CancelOnDisconnect:
    """Middleware that cancels the answer to a client that has gone. The body has to be read before it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = await receive()
        gone, started = asyncio.Event(), False

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        async def receive_once() -> Message:
            nonlocal body
            if body["type"] == "http.request":
                message, body = body, {"type": "http.disconnect"}
                return message
            await gone.wait()
            return body

        answer = asyncio.ensure_future(self.app(scope, receive_once, send_noted))

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()
            answer.cancel()

        watcher = asyncio.create_task(watch())
        try:
            await answer
        except asyncio.CancelledError:
            if not gone.is_set():  # it is the server that stops
                answer.cancel()
                raise
            if not started:  # nobody reads it, but BentoML waits until a response begins
                await Response(status_code=CLIENT_CLOSED)(scope, receive, send)
        finally:
            watcher.cancel()
