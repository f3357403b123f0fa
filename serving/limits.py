"""Turns requests away that are larger than any valid one."""

from http import HTTPStatus

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.payloads import MOST_BYTES


class SizeLimit:
    """Middleware that reads a body up to the limit and hands it on, or answers 413."""

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
            if len(body) > MOST_BYTES:
                text = f"the body is longer than {MOST_BYTES:,} bytes"
                error = {"message": text, "type": "invalid_request_error", "param": None, "code": "too_large"}
                refusal = JSONResponse({"error": error}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                await refusal(scope, receive, send)
                return
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, again, send)
