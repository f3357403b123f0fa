"""Whatever is wrong with what the user brings: one clear message, the right exit code, before any work."""

import contextlib
import os
import re
import subprocess
from pathlib import Path

import polars as pl
import pytest

from tutee_serializer.ingest.account import RowAccount
from tutee_serializer.schemas import SUBMISSIONS


def remove(project, file: str) -> None:
    path = project.folder / file
    path.unlink()


CASES = {
    "no such course file": (
        lambda project: None,
        "courses/nowhere.yaml",
        ["courses/nowhere.yaml", "no such course file"],
    ),
    "course file that is no YAML": (
        lambda project: project.edit("courses/small/course.yaml", "name: small", "name: [small"),
        "small",
        ["courses/small/course.yaml", "YAML"],
    ),
    "unknown key": (
        lambda project: project.edit("courses/small/course.yaml", "synthetic", "madeup"),
        "small",
        ["courses/small/course.yaml", "`madeup`"],
    ),
    "no log": (
        lambda project: remove(project, "courses/small/log.csv"),
        "small",
        ["courses/small/course.yaml", "`logs.path`", "log.csv"],
    ),
    "no assignment folder": (
        lambda project: project.edit("courses/small/course.yaml", "path: assignments", "path: tasks"),
        "small",
        ["courses/small/course.yaml", "`assignments.path`", "tasks"],
    ),
    "no such preset": (
        lambda project: project.edit("params.yaml", "preset: tiny", "preset: huge"),
        "small",
        ["presets/huge.yaml", "tiny"],
    ),
    "unknown parameter": (
        lambda project: project.edit("params.yaml", "report: {}", "report: {resample: 3}"),
        "small",
        ["params.yaml", "`report.resample`"],
    ),
    "course not listed": (
        lambda project: project.add_course("other", listed=False),
        "courses/other/course.yaml",
        ["params.yaml", "  other: courses/other/course.yaml"],
    ),
    "not a project": (
        lambda project: remove(project, "params.yaml"),
        "courses/small/course.yaml",
        ["params.yaml: missing"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_is_said_before_any_work(project, case: str, monkeypatch, capsys) -> None:
    from flows.cli import main

    spoil, course, expected = CASES[case]
    spoil(project)
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr("sys.argv", ["tutee", "retrain", course])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert all(part in said for part in expected), said
    assert not (project.folder / "data").exists()


def test_a_message_without_a_traceback_from_the_command_itself(project) -> None:
    done = project.tutee("retrain", "courses/nowhere.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("tutee: courses/nowhere.yaml: no such course file")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("student,assignment,code,semester,attempt\n", ["log.csv", "no row"]),
        ("student,assignment,program,semester,attempt\na,double,pass,one,1\n", ["columns.code", "program"]),
        (
            "student,assignment,code,semester,attempt\na,triple,pass,one,1\n",
            ["not one row", "unknown assignment"],
        ),
        ("", ["log.csv"]),
    ],
    ids=["empty log", "unknown column", "every row bad", "no byte"],
)
def test_a_log_that_cannot_be_used(project, log: str, expected: list[str]) -> None:
    (project.folder / "courses/small/log.csv").write_text(log)
    done = project.tutee("ingest", "small")
    assert done.returncode == 2, done.stderr
    assert all(part in done.stderr for part in expected), done.stderr
    assert "Traceback" not in done.stderr


def test_a_stage_out_of_order_names_the_one_before(project) -> None:
    done = project.tutee("serialize", "small")
    assert done.returncode == 2
    assert "tutee ingest" in done.stderr


def test_a_table_of_an_older_version_is_said_with_the_way_out(project) -> None:
    """By a command; `tutee status` says it and goes on."""
    data = project.folder / "data/small"
    data.mkdir(parents=True)
    older = pl.DataFrame(schema={name: kind for name, kind in SUBMISSIONS.items() if name != "messages"})
    older.write_parquet(data / "submissions.parquet")
    said = (
        "data/small/submissions.parquet: written by another version of tutee: `messages` is missing; "
        "remove it, then run `tutee ingest`"
    )
    done = project.tutee("export", "small", "exported")
    assert done.returncode == 2
    assert done.stderr == f"tutee: {said}\n"
    (data / "verdicts.parquet").touch()
    RowAccount("small", True, "", [], [], [], {}, {}, {}, [], []).save(data / "account.json")
    done = project.tutee("status", "small")
    assert done.returncode == 0, done.stderr
    assert f"drift       {said}\n" in done.stdout


def test_a_reference_solution_that_fails_ends_with_1(project) -> None:
    project.edit("courses/small/assignments/double/solution.py", "n * 2", "n")
    done = project.tutee("validate", "small")
    assert done.returncode == 1
    assert "double: its reference solution gets grade 0, not 100" in done.stderr


@pytest.mark.parametrize("command", ["ingest", "preview", "validate"])
def test_semesters_that_are_left_out_or_asked_for_in_vain_are_named(project, command: str) -> None:
    project.edit("courses/small/course.yaml", "test: [two]", "test: [three]")
    done = project.tutee(command, "small")
    said = done.stdout + done.stderr
    assert "no submission is of `semesters.test` three; the log has submissions of one (24)" in said
    assert "semester two is left out with 24 rows" in said
    assert done.returncode == (0 if command == "preview" else 2)


def test_a_folder_that_cannot_be_written(project) -> None:
    (project.folder / "data").write_text("a file where a folder should be")
    (project.folder / "models").write_text("and another one")
    done = project.tutee("retrain", "small")
    assert done.returncode == 3
    assert "data: cannot be written" in done.stderr and "models: cannot be written" in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of its own, of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system takes root, in a container that allows it")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_noticed_before_the_run(project, small_disk: Path) -> None:
    for path in project.folder.iterdir():
        if path.name not in ("disk", ".dvc"):
            (small_disk / path.name).symlink_to(path)
    (small_disk / ".dvc").mkdir()
    done = type(project)(small_disk).tutee("retrain", "small")
    assert done.returncode == 3
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_fills_up_during_a_stage(project, small_disk: Path) -> None:
    (project.folder / "data").symlink_to(small_disk)
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)
    done = project.tutee("ingest", "small")
    assert done.returncode == 3, done.stderr
    assert "disk is full" in done.stderr or "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            ("rollout", "sft", "small"),
            "small/tiny/dialogs.parquet: missing; run `tutee serialize` first",
        ),
        (("report", "small"), "data/small/tiny/rollouts: no rollouts; run `tutee rollout` first"),
        (("rollout", "icl", "small"), "'icl' names no student; it may be a method (copy, nearest, "),
        (("train", "icl", "small"), "method 'icl' is not one of base, "),
    ],
    ids=["no dialogs", "no rollouts", "rollout of no method", "training by no method"],
)
def test_a_stage_that_cannot_begin_names_the_way_out(
    project, command: tuple[str, ...], expected: str
) -> None:
    done = project.tutee(*command)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ("[base, magic]", "there is no method magic; there are base, "),
        ("[sft]", "base is missing"),
        ("[base, sft, kto]", "`kto`: missing, and `methods` of params.yaml asks for it"),
    ],
)
def test_methods_that_cannot_be_compared_are_said_before_any_work(
    project, methods: str, expected: str
) -> None:
    preset = project.folder / "presets/tiny.yaml"
    preset.write_text(re.sub(r"(?ms)^kto:.*?^(?=\w)", "", preset.read_text()))
    project.edit("params.yaml", "[base, para, sft, dpo, dapo]", methods)
    done = project.tutee("retrain", "small")
    assert done.returncode == 2
    assert expected in done.stderr
    assert not (project.folder / "data").exists()
