"""Bodies that are too large or too slow, and clients that hang up, behind a real uvicorn."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from serving.limits import BodyLimit
from serving.payloads import MAX_BYTES

LIMIT, TIMEOUT = 1000, 0.5
SOON = 30  # seconds that nothing here takes


class Service:
    """Answers with the length of the body; under /wait, waits until the client has gone."""

    def __init__(self) -> None:
        self.asked = 0
        self.reading, self.gone = threading.Event(), threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        request = Request(scope, receive)
        length = len(await request.body())
        if scope["path"] == "/wait":
            self.reading.set()
            assert (await receive())["type"] == "http.disconnect"
            self.gone.set()
            return
        await JSONResponse(length)(scope, receive, send)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def port(serve_app, service: Service) -> Iterator[int]:
    with serve_app(BodyLimit(service, max_bytes=LIMIT, timeout=TIMEOUT)) as port:
        yield port


def post(port: int, content, path: str = "/") -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=SOON) as client:
        return client.post(f"http://127.0.0.1:{port}{path}", content=content)


@contextmanager
def head_sent(port: int, length: str, path: str = "/") -> Iterator[socket.socket]:
    """A connection on which the headers of a POST are sent, and nothing of its body."""
    with socket.create_connection(("127.0.0.1", port), timeout=SOON) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
        yield connection


def answer(connection: socket.socket) -> tuple[int, dict]:
    """The status and the error."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())["error"]


def test_a_body_up_to_the_limit_arrives_whole(port: int) -> None:
    assert post(port, b"x" * LIMIT).json() == LIMIT
    assert post(port, iter([b"x"] * LIMIT)).json() == LIMIT  # chunked
    assert post(port, b"").json() == 0


def test_a_body_over_the_limit_is_refused(port: int, service: Service) -> None:
    for content in (b"x" * (LIMIT + 1), iter([b"x"] * (LIMIT + 1)), b"x" * 10_000_000):
        response = post(port, content)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "too_large"
    assert service.asked == 0


def test_a_body_that_says_it_is_too_long_is_not_waited_for(port: int, service: Service) -> None:
    for length in (LIMIT + 1, 10**15):
        with head_sent(port, str(length)) as connection:
            status, error = answer(connection)
        assert (status, error["code"]) == (413, "too_large")
    assert service.asked == 0


def test_a_body_that_comes_too_slowly_is_refused(port: int, service: Service) -> None:
    begun = time.monotonic()
    with head_sent(port, "20") as connection:
        connection.sendall(b"x")
        status, error = answer(connection)
    assert (status, error["code"]) == (408, "request_timeout")
    assert time.monotonic() - begun >= TIMEOUT
    assert service.asked == 0


def test_an_answer_may_take_longer_than_a_body(port: int, service: Service) -> None:
    with head_sent(port, "0", "/wait") as connection:
        assert service.reading.wait(SOON)
        assert not service.gone.wait(2 * TIMEOUT)
        connection.close()
        assert service.gone.wait(SOON)


def test_the_service_learns_that_a_client_has_hung_up(port: int, service: Service) -> None:
    with head_sent(port, "5", "/wait") as connection:
        connection.sendall(b"hello")
        assert service.reading.wait(SOON)
        assert not service.gone.is_set()
    assert service.gone.wait(SOON)


def test_a_client_that_hangs_up_in_its_body_is_never_served(port: int, service: Service) -> None:
    with head_sent(port, "5") as connection:
        connection.sendall(b"hell")
    assert post(port, b"hello").json() == 5
    assert service.asked == 1


@pytest.mark.parametrize("length", ["", "-1", "1e9", "1_000_000", "\u0663", "0x7", "9" * 5000])
def test_an_odd_length_is_no_error_of_the_service(port: int, length: str) -> None:
    with head_sent(port, length) as connection, connection.makefile("rb") as file:
        assert file.readline().split()[1].startswith(b"4")
    assert post(port, b"hello").json() == 5


def test_the_limit_is_that_of_the_documentation() -> None:
    assert BodyLimit(None)._max_bytes == MAX_BYTES
