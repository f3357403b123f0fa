"""A third semester of the embedded class arrives in the folder of logs, and is taken away again."""

import csv
import subprocess
import sys

import polars as pl
import pytest
import yaml

from tutee_grader import grade_table
from tutee_serializer.course import Course
from tutee_serializer.dialogs.selection import SerializeConfig
from tutee_serializer.dialogs.serialize import serialize
from tutee_serializer.ingest.ingest import IngestConfig, parse_log

SEMESTERS = {"2023-autumn": 6, "2024-autumn": 4, "2025-autumn": 4}
KEY = b"a key only for tests"


@pytest.fixture(scope="module")
def files(demo, tmp_path_factory):
    """The log of each semester, as bytes: Latin-1 keeps lines of any encoding."""
    out = tmp_path_factory.mktemp("class") / "log.csv"
    options = [part for name, count in SEMESTERS.items() for part in ("--semester", f"{name}={count}")]
    command = [sys.executable, str(demo / "simulator"), "--out", str(out), "--seed", "7", *options]
    subprocess.run(command, check=True, capture_output=True)
    with out.open(encoding="latin-1", newline="") as file:
        header, *rows = csv.reader(file)
    logs = {}
    for semester in SEMESTERS:
        logs[semester] = out.parent / f"{semester}.csv"
        with logs[semester].open("w", encoding="latin-1", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [header, *(row for row in rows if row[header.index("semester")] == semester)]
            )
    return {semester: path.read_bytes() for semester, path in logs.items()}


@pytest.fixture(scope="module")
def course(demo, tmp_path_factory):
    """The embedded course, with a folder of logs in the place of its simulator."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "logs").mkdir()
    values = yaml.safe_load((demo / "course.yaml").read_text())
    del values["simulator"]
    values["logs"]["path"] = "logs"
    values["assignments"]["path"] = str(demo / "assignments")
    (folder / "course.yaml").write_text(yaml.safe_dump(values))
    return Course.load(folder / "course.yaml")


def _tables(course, cache):
    result = parse_log(course, IngestConfig(), KEY)
    verdicts = grade_table(
        result.submissions, course.load_assignments()[0], cache / "partitions", cache=cache / "verdicts"
    )
    dialogs, _ = serialize(result.submissions, verdicts, course, SerializeConfig(), "edits")
    return result, dialogs


def _semesters(dialogs, *splits):
    return set(dialogs.filter(pl.col("split").is_in(splits))["semester"])


def test_the_newest_semester_is_tested_on_the_former_one_trained_on_and_the_way_back_is_exact(
    course, files, tmp_path
):
    logs = course.folder / "logs"
    for semester in ("2023-autumn", "2024-autumn"):
        (logs / f"{semester}.csv").write_bytes(files[semester])
    result, dialogs = _tables(course, tmp_path)
    assert _semesters(dialogs, "train", "validation") == {"2023-autumn"}
    assert _semesters(dialogs, "test") == {"2024-autumn"}

    (logs / "2025-autumn.csv").write_bytes(files["2025-autumn"])
    later, more = _tables(course, tmp_path)
    assert later.account.semesters == [
        "semesters: train 2023-autumn, 2024-autumn; test 2025-autumn (the latest)"
    ]
    assert _semesters(more, "train", "validation") == {"2023-autumn", "2024-autumn"}
    assert _semesters(more, "test") == {"2025-autumn"}
    # What the new file adds takes nothing away.
    assert set(dialogs["dialog_id"]) < set(more["dialog_id"])

    (logs / "2025-autumn.csv").unlink()
    again, same = _tables(course, tmp_path)
    assert same.equals(dialogs)
    assert again.submissions.equals(result.submissions)
    assert again.quarantine.equals(result.quarantine)
    assert again.account == result.account
