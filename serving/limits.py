"""Rejects requests that are larger, or come more slowly, than any valid one."""

import asyncio
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import ApiError
from serving.payloads import MAX_BYTES

BODY_TIMEOUT = 30  # seconds from a request's headers to the end of its body


class BodyLimit:
    """Middleware that reads a whole body and passes it on; or answers 413 or 408.

    What comes after the body, the client's hanging up, reaches the app as it happens.
    """

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BYTES, timeout: float = BODY_TIMEOUT) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(Headers(scope=scope), receive)
        except ApiError as refused:
            await refused.response()(scope, receive, send)
            return
        if body is None:
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_body() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, receive_body, send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | None:
        """The body; None where the client hung up in it. Raises ApiError."""
        if any(self._is_too_long(length) for length in headers.getlist("content-length")):
            raise self._too_large()
        body = bytearray()
        more = True
        try:
            async with asyncio.timeout(self._timeout):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self._max_bytes:
                        raise self._too_large()
        except TimeoutError as error:
            raise ApiError(
                HTTPStatus.REQUEST_TIMEOUT,
                "request_timeout",
                f"the body did not arrive within {self._timeout:g} s",
                headers={"Connection": "close"},
            ) from error
        return bytes(body)

    def _is_too_long(self, length: str) -> bool:
        return length.isdecimal() and int(length[:20]) > self._max_bytes

    def _too_large(self) -> ApiError:
        message = f"the body is longer than {self._max_bytes:,} bytes"
        return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", message)
