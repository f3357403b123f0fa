import contextlib
from pathlib import Path

import pytest

from flows.parameters import Parameters, load
from tutee_grader.errors import InputError


def test_everything_wrong_is_said_at_once(project) -> None:
    (project.folder / "params.yaml").write_text(
        "courses: {small: courses/small/course.yaml}\n"
        "preset: huge\nreport: {resamplez: 3}\ngate: {min_coverage: 2}\n"
    )
    project.edit("courses/small/course.yaml", "train: [one]", "train: []")
    with contextlib.chdir(project.folder), pytest.raises(InputError) as caught:
        load("small", preset="huge")
    for part in ("report.resamplez", "gate.min_coverage", "semesters.train", "presets/huge.yaml"):
        assert part in str(caught.value)


def test_a_course_is_found_by_name_and_by_file(project) -> None:
    with contextlib.chdir(project.folder):
        assert load("small").course == load("courses/small/course.yaml").course


def test_a_course_that_is_not_listed_is_told_its_line(project) -> None:
    file = project.add_course("other", listed=False).relative_to(project.folder)
    with contextlib.chdir(project.folder), pytest.raises(InputError) as caught:
        load(str(file))
    assert f"  other: {file}" in str(caught.value).splitlines()


def test_two_courses_of_one_name_are_refused(project) -> None:
    project.add_course("other", listed=False)
    project.edit("courses/other/course.yaml", "name: other", "name: small")
    with contextlib.chdir(project.folder), pytest.raises(InputError, match="calls itself small too"):
        load("courses/other/course.yaml")


def test_a_course_goes_before_the_parameters_in_how_its_dialogs_are_selected(project) -> None:
    project.edit("params.yaml", "serialize: {}", "serialize: {min_turns: 4, seed: 7}")
    project.edit(
        "courses/small/course.yaml", "name: small", "name: small\nserialize: {min_turns: 3, min_logged: 6}"
    )
    other = project.add_course("other")
    with contextlib.chdir(project.folder):
        small, unchanged = load("small").parameters.serialize, load(str(other)).parameters.serialize
    assert (small.min_turns, small.min_logged, small.seed) == (3, 6, 7)
    assert (unchanged.min_turns, unchanged.min_logged, unchanged.seed) == (4, 1, 7)


def test_what_is_wrong_with_a_courses_selection_is_said_with_all_else(project) -> None:
    project.edit("params.yaml", "report: {}", "report: {resamplez: 3}")
    project.edit(
        "courses/small/course.yaml", "name: small", "name: small\nserialize: {min_turnz: 3, seed: x}"
    )
    with contextlib.chdir(project.folder), pytest.raises(InputError) as caught:
        load("small")
    lines = str(caught.value).splitlines()
    for part in ("report.resamplez", "serialize: `min_turnz`: unknown key", "serialize: `seed`"):
        assert any(part in line for line in lines)
    assert sum(line.startswith("courses/small/course.yaml: ") for line in lines) == 2


def test_a_course_and_parameters_that_contradict_each_other_are_refused(project) -> None:
    project.edit("params.yaml", "serialize: {}", "serialize: {scope: course}")
    project.edit("courses/small/course.yaml", "name: small", "name: small\nserialize: {split: assignment}")
    with contextlib.chdir(project.folder), pytest.raises(InputError, match="needs scope: assignment"):
        load("small")


def test_an_empty_section_has_its_defaults(project) -> None:
    file = project.folder / "params.yaml"
    before = Parameters.load(file)
    project.edit("params.yaml", "report: {}", "report:")
    assert Parameters.load(file) == before


def test_a_section_that_stages_depend_on_must_be_there(project) -> None:
    project.edit("params.yaml", "report: {}\n", "")
    with pytest.raises(InputError, match="`report`: missing"):
        Parameters.load(project.folder / "params.yaml")


def test_a_preset_names_every_section(project) -> None:
    project.edit("presets/qwen3-4b.yaml", "base: null", "# base: null")
    with contextlib.chdir(project.folder), pytest.raises(InputError, match="`base: null`"):
        load("small", preset="qwen3-4b")


def test_a_preset_has_to_be_listed(project) -> None:
    with contextlib.chdir(project.folder), pytest.raises(InputError, match="`presets`: qwen3-4b is missing"):
        load("small", preset="qwen3-4b")


def test_the_presets_of_the_repository_are_fine(project) -> None:
    with contextlib.chdir(project.folder):
        learners = ("learner-smollm2", "reasoner-smollm2")  # no presets of the pipeline
        for preset in (file for file in sorted(Path("presets").glob("*.yaml")) if file.stem not in learners):
            project.edit("params.yaml", "presets: [", f"presets: [{preset.stem}, ")
            assert load("small", preset=preset.stem).preset.name == preset.stem
