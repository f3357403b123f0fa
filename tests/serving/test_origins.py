"""What pages of other sites can make a browser send is refused, with keys and without."""

from pathlib import Path

import pytest

from serving.access import Access
from serving.keys import add_key
from tutee_grader.errors import InputError

from .asking import JSON, OTHER, OWN, TUTOR, ask, assert_refused, bearer, call, service


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture(params=["without keys", "with keys"])
def open_to(request: pytest.FixtureRequest, file: Path):
    """An Access with the origins of other sites, and the headers that its caller needs."""

    def make(*origins: str) -> tuple[Access, dict[str, str]]:
        headers = bearer(add_key(file, "autograder")) if request.param == "with keys" else {}
        return Access(service, file, origins), headers

    return make


@pytest.mark.parametrize(
    "sent",
    [
        *("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None),
        *("application/jsonp", "text/plain; application/json"),
    ],
)
def test_a_post_that_a_form_could_make_is_refused(open_to, sent: str | None) -> None:
    app, headers = open_to()
    if sent is not None:
        headers = headers | {"Content-Type": sent}
    assert_refused(ask(app, method="POST", headers=headers, content=b"{}"), 415, "unsupported_media_type")


@pytest.mark.parametrize("sent", ["application/json", "Application/JSON", "application/json; charset=utf-8"])
def test_a_post_of_json_is_served(open_to, sent: str) -> None:
    app, headers = open_to()
    assert ask(app, method="POST", headers=headers | {"Content-Type": sent}, content=b"{}").status_code == 200


def test_a_post_with_two_types_is_refused(open_to) -> None:
    app, headers = open_to()
    types = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]
    response = ask(app, method="POST", headers=[*headers.items(), *types], content=b"{}")
    assert_refused(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "origin",
    [OTHER, "null", "http://127.0.0.1:3001", "https://127.0.0.1:3000", f"{OWN}.evil.example", "", "http://"],
)
def test_pages_of_other_sites_are_refused(open_to, method: str, origin: str) -> None:
    app, headers = open_to()
    assert_refused(
        ask(app, method=method, headers=headers | JSON | {"Origin": origin}), 403, "forbidden_origin"
    )


def test_a_second_origin_does_not_hide_the_first(open_to) -> None:
    app, headers = open_to(TUTOR)
    for good in (OWN, TUTOR):
        origins = [("Origin", good), ("Origin", OTHER)]
        assert_refused(ask(app, headers=[*headers.items(), *origins]), 403, "forbidden_origin")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_browser_that_says_a_request_comes_from_elsewhere_is_believed(open_to, site: str) -> None:
    app, headers = open_to()
    headers = headers | JSON | {"Sec-Fetch-Site": site}
    assert_refused(ask(app, method="POST", headers=headers), 403, "forbidden_origin")
    assert ask(app, headers=headers).status_code == 200  # a link that was followed


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_own_page_is_served(open_to, method: str) -> None:
    app, headers = open_to()
    headers = headers | JSON | {"Origin": OWN, "Sec-Fetch-Site": "same-origin"}
    assert ask(app, method=method, headers=headers).status_code == 200


PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
}


def test_no_other_site_is_let_in_by_default(open_to) -> None:
    app, headers = open_to()
    for method in ("GET", "POST", "OPTIONS"):
        response = ask(app, method=method, headers=headers | JSON | PREFLIGHT | {"Origin": TUTOR})
        assert_refused(response, 403, "forbidden_origin")
        assert not [name for name in response.headers if name.startswith("access-control")]
    assert not [name for name in ask(app, headers=headers).headers if name.startswith("access-control")]


def test_a_site_that_is_named_is_let_in(open_to) -> None:
    app, headers = open_to("https://first.example", TUTOR)
    asked = ask(app, "/rollout", "OPTIONS", PREFLIGHT | {"Origin": TUTOR})  # a browser sends no key here
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == TUTOR
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert "x-stainless-lang" in asked.headers["access-control-allow-headers"]
    headers = headers | JSON | {"Origin": TUTOR, "Sec-Fetch-Site": "cross-site"}
    answer = ask(app, "/rollout", "POST", headers)
    assert answer.json() == {"authenticated": True}
    assert answer.headers["access-control-allow-origin"] == TUTOR
    assert "access-control-allow-credentials" not in answer.headers


def test_a_site_that_is_named_needs_a_key_too(file: Path) -> None:
    add_key(file, "autograder")
    response = ask(Access(service, file, [TUTOR]), method="POST", headers=JSON | {"Origin": TUTOR})
    assert_refused(response, 401, "invalid_api_key")
    assert response.headers["access-control-allow-origin"] == TUTOR  # its script can read why


@pytest.mark.parametrize(
    "origin", ["*", "tutor.example.org", "https://tutor.example.org/", "https://*.example.org", "null"]
)
def test_what_is_no_origin_is_refused_at_the_start(file: Path, origin: str) -> None:
    with pytest.raises(InputError, match="TUTEE_CORS_ORIGINS") as raised:
        Access(service, file, [TUTOR, origin])
    assert repr(origin) in str(raised.value)
    assert repr(TUTOR) not in str(raised.value)


ODD = [
    b"",
    b"\xff\xfe",
    b"\x00",
    b"Bearer \xff\xed\xa0\x80",
    b"\xe2\x80\xae",
    b"x" * 1_000_000,
    b"," * 9,
    b"%s{0}\r\n",
]
HEADERS = [b"host", b"authorization", b"origin", b"content-type", b"sec-fetch-site", b"via", b"\xff\x00"]


@pytest.mark.parametrize("method", ["GET", "POST", "BREW"])
@pytest.mark.parametrize("name", HEADERS)
def test_no_header_makes_an_error_of_the_service(open_to, name: bytes, method: str) -> None:
    app, needed = open_to()
    needed = [(name.lower().encode(), value.encode()) for name, value in (needed | JSON).items()]
    for value in ODD:
        for headers in ([(name, value)], [(b"host", b"localhost"), *needed, (name, value), (name, value)]):
            start, *_ = call(app, {"headers": headers, "method": method})
            assert start["status"] < 500
