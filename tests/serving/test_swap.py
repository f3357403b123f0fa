"""The champion changes while it answers: no request is lost, and what cannot be loaded changes nothing."""

import asyncio
import json
import shutil
import time
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from serving import students as served
from serving.app import Settings, make_app
from serving.catalog import Catalog
from serving.errors import ApiError
from serving.students import Students
from tutee_evaluator.engines import Request
from tutee_grader.files import folder_hash
from tutee_serializer.card import MODEL_CARD
from tutee_serializer.dialogs.dialog import Dialog


@pytest.fixture
def own_catalog(catalog: Path, tmp_path: Path) -> Path:
    """A catalog with models and assignments of its own, which a test may break."""
    known = Catalog.load(catalog)
    toy = known.courses["toy"]
    models = tmp_path / "models"
    shutil.copytree(toy.versions[7].folder.parent, models)
    shutil.copytree(toy.assignments, tmp_path / "assignments")
    versions = {
        number: version.model_copy(update={"folder": models / version.folder.name})
        for number, version in toy.versions.items()
    }
    toy = toy.model_copy(update={"versions": versions, "assignments": tmp_path / "assignments"})
    hashes = {models / folder.name: value for folder, value in known.hashes.items()}
    file = tmp_path / "catalog.json"
    Catalog(courses={"toy": toy}, hashes=hashes).save(file)
    return file


def promote(file: Path, champion: int | None) -> None:
    """What the registry's alias does to the catalog."""
    content = json.loads(file.read_text())
    content["courses"]["toy"]["champion"] = champion
    part = file.with_suffix(".part")
    part.write_text(json.dumps(content))
    part.replace(file)


async def answering(students: Students, name: str | None = None) -> str:
    async with students.use(name) as (student, _):
        return student.model


def run(file: Path, story) -> None:
    """Runs a story with students that have looked at the catalog once."""

    async def told() -> None:
        students = Students(file)
        await students.look()
        try:
            await story(students)
        finally:
            students.close()

    asyncio.run(told())


def test_the_catalogs_champion_answers_and_so_does_the_next_one(own_catalog):
    async def story(students):
        assert await answering(students) == "tutee-toy-v7"
        promote(own_catalog, 6)
        await students.look()
        assert await answering(students) == await answering(students, "tutee-toy") == "tutee-toy-v6"
        assert await answering(students, "tutee-toy-v7") == "tutee-toy-v7"

    run(own_catalog, story)


def test_the_way_back_loads_nothing(own_catalog, monkeypatch):
    loads = []
    load = served._load_student
    monkeypatch.setattr(served, "_load_student", lambda *args: loads.append(args) or load(*args))

    async def story(students):
        for champion in (6, 7, 6):
            promote(own_catalog, champion)
            await students.look()
        assert await answering(students) == "tutee-toy-v6"

    run(own_catalog, story)
    assert len(loads) == 2


def test_who_is_answered_when_the_champion_changes_is_answered_to_the_end(own_catalog, monkeypatch):
    monkeypatch.setattr(served, "KEPT", 0)

    async def story(students):
        async with students.use(None) as (student, _):
            promote(own_catalog, 6)
            await students.look()
            assert students.loaded == ["tutee-toy-v6", "tutee-toy-v7"]
            completion = await student.engine.complete(Request(Dialog.start("edits", "summary", "?")))
            assert completion.completion_tokens > 0
        assert students.loaded == ["tutee-toy-v6"]

    run(own_catalog, story)


def test_a_student_whose_files_were_registered_anew_is_loaded_anew(own_catalog):
    """As where a training student was forgotten, whose programs it looked up."""

    async def story(students):
        before = students.courses["toy"].student
        card = own_catalog.parent / "models" / "sft" / "note.txt"
        card.write_text("another file")
        content = json.loads(own_catalog.read_text())
        content["hashes"][str(card.parent)] = folder_hash(card.parent, but=MODEL_CARD)
        own_catalog.write_text(json.dumps(content))
        await students.look()
        assert students.courses["toy"].problem is None
        assert students.courses["toy"].student is not before

    run(own_catalog, story)


def alter(own_catalog: Path, model: str) -> None:
    file = next((own_catalog.parent / "models" / model).glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("model", ["sft", "base"])
def test_altered_weights_are_not_served(own_catalog, model):
    alter(own_catalog, model)

    async def story(students):
        assert not students.is_ready
        assert "not those that were registered" in students.courses["toy"].problem
        with pytest.raises(ApiError, match="no student answers yet") as caught:
            await answering(students)
        assert caught.value.status == 503

    run(own_catalog, story)


def test_files_that_no_library_can_read_are_a_problem_and_no_crash(own_catalog):
    content = json.loads(own_catalog.read_text()) | {"hashes": {}}
    own_catalog.write_text(json.dumps(content))
    (own_catalog.parent / "models" / "base" / "model.safetensors").write_bytes(b"no tensors")

    async def story(students):
        assert "cannot be loaded" in students.courses["toy"].problem
        with pytest.raises(ApiError, match="cannot be loaded") as caught:
            await answering(students, "tutee-toy-v6")
        assert caught.value.status == 503

    run(own_catalog, story)


def test_a_champion_that_cannot_be_loaded_leaves_the_old_one(own_catalog):
    async def story(students):
        shutil.rmtree(own_catalog.parent / "models" / "sft")
        promote(own_catalog, 6)
        await students.look()
        assert await answering(students) == "tutee-toy-v6"
        promote(own_catalog, 8)
        await students.look()
        course = students.courses["toy"]
        assert await answering(students) == "tutee-toy-v6"
        assert students.is_ready and "tutee-toy-v8" in course.problem
        promote(own_catalog, 6)
        await students.look()
        assert course.problem is None

    run(own_catalog, story)


def test_without_a_champion_it_says_how_to_make_one(own_catalog):
    promote(own_catalog, None)

    async def story(students):
        assert not students.is_ready
        assert "`tutee retrain toy`" in students.courses["toy"].problem

    run(own_catalog, story)


def test_an_assignment_without_its_task_is_a_problem_that_is_named(own_catalog):
    (own_catalog.parent / "assignments" / "echo" / "task.md").unlink()

    async def story(students):
        assert not students.is_ready
        assert "echo: has no task (task.md)" in students.courses["toy"].problem

    run(own_catalog, story)


def test_a_catalog_that_comes_later_is_found(own_catalog):
    hidden = own_catalog.rename(own_catalog.with_suffix(".later"))

    async def story(students):
        assert not students.is_ready and "catalog.json" in students.problem
        hidden.rename(own_catalog)
        await students.look()
        assert students.is_ready and students.problem is None

    run(own_catalog, story)


def test_of_several_courses_each_has_its_champion_and_one_has_to_be_named(own_catalog):
    content = json.loads(own_catalog.read_text())
    content["courses"]["other"] = {**content["courses"]["toy"], "champion": 6, "challenger": None}
    own_catalog.write_text(json.dumps(content))

    async def story(students):
        assert await answering(students, "tutee-other") == "tutee-other-v6"
        assert await answering(students, "tutee-toy") == "tutee-toy-v7"
        with pytest.raises(ApiError, match="name a model: tutee-toy, tutee-other") as caught:
            await answering(students)
        assert (caught.value.status, caught.value.param) == (400, "model")

    run(own_catalog, story)


@asynccontextmanager
async def in_process(file: Path):
    """A client of the service in this process, with its lifespan."""
    app = make_app(Settings(file))
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client,
    ):
        deadline = time.monotonic() + 60
        while not (await client.get("/readyz")).is_success:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        yield client


def test_no_request_fails_while_the_champion_changes(own_catalog):
    async def told() -> list[tuple[int, str]]:
        answers: list[tuple[int, str]] = []

        async def ask(client: httpx.AsyncClient) -> None:
            answer = await client.post("/next_submission", json={"assignment": "double", "temperature": 1})
            answers.append((answer.status_code, answer.headers["X-Tutee-Model"]))

        async def ask_until(client: httpx.AsyncClient, model: str) -> None:
            deadline = time.monotonic() + 30
            while (200, model) not in answers[-8:]:
                assert time.monotonic() < deadline
                await asyncio.gather(*(ask(client) for _ in range(8)))

        async with in_process(own_catalog) as client:
            await ask_until(client, "tutee-toy-v7")
            promote(own_catalog, 6)
            await ask_until(client, "tutee-toy-v6")
            promote(own_catalog, 7)
            await ask_until(client, "tutee-toy-v7")
        return answers

    answers = asyncio.run(told())
    assert {status for status, _ in answers} == {200}
    assert {model for _, model in answers} == {"tutee-toy-v6", "tutee-toy-v7"}


def test_what_is_recorded_is_readable_by_its_owner_alone(own_catalog, tmp_path):
    folder = tmp_path / "recorded"

    async def told() -> None:
        app = make_app(Settings(own_catalog, record=folder))
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            await client.post("/next_submission", json={"assignment": "nothing of the kind"})

    asyncio.run(told())
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    line = json.loads(file.read_text())
    assert json.loads(line["request"]) == {"assignment": "nothing of the kind"}
    assert line["path"] == "/next_submission" and line["status"] in (400, 503)
