from collections.abc import Callable
from pathlib import Path

import pytest

from tutee_serializer.course import Course
from tutee_serializer.errors import CourseError

CourseFile = Callable[..., Path]


def test_a_course_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=r"nowhere\.yaml: no such course file") as caught:
        Course.load(tmp_path / "nowhere.yaml")
    assert caught.value.exit_code == 2


def test_yaml_that_does_not_parse_is_reported_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "course.yaml"
    file.write_text("name: small\nlogs: {path: [\n")
    with pytest.raises(CourseError, match="line 3"):
        Course.load(file)


def test_every_problem_is_reported_at_once(course_file: CourseFile) -> None:
    file = course_file(
        name="Small Course",
        logs={"path": "missing.csv", "colour": "red"},
        columns={"student": "who"},
        assignments={"path": "nothing_here"},
        semesters={"train": ["one"], "test": ["one"]},
    )
    with pytest.raises(CourseError) as caught:
        Course.load(file)
    message = str(caught.value)
    for expected in (
        "`name`",
        "missing.csv does not exist",
        "`logs.colour`",
        "nothing_here",
        "semesters.test",
    ):
        assert expected in message
    assert len(message.splitlines()) == 5


def test_columns_that_a_table_needs_are_asked_for(course_file: CourseFile) -> None:
    with pytest.raises(CourseError) as caught:
        Course.load(course_file(columns={"student": "who", "code": "text"}))
    for expected in ("`assignment` is missing", "`semester` is missing", "`timestamp` or `attempt`"):
        assert expected in str(caught.value)


def test_a_column_that_describes_people_is_refused_unless_asked_for_by_name(course_file: CourseFile) -> None:
    mapping = {"student": "id", "assignment": "task", "code": "code", "semester": "term", "attempt": "n"}
    with pytest.raises(CourseError, match="describes people"):
        Course.load(course_file(columns={**mapping, "label": "Gender"}))
    asked = Course.load(course_file(columns={**mapping, "demographics": ["Gender"]}))
    assert asked.columns.demographics == ["Gender"]


def test_an_empty_assignments_folder_is_refused(course_file: CourseFile, tmp_path: Path) -> None:
    file = course_file()
    (file.parent / "bare").mkdir()
    file.write_text(file.read_text().replace("path: assignments", "path: bare"))
    with pytest.raises(CourseError, match="holds no folder of an assignment"):
        Course.load(file)


def test_paths_start_at_the_course_file(
    course_file: CourseFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = course_file()
    monkeypatch.chdir(tmp_path)
    assert Course.load(file.relative_to(tmp_path)).assignments_folder.is_dir()


def test_years_may_be_written_as_numbers(course_file: CourseFile) -> None:
    course = Course.load(course_file(semesters={"train": [2015, 2016], "test": [2017]}))
    assert course.semesters.train == ["2015", "2016"]
    assert course.semesters.test == ["2017"]


def test_kinds_without_a_submission_are_refused(course_file: CourseFile) -> None:
    with pytest.raises(CourseError, match=r"logs\.kinds.*add it, as `Submit: submission`"):
        Course.load(course_file(logs={"path": "log.csv", "kinds": {"Hint": "message"}}))


def test_a_course_without_assignments_can_be_loaded_for_a_first_look_alone(course_file: CourseFile) -> None:
    file = course_file(assignments={"path": "none_yet"})
    with pytest.raises(CourseError, match=r"none_yet is not a folder.*`tutee preview` works without"):
        Course.load(file)
    assert Course.load(file, assignments=False).load_assignments(required=False) == ({}, {})
