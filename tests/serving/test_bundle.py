"""The folder that the service reads needs nothing outside it, and a Bento contains all of it."""

import json
import os
import shutil
import subprocess
import sys
import time
from importlib.resources import files

import pytest
import yaml

from serving import bundle
from serving.bundle import PACKAGES, Bundle, build_bento, delete_bentos, pack, requirements
from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard
from tutee_serializer.course import Course


def test_the_base_is_packed_too(adapter, course_file, tmp_path):
    models = shutil.copytree(adapter.parent, tmp_path / "models")
    packed = pack(models / "sft", Course.load(course_file), tmp_path / "packed", {})
    shutil.rmtree(models)
    from tutee_evaluator.engines.transformers import Student

    assert Student.load(packed.student).card.base == "../base"
    assert sorted(packed.assignments()) == ["double", "echo"]


def test_a_base_alone_is_a_student_too(adapter, course_file, tmp_path):
    packed = pack(adapter.parent / "base", Course.load(course_file), tmp_path / "packed", {})
    assert packed.about.method == "base"
    assert (packed.student / "model.safetensors").exists()
    assert not (packed.folder / "base").exists()


def test_packing_again_replaces_the_whole_folder(adapter, course_file, tmp_path):
    course = Course.load(course_file)
    first = pack(adapter, course, tmp_path / "packed", {"version": "1"})
    (first.folder / "assignments" / "gone").mkdir()
    second = pack(adapter, course, tmp_path / "packed", {"version": "2"})
    assert second.about.model == "tutee-toy-sft-v2"
    assert sorted(second.assignments()) == ["double", "echo"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["packed"]


def test_a_missing_base_is_named(adapter, course_file, tmp_path):
    orphan = shutil.copytree(adapter, tmp_path / "sft")
    StudentCard("sft", "toy", "nobody/no-such-model", "edits", "summary", 1024, 160, "test").save(orphan)
    with pytest.raises(InputError, match="nobody/no-such-model"):
        pack(orphan, Course.load(course_file), tmp_path / "packed", {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["sft"]


def test_a_folder_without_a_card_is_an_error(course_file, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"student\.json"):
        pack(tmp_path / "empty", Course.load(course_file), tmp_path / "packed", {})


@pytest.mark.parametrize("text", [None, "{", "[]", '{"course": "toy"}', '{"unknown": 1}'])
def test_a_folder_that_is_no_bundle_is_an_error_that_names_it(tmp_path, text):
    if text is not None:
        (tmp_path / "about.json").write_text(text)
    with pytest.raises(InputError, match=r"about\.json"):
        Bundle.load(tmp_path)


def test_requirements_are_pinned_to_versions_that_an_index_has():
    lines = requirements()
    assert any(line.startswith("torch==") for line in lines)
    assert all("+" not in line and "tutee" not in line and "==" in line for line in lines)


@pytest.fixture(scope="module")
def built(bundle, tmp_path_factory):
    start = time.monotonic()
    bento = build_bento(bundle, tmp_path_factory.mktemp("bentos") / "store")
    return bento, time.monotonic() - start


def test_a_bento_is_the_student_and_the_code_and_little_more(built, bundle):
    bento, seconds = built
    student = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    assert student < bento.size < student + 3_000_000
    assert seconds < 30
    folders = {entry.name for entry in (bento.folder / "src").iterdir() if entry.is_dir()}
    assert folders == {"serving", "student", "tutee_evaluator", "tutee_grader", "tutee_serializer"}
    assert bento.tag.startswith("tutee-toy:")


def test_of_each_of_the_last_versions_the_latest_bento_is_kept(built, tmp_path):
    """The one that was just built is the latest, though the clock has been set back since the others."""
    bento, _ = built
    description = yaml.safe_load((bento.folder / "bento.yaml").read_text())
    made = {"a": ("1", 5), "b": ("2", 6), "c": ("2", 7), "d": ("3", 8), "now": ("4", 2)}
    for name, (number, hour) in made.items():
        folder = tmp_path / "store/tutee-toy" / name
        folder.mkdir(parents=True)
        changes = {
            "version": name,
            "creation_time": f"2026-01-01T0{hour}:00:00+00:00",
            "labels": {**description["labels"], "version": number},
        }
        (folder / "bento.yaml").write_text(yaml.safe_dump({**description, **changes}))
    for keep, left in ((4, "acdnow"), (3, "cdnow"), (2, "dnow")):
        delete_bentos(tmp_path / "store", "tutee-toy:now", keep)
        there = sorted(path.name for path in (tmp_path / "store/tutee-toy").iterdir() if path.is_dir())
        assert "".join(there) == left


def test_a_bento_loads_its_own_code_and_its_own_student(built):
    """Even though this repository's packages are installed too."""
    bento, _ = built
    code = """
import json, sys
sys.path.insert(0, ".")
from serving.service import BENTO_STUDENT
from serving.students import ServedStudent
student = ServedStudent(BENTO_STUDENT)
files = {
    name: module.__file__
    for name, module in sys.modules.items()
    if name.startswith(("flows", "serving", "tutee_"))
}
print(json.dumps([files, student.about.model, sorted(student.assignments)]))
student.close()
"""
    environment = {
        key: value for key, value in os.environ.items() if key not in ("TUTEE_STUDENT", "PYTHONPATH")
    }
    command = [sys.executable, "-c", code]
    process = subprocess.run(
        command, cwd=bento.folder / "src", env=environment, capture_output=True, timeout=120
    )
    assert process.returncode == 0, process.stderr.decode()[-2000:]
    files, model, assignments = json.loads(process.stdout.splitlines()[-1])
    assert {name.partition(".")[0] for name in files} == set(PACKAGES)
    assert [file for file in files.values() if not file.startswith(str(bento.folder))] == []
    assert (model, assignments) == ("tutee-toy-sft-v7", ["double", "echo"])


def test_the_hash_changes_with_the_code_of_a_bento(tmp_path, monkeypatch):
    copies = {name: shutil.copytree(str(files(name)), tmp_path / name) for name in PACKAGES}
    monkeypatch.setattr(bundle, "files", copies.__getitem__)
    before = bundle.code_hash()
    assert bundle.code_hash() == before
    page = copies["serving"] / "page/index.html"
    page.write_text(page.read_text() + " ")
    assert bundle.code_hash() != before
