"""The real service is behind Access and BodyLimit, whole, and keeps nothing of a request."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from serving.catalog import MODEL_CARD, Catalog, Course, Version
from serving.keys import add_key
from serving.payloads import MAX_BYTES
from tutee_grader.files import folder_hash

from .asking import ELSEWHERE, JSON, LOOPBACK, OTHER, assert_refused, bearer

# Its own, BentoML's, and one that there is not.
PATHS = [
    *("/", "/main.js", "/about", "/assignments", "/docs.json", "/metrics", "/livez", "/readyz", "/v1/models"),
    *("/next_submission", "/rollout", "/v1/chat/completions", "/healthz", "/schema.json", "/none"),
]
OPEN = {"/", "/main.js", "/livez", "/readyz"}
# What no file and no line of a log may hold.
MARK = "a_students_own_words"
PROGRAM = f"def double(n):\n    return '{MARK}'\n"
ASKED = {"assignment": "double", "history": [{"code": PROGRAM, "tutor": MARK}], "temperature": 0}


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def key(key_file: Path) -> str:
    return add_key(key_file, "autograder", per_minute=100_000)


def asking(settings: dict[str, Path], own_address: str, address: str) -> TestClient:
    """Asks a service of this process from an address; BentoML's process would only be around it."""
    from serving.app import Settings, make_app

    return TestClient(make_app(Settings(**settings)), f"http://{own_address}:3000", client=(address, 50_000))


@pytest.fixture(scope="module")
def stranger(catalog: Path, key_file: Path, key: str) -> Iterator[TestClient]:
    """Asks a service with keys from another machine."""
    with asking({"catalog": catalog, "keys": key_file}, "192.0.2.2", ELSEWHERE) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_path_refuses_a_name_of_somebody_else(client: httpx.Client, path: str, method: str) -> None:
    """In BentoML's own process: none of its endpoints is in front of ours."""
    response = client.request(method, path, headers=JSON | {"Host": "evil.example"}, content=b"{}")
    assert_refused(response, 403, "forbidden_host")


@pytest.mark.parametrize("path", PATHS)
def test_every_path_refuses_pages_of_other_sites(client: httpx.Client, path: str) -> None:
    response = client.post(path, json=ASKED, headers={"Origin": OTHER})
    assert_refused(response, 403, "forbidden_origin")
    response = client.post(path, content=b"{}", headers={"Content-Type": "text/plain"})
    assert_refused(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("path", PATHS)
def test_every_path_but_the_page_and_probes_needs_a_key(stranger: TestClient, key: str, path: str) -> None:
    for method in ("GET", "POST", "PUT"):
        response = stranger.request(method, path, headers=JSON, content=b"{}")
        if method == "GET" and path in OPEN:
            assert response.status_code in {200, 503}
        else:
            assert_refused(response, 401, "invalid_api_key")
        response = stranger.request(method, path, headers=JSON | bearer(key), content=b"{}")
        assert response.status_code not in {401, 403, 500}


def test_without_a_key_a_probe_says_no_more_than_whether(stranger: TestClient, key: str) -> None:
    assert "toy" not in stranger.get("/readyz").text
    assert "toy" in stranger.get("/readyz", headers=bearer(key)).text


def test_a_body_that_is_too_large_is_refused_after_the_key(stranger: TestClient, key: str) -> None:
    body = b" " * (MAX_BYTES + 1)
    assert_refused(stranger.post("/rollout", content=body, headers=JSON), 401, "invalid_api_key")
    assert_refused(stranger.post("/rollout", content=body, headers=JSON | bearer(key)), 413, "too_large")


def test_a_student_whose_files_were_changed_does_not_answer(
    adapter: Path, course_file: Path, tmp_path: Path
) -> None:
    """One bit of its weights: it would load, and write something else."""
    models = shutil.copytree(adapter.parent, tmp_path / "models")
    base = models / "base"
    course = Course(
        synthetic=True,
        assignments=course_file.parent / "assignments",
        names=("double",),
        champion=1,
        versions={1: Version(method="base", folder=base)},
    )
    catalog = tmp_path / "catalog.json"
    Catalog(courses={"toy": course}, hashes={base: folder_hash(base, MODEL_CARD)}).save(catalog)
    weights = base / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    with asking({"catalog": catalog}, LOOPBACK, LOOPBACK) as client:
        while "being loaded" in (ready := client.get("/readyz")).text:
            pass
        asked = client.post("/next_submission", json=ASKED)
    assert ready.status_code == 503
    assert str(base) in ready.json()["courses"]["toy"]["problem"]
    assert asked.status_code == 503


def test_nothing_of_a_request_is_kept(client: httpx.Client, service: subprocess.Popen, catalog: Path) -> None:
    """Of those that are answered, and of those that are refused, whose reasons are told the client alone."""
    chat = {"model": "tutee-toy", "messages": [{"role": "user", "content": MARK}]}
    for path, body, status in (
        ("/next_submission", ASKED, 200),
        ("/next_submission", ASKED | {"temperature": MARK}, 400),
        ("/next_submission", ASKED | {"history": [{"code": [MARK]}]}, 400),
        ("/next_submission", ASKED | {MARK: 1}, 400),
        ("/next_submission", ASKED | {"assignment": MARK}, 400),
        ("/next_submission", ASKED | {"history": [{"code": MARK * 2000}]}, 400),
        ("/next_submission", ASKED | {"history": [{"code": f"{MARK}\ud800\0"}]}, 400),
        ("/rollout", ASKED | {"attempts": 1}, 200),
        ("/rollout", ASKED | {"attempts": 1000}, 400),
        ("/v1/chat/completions", chat, 200),
        ("/v1/chat/completions", chat | {"messages": [{"role": MARK, "content": MARK}]}, 400),
        ("/v1/chat/completions", chat | {"model": MARK}, 404),
    ):
        response = client.post(path, content=json.dumps(body), headers=JSON)
        assert response.status_code == status, (path, response.text)
    assert client.post("/rollout", content=f'{{"{MARK}'.encode(), headers=JSON).status_code == 400
    folders = [service.log.parent, catalog.parent, Path(os.environ["BENTOML_HOME"])]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert service.log in files
    assert [file for file in files if MARK.encode() in file.read_bytes()] == []
    assert MARK not in client.get("/metrics").text


def test_every_test_that_the_documentation_names_is_there() -> None:
    repository = Path(__file__).parents[2]
    text = (repository / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", text)
    assert len(named) >= 20
    threats = [
        line for line in text.split("## Threats")[1].split("##")[0].splitlines() if line.startswith("|")
    ]
    assert [line for line in threats[2:] if "::test_" not in line] == []
    missing = [
        (file, name)
        for file, name in named
        if not re.search(rf"^def {name}\(", (repository / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert missing == []
