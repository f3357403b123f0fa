"""Keeps requests and their answers, where `tutee serve --record FOLDER` asks for it; nothing else does."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Recorder:
    """Middleware that writes each POST with its answer as a line of JSON into a file of the day in `folder`.

    Only the user who runs the service can read the files: they hold programs. Keys are not in them.
    """

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        self.app, self._folder = app, folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        request, answer, status = bytearray(), bytearray(), 0

        async def receive_noted() -> Message:
            message = await receive()
            request.extend(message.get("body", b""))
            return message

        async def send_noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            answer.extend(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive_noted, send_noted)
        finally:
            self._write(
                {
                    "time": datetime.now(UTC).isoformat(),
                    "path": scope["path"],
                    "status": status,
                    "seconds": round(time.perf_counter() - begun, 3),
                    "request": request.decode("utf-8", "replace"),
                    "answer": answer.decode("utf-8", "replace"),
                }
            )

    def _write(self, line: dict[str, object]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._folder / f"{datetime.now(UTC):%Y-%m-%d}.jsonl"
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
