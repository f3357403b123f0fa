"""The log of events: what a line holds, what it never holds, and how large the file gets."""

import json
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import event_log
from flows.event_log import logged
from flows.places import Places
from tutee_grader.errors import InputError

PROGRAM = "def double(n):\n    return 'by mara-one-3'\n"


def lines(places: Places) -> list[dict]:
    return [json.loads(line) for line in places.log.read_text().splitlines()]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places("small", "tiny", tmp_path)


def test_an_event_says_when_what_of_which_course_and_how_it_ended(places: Places) -> None:
    with logged(places, "stage", stage="sft@small-tiny") as line:
        line["outcome"] = event_log.UP_TO_DATE
    (line,) = lines(places)
    assert line.pop("time")[-6:] == "+00:00"
    assert 0 <= line.pop("seconds") < 5
    assert line == {
        "event": "stage",
        "course": "small",
        "preset": "tiny",
        "stage": "sft@small-tiny",
        "outcome": "up to date",
    }


def test_an_error_is_named_by_its_type_alone(places: Places) -> None:
    with pytest.raises(InputError), logged(places, "stage", stage="ingest@small"):
        raise InputError(f"log.csv: row 7 of mara-one-3: {PROGRAM}")
    (line,) = lines(places)
    assert (line["outcome"], line["error"], line["exit_code"]) == ("failed", "InputError", 2)
    assert "mara" not in places.log.read_text() and "double" not in places.log.read_text()


def test_one_that_is_interrupted_has_failed(places: Places) -> None:
    with pytest.raises(KeyboardInterrupt), logged(places, "retrain"):
        signal.raise_signal(signal.SIGINT)
    assert lines(places)[0]["outcome"] == "failed"


@given(value=st.text())
def test_an_event_is_one_line_whatever_it_is_about(
    value: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    places = Places("small", root=tmp_path_factory.mktemp("log"))
    for _ in range(2):
        event_log.write(places, "stage", stage=value)
    assert [line["stage"] for line in lines(places)] == [value, value]


def test_the_file_is_rotated(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "MAX_BYTES", 500)
    for number in range(100):
        event_log.write(places, "stage", number=number)
    files = sorted(places.log.parent.glob("log.jsonl*"))
    assert len(files) == 1 + event_log.OLD_FILES
    assert all(file.stat().st_size <= 500 for file in files)
    assert lines(places)[-1]["number"] == 99
