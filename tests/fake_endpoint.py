"""A fake of an OpenAI-compatible endpoint: a real HTTP server, whose answers a test sets."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Step = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Takes the steps of its endpoint, one for each request."""

    def do_POST(self) -> None:
        endpoint: FakeEndpoint = self.server.endpoint  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with endpoint.lock:
            endpoint.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
            self.body = body
            step = endpoint.steps.popleft() if endpoint.steps else endpoint.always
        step(self)

    def send(self, status: int, text: str, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


class FakeEndpoint:
    """An HTTP server that takes `steps`, and `always` after the last of them."""

    def __init__(self) -> None:
        self.steps: deque[Step] = deque()
        self.always: Step = answer("")
        self.requests: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.endpoint = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Serves in a thread of its own."""
        thread = threading.Thread(target=self.server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()


def answer(content: str | None, finish: str = "stop", **usage: int) -> Step:
    message = {"role": "assistant", "content": content}
    body = {"choices": [{"message": message, "finish_reason": finish}]}
    return lambda handler: handler.send(200, json.dumps({**body, "usage": usage} if usage else body))


def says(
    status: int, message: str = "", code: str | None = None, param: str | None = None, **headers: str
) -> Step:
    error = {"error": {"message": message, "code": code, "param": param}}
    return lambda handler: handler.send(status, json.dumps(error), **headers)
