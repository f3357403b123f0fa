"""Requests to Access before a small app, in memory."""

import asyncio

import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from serving.access import Access

LOOPBACK, ELSEWHERE = "127.0.0.1", "192.0.2.7"
EVERY_PATH = ("/", "/about", "/livez", "/readyz", "/healthz", "/metrics", "/docs.json", "/v1/models")
JSON = {"Content-Type": "application/json"}
OWN, OTHER, TUTOR = "http://127.0.0.1:3000", "https://evil.example", "https://tutor.example.org"


async def service(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers every request with what Access has told it."""
    await JSONResponse({"authenticated": not scope["state"]["unauthenticated"]})(scope, receive, send)


def ask(
    app: Access,
    path: str = "/about",
    method: str = "GET",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    client: str = LOOPBACK,
    server: str = LOOPBACK,
    **request,
) -> httpx.Response:
    """The answer to a request from address `client` to address `server`, of which it names the latter."""

    async def send() -> httpx.Response:
        host = f"[{server}]" if ":" in server else server
        transport = httpx.ASGITransport(app, client=(client, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:3000") as http:
            return await http.request(method, path, headers=headers, **request)

    return asyncio.run(send())


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def assert_refused(response: httpx.Response, status: int, code: str) -> str:
    """In OpenAI's form; gives the message."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    [(name, error)] = response.json().items()
    assert name == "error"
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert (response.headers.get("www-authenticate") == "Bearer") == (status == 401)
    return error["message"]


def call(app: Access, changes: dict) -> list[dict]:
    """What the app sends in answer to a request that is not read; without httpx, which mends requests."""
    sent: list[dict] = []

    async def receive():
        pytest.fail("a refused request is not read")

    async def send(message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/about",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "server": (LOOPBACK, 3000),
        "client": (LOOPBACK, 50_000),
    }
    asyncio.run(app(scope | changes, receive, send))
    return sent
