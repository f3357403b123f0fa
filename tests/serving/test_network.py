"""Access behind a real uvicorn, which BentoML runs too."""

import socket
from pathlib import Path

import httpx
import psutil
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from serving.access import Access
from serving.keys import add_key

from .asking import ELSEWHERE, LOOPBACK, assert_refused, bearer


async def scheme(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({"scheme": Request(scope).url.scheme})(scope, receive, send)


@pytest.fixture(scope="module")
def real_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def real_key(real_file: Path) -> str:
    return add_key(real_file, "autograder")


@pytest.fixture(scope="module")
def real_without_keys(serve_app):
    """Listens on every address of this machine, as only who means it makes a service do."""
    with serve_app(Access(scheme, None), host="0.0.0.0") as port:
        yield port


@pytest.fixture(scope="module")
def real_with_keys(serve_app, real_file: Path, real_key: str):
    with serve_app(Access(scheme, real_file), host="0.0.0.0") as port:
        yield port


def fetch(port: int, address: str = LOOPBACK, **request) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.get(f"http://{address}:{port}/about", **request)


def own_address() -> str:
    """An address of this machine that is not loopback: what others on the network would use."""
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and not address.address.startswith("127."):
                return address.address
    pytest.skip("a network interface with an address")


def test_a_real_server_on_loopback_is_served(real_without_keys: int) -> None:
    assert fetch(real_without_keys).status_code == 200
    assert_refused(fetch(real_without_keys, headers={"Host": "evil.example"}), 403, "forbidden_host")


def test_a_real_server_on_the_network_needs_keys(
    real_without_keys: int, real_with_keys: int, real_key: str
) -> None:
    address = own_address()
    for host in (address, "localhost"):
        response = fetch(real_without_keys, address, headers={"Host": host})
        assert_refused(response, 401, "invalid_api_key")
    assert_refused(fetch(real_with_keys, address), 401, "invalid_api_key")
    assert fetch(real_with_keys, address, headers=bearer(real_key)).status_code == 200


def test_nobody_passes_for_this_machine_by_a_header(real_without_keys: int) -> None:
    """uvicorn takes the client's address from this header where the proxy is this machine."""
    for address in (LOOPBACK, own_address()):
        headers = {"X-Forwarded-For": LOOPBACK, "Host": "localhost"}
        response = fetch(real_without_keys, address, headers=headers)
        assert_refused(response, 401, "invalid_api_key")


def test_the_page_behind_a_proxy_with_tls_is_of_this_origin(real_with_keys: int, real_key: str) -> None:
    """As docs/security.md has the proxy set up."""
    headers = bearer(real_key) | {"Host": "students.example.org", "X-Forwarded-For": ELSEWHERE}
    origin = {"Origin": "https://students.example.org"}
    response = fetch(real_with_keys, headers=headers | origin | {"X-Forwarded-Proto": "https"})
    assert response.json() == {"scheme": "https"}
    assert_refused(fetch(real_with_keys, headers=headers | origin), 403, "forbidden_origin")


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: \xff\xfe\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\xff\x00 HTTP/9\r\n\r\n",
    ],
)
def test_a_hostile_request_gets_an_error_of_the_clients(real_without_keys: int, request_head: bytes) -> None:
    with socket.create_connection((LOOPBACK, real_without_keys), timeout=30) as connection:
        connection.sendall(request_head)
        status = connection.makefile("rb").readline().split()[1]
    assert status.startswith(b"4")
    assert fetch(real_without_keys).status_code == 200
