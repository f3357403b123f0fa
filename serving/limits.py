"""Rejects requests that are larger than any valid one."""

from http import HTTPStatus

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.payloads import MAX_BYTES


class SizeLimit:
    """Middleware that reads a body up to the limit and passes it on, or answers 413."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_BYTES:
                text = f"the body is longer than {MAX_BYTES:,} bytes"
                error = {"message": text, "type": "invalid_request_error", "param": None, "code": "too_large"}
                response = JSONResponse({"error": error}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                await response(scope, receive, send)
                return
        unread: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def receive_body() -> Message:
            return unread.pop() if unread else await receive()

        await self.app(scope, receive_body, send)
