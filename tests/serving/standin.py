"""A stand-in for the service: it plays nobody, and /readyz says what a file holds."""

import os
from pathlib import Path

import bentoml


class ReadyzOfFile:
    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        if scope.get("path") != "/readyz":
            await self.app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": Path(os.environ["STANDIN_READYZ"]).read_bytes()})


@bentoml.service(name="standin")
class StandIn:
    def __init__(self) -> None:
        self.readyz = os.environ["STANDIN_READYZ"]  # without it no worker comes up

    @bentoml.api
    def nothing(self) -> None:
        """Does nothing."""


StandIn.add_asgi_middleware(ReadyzOfFile)
