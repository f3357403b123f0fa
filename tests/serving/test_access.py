"""Who may use the service: with keys whoever has one, without keys this machine."""

import logging
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from serving.access import Access
from serving.keys import add_key, revoke_key
from serving.website import PAGE

from .asking import ELSEWHERE, EVERY_PATH, JSON, LOOPBACK, ask, assert_refused, bearer, call, service


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def key(file: Path) -> str:
    return add_key(file, "autograder")


@pytest.fixture
def without_keys(file: Path) -> Access:
    return Access(service, file)


@pytest.fixture
def with_keys(file: Path, key: str) -> Access:
    return Access(service, file)


# Without keys


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:3000", "LOCALHOST:3000", "127.0.0.1:9", "[::1]:3000"]
)
def test_without_keys_this_machine_is_served(without_keys: Access, host: str) -> None:
    response = ask(without_keys, headers={"Host": host})
    assert response.json() == {"authenticated": True}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_every_loopback_address_is_this_machine(without_keys: Access, address: str) -> None:
    response = ask(without_keys, client=address, server=address, headers={"Host": "localhost"})
    assert response.status_code == 200


@pytest.mark.parametrize("path", EVERY_PATH)
@pytest.mark.parametrize(
    "addresses",
    [
        {"client": ELSEWHERE, "server": ELSEWHERE},
        {"client": LOOPBACK, "server": ELSEWHERE},
        {"client": ELSEWHERE, "server": LOOPBACK},
        {"client": "::ffff:192.0.2.7", "server": LOOPBACK},
        {"client": "localhost", "server": LOOPBACK},  # a name says nothing
    ],
)
def test_without_keys_nobody_else_is_served(without_keys: Access, path: str, addresses: dict) -> None:
    response = ask(without_keys, path, headers={"Host": "localhost"}, **addresses)
    assert "`tutee keys add NAME`" in assert_refused(response, 401, "invalid_api_key")


@pytest.mark.parametrize("address", [None, ("/run/tutee.sock", None)])
def test_without_keys_a_unix_socket_is_not_served(without_keys: Access, address) -> None:
    sent = call(without_keys, {"server": address, "client": address})
    assert sent[0]["status"] == 401


@pytest.mark.parametrize("path", EVERY_PATH)
@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:3000", "localhost.evil.example", "127.0.0.1.evil.example"),
        *(
            "localhost:3000@evil.example",
            "evil.example#localhost",
            "localhost:",
            "localhost\n",
            "",
            "::1",
            "[::2]",
        ),
    ],
)
def test_without_keys_a_name_of_somebody_else_is_refused(without_keys: Access, path: str, host: str) -> None:
    """DNS rebinding: evil.example resolves to 127.0.0.1, so its page speaks to the service as to itself."""
    assert_refused(ask(without_keys, path, headers={"Host": host}), 403, "forbidden_host")


def test_without_keys_two_names_are_refused(without_keys: Access) -> None:
    hosts = [("Host", "localhost:3000"), ("Host", "evil.example")]
    for headers in (hosts, hosts[::-1], hosts[:1] * 2):
        assert_refused(ask(without_keys, headers=headers), 403, "forbidden_host")


@pytest.mark.parametrize("name", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"])
def test_without_keys_what_a_proxy_forwards_is_refused(without_keys: Access, name: str) -> None:
    message = assert_refused(ask(without_keys, headers={name: LOOPBACK}), 401, "invalid_api_key")
    assert "proxy" in message
    assert "`tutee keys add NAME`" in message


# With keys


@pytest.mark.parametrize("client", [LOOPBACK, ELSEWHERE])
@pytest.mark.parametrize(
    "path", ["/about", "/healthz", "/metrics", "/docs.json", "/schema.json", "/v1/models"]
)
def test_every_endpoint_needs_a_key(with_keys: Access, key: str, client: str, path: str) -> None:
    assert_refused(ask(with_keys, path, client=client, server=client), 401, "invalid_api_key")
    assert ask(with_keys, path, headers=bearer(key), client=client, server=client).json() == {
        "authenticated": True
    }


@pytest.mark.parametrize(
    "path", ["/next_submission", "/rollout", "/steer", "/v1/chat/completions", "/", "/livez", "/main.js"]
)
def test_every_post_needs_a_key(with_keys: Access, key: str, path: str) -> None:
    assert_refused(ask(with_keys, path, "POST", JSON), 401, "invalid_api_key")
    assert ask(with_keys, path, "POST", JSON | bearer(key)).status_code == 200


def test_a_key_works_under_any_name_of_the_service(with_keys: Access, key: str) -> None:
    headers = bearer(key) | {"Host": "students.example.org", "X-Forwarded-For": ELSEWHERE}
    assert ask(with_keys, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "wrong", ["Bearer", "Bearer ", "Bearer tutee_x", "Basic {key}", "{key}", "Bearer {key}x", "Bearer\t"]
)
def test_what_is_no_key_is_refused(with_keys: Access, key: str, wrong: str) -> None:
    headers = {"Authorization": wrong.format(key=key)}
    message = assert_refused(ask(with_keys, headers=headers), 401, "invalid_api_key")
    assert key not in message


def test_two_keys_are_refused(with_keys: Access, key: str) -> None:
    headers = [("Authorization", f"Bearer {key}"), ("Authorization", "Bearer other")]
    assert_refused(ask(with_keys, headers=headers), 401, "invalid_api_key")


def test_the_scheme_of_a_key_is_written_in_any_case(with_keys: Access, key: str) -> None:
    assert ask(with_keys, headers={"Authorization": f"bEARER  {key}"}).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/", *(f"/{file.name}" for file in PAGE.iterdir())])
def test_probes_and_the_page_itself_need_no_key(with_keys: Access, key: str, path: str) -> None:
    assert ask(with_keys, path, client=ELSEWHERE).json() == {"authenticated": False}
    assert ask(with_keys, path, headers=bearer("wrong")).json() == {"authenticated": False}
    assert ask(with_keys, path, headers=bearer(key)).json() == {"authenticated": True}


def test_the_token_of_tutee_serve_is_good_for_probes_alone(file: Path, key: str) -> None:
    app = Access(service, file, probe_token="token")
    assert ask(app, "/readyz", headers=bearer("token")).json() == {"authenticated": True}
    assert ask(app, "/readyz", headers=bearer("tokens")).json() == {"authenticated": False}
    assert_refused(ask(app, "/about", headers=bearer("token")), 401, "invalid_api_key")


@pytest.mark.parametrize(
    "path", ["/livez/", "/readyz/x", "/x//livez", "/x/main.js", "/other.js", "/livez;x", "/LIVEZ"]
)
def test_what_only_looks_like_a_probe_or_the_page_needs_a_key(with_keys: Access, path: str) -> None:
    assert_refused(ask(with_keys, path), 401, "invalid_api_key")


def test_a_revoked_key_is_refused_by_the_running_service(with_keys: Access, file: Path, key: str) -> None:
    add_key(file, "other")
    assert ask(with_keys, headers=bearer(key)).status_code == 200
    revoke_key(file, "autograder")
    assert_refused(ask(with_keys, headers=bearer(key)), 401, "invalid_api_key")


def test_revoking_the_last_key_opens_the_service_to_nobody(with_keys: Access, file: Path, key: str) -> None:
    assert ask(with_keys, headers=bearer(key)).status_code == 200
    revoke_key(file, "autograder")
    assert_refused(ask(with_keys), 401, "invalid_api_key")
    file.unlink()
    assert_refused(ask(with_keys), 401, "invalid_api_key")


def test_the_first_key_closes_the_running_service(without_keys: Access, file: Path) -> None:
    assert ask(without_keys).status_code == 200
    key = add_key(file, "autograder")
    assert_refused(ask(without_keys), 401, "invalid_api_key")
    assert ask(without_keys, headers=bearer(key), client=ELSEWHERE).status_code == 200


def test_with_a_broken_key_file_nobody_is_served(
    with_keys: Access, file: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = file.read_bytes()
    file.write_bytes(good[:-9])
    for headers in (None, bearer(key)):
        message = assert_refused(ask(with_keys, headers=headers), 503, "not_ready")
        assert str(file) not in message
    assert str(file) in caplog.text
    file.write_bytes(good)
    assert ask(with_keys, headers=bearer(key)).status_code == 200


def test_a_key_that_asks_too_often_has_to_wait(file: Path) -> None:
    hasty, other = add_key(file, "hasty", per_minute=2), add_key(file, "other", per_minute=2)
    app = Access(service, file)
    assert [ask(app, headers=bearer(hasty)).status_code for _ in range(3)] == [200, 200, 429]
    add_key(file, "third")  # the file is read again, and the count goes on
    response = ask(app, headers=bearer(hasty))
    assert "2 requests a minute" in assert_refused(response, 429, "rate_limit_exceeded")
    assert response.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(response.headers["retry-after"]) <= 30  # a token is there after 30 s
    assert ask(app, headers=bearer(other)).status_code == 200
    assert ask(app, "/livez").status_code == 200


# What is refused


def test_a_refused_request_is_neither_read_nor_passed_on_nor_logged(
    file: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        pytest.fail("a refused request reaches the service")

    caplog.set_level(logging.DEBUG)
    app = Access(never, file)
    asked = {"method": "POST", "query_string": b"secret"}
    json = (b"content-type", b"application/json")
    for headers in (
        [json, (b"authorization", b"Bearer secret")],
        [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"text/secret")],
        [json, (b"authorization", f"Bearer {key}".encode()), (b"origin", b"http://secret")],
    ):
        start, *_ = call(app, asked | {"headers": headers})
        assert start["status"] in {401, 415, 403}
    assert "secret" not in caplog.text
    assert key not in caplog.text


def test_a_websocket_is_closed(with_keys: Access) -> None:
    assert [message["type"] for message in call(with_keys, {"type": "websocket"})] == ["websocket.close"]
