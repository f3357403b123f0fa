"""Students by name, in a project whose models are empty shells."""

import contextlib
from pathlib import Path

import pytest

from flows.finding import FoundStudent, find_student
from flows.parameters import load
from flows.places import Places
from flows.registration import Results, register
from flows.registry import Registry
from tutee_grader.errors import InputError


@pytest.fixture
def here(reported, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(reported.folder)
    return reported


def found(text: str) -> FoundStudent:
    setup = load("small")
    return find_student(text, setup.parameters.students, setup.places)


@pytest.mark.parametrize("text", ["dpo", "tiny/dpo", "models/small/tiny/dpo"])
def test_a_trained_model_is_found_by_its_method_its_preset_or_its_folder(here, text: str) -> None:
    assert found(text).model == Path("models/small/tiny/dpo")


def test_a_registered_version_is_found_by_number_and_by_alias(here) -> None:
    registry = Registry(Places("small", "tiny"))
    files = [registry.places.metrics]
    register(registry, Results("one", ["sft", "dpo"], {}, {}, {}, files, {}, {}))
    registry.make_champion(registry.get(2), "better")
    for text, folder in (("models:/tutee-small/1", "sft"), ("models:/tutee-small@champion", "dpo")):
        assert here.weights(found(text).model) == folder


def test_a_name_of_params_yaml_stands_for_its_source(project) -> None:
    row = "students: {cloud: {endpoint: {url: 'http://localhost:1/v1', model: big}}, old: tiny/sft}\n"
    project.edit("params.yaml", "gate: {}\n", f"gate: {{}}\n{row}")
    with contextlib.chdir(project.folder):
        student = found("cloud")
        assert (student.name, student.model.model) == ("cloud", "big")
        with pytest.raises(InputError, match="'tiny/sft' names no student"):  # nothing is trained yet
            found("old")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nobody", "'nobody' names no student; it may be a method (copy, nearest, "),
        ("tiny/nobody", "'tiny/nobody' names no student"),
        ("models:/other/3", "models:/other/3: is neither models:/tutee-COURSE/NUMBER nor "),
        ("models:/tutee-small/99", "there is no version 99"),
        ("models:/tutee-small@nobody", "has no version with the alias nobody"),
    ],
)
def test_a_name_of_nobody_is_refused_with_what_could_be_named(here, text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        found(text)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("students", "expected"),
    [
        ("{sft: tiny/sft}", "sft is the name of a method"),
        ("{a/b: tiny/sft}", "'a/b' is not a name of letters"),
        ("{both: {source: x, endpoint: {url: 'http://a/v1', model: m}}}", "needs `source` or `endpoint`"),
        ("{neither: {}}", "needs `source` or `endpoint`"),
        ("{cloud: {endpoint: {url: nowhere, model: m}}}", "students.cloud.endpoint.url"),
    ],
)
def test_a_row_of_students_that_cannot_be_used_is_named(project, students: str, expected: str) -> None:
    project.edit("params.yaml", "gate: {}\n", f"gate: {{}}\nstudents: {students}\n")
    with contextlib.chdir(project.folder), pytest.raises(InputError) as caught:
        load("small")
    assert "params.yaml: `students" in str(caught.value)
    assert expected.removeprefix("students.") in str(caught.value)
