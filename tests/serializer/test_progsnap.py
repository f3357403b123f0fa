import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_serializer.course import Course
from tutee_serializer.errors import LogError
from tutee_serializer.ingest.ingest import IngestConfig, IngestResult, parse_log
from tutee_serializer.logs.export import export_progsnap

KEY = b"a key only for tests"
METADATA = {
    "Version": "1.0",
    "IsEventOrderingConsistent": "true",
    "EventOrderScope": "Restricted",
    "EventOrderScopeColumns": "SubjectID",
    "CodeStateRepresentation": "Table",
}
MAIN = {
    "EventType": ["Submit", "File.Edit", "Submit"],
    "EventID": ["e1", "e2", "e3"],
    "Order": ["7", "8", "9"],
    "SubjectID": ["mara-0001"] * 3,
    "ToolInstances": ["Python"] * 3,
    "CodeStateID": ["a", "a", "b"],
    "ServerTimestamp": ["2024-10-01T10:00:00", "2024-10-01T10:01:00", "2024-10-01T10:02:00"],
    "TermID": ["one"] * 3,
    "ProblemID": ["double"] * 3,
    "Score": ["0.5", "", "1"],
}
CODE = {"a": "def double(n):\n    return n\n", "b": "def double(n):\n    return 2 * n\n"}

Dataset = Callable[..., IngestResult]


@pytest.fixture
def dataset(course_file: Callable[..., Path], tmp_path: Path) -> Dataset:
    """Writes a ProgSnap2 data set with the given changes and reads it as a course's log."""

    def run(
        main: dict[str, list[str]] | None = None,
        metadata: dict[str, str] | None = None,
        metadata_file: str = "DatasetMetadata.csv",
        states: Callable[[Path], None] | None = None,
        kinds: dict[str, str] | None = None,
        **changes: Any,
    ) -> IngestResult:
        folder = course_file().parent / "snap"
        (folder / "CodeStates").mkdir(parents=True)
        pl.DataFrame(main or MAIN).write_csv(folder / "MainTable.csv")
        properties = METADATA | (metadata or {})
        pl.DataFrame({"Property": list(properties), "Value": list(properties.values())}).write_csv(
            folder / metadata_file
        )
        if states:
            states(folder / "CodeStates")
        else:
            table = pl.DataFrame({"CodeStateID": list(CODE), "Code": list(CODE.values())})
            table.write_csv(folder / "CodeStates" / "CodeStates.csv")
        logs = {"path": "snap", "format": "progsnap2", "kinds": kinds or {}}
        file = course_file(logs=logs, **{"columns": None, **changes})
        course = Course.load(file)
        return parse_log(course, IngestConfig(), KEY)

    return run


def test_submissions_are_read_and_other_events_counted(dataset: Dataset) -> None:
    result = dataset()
    assert result.submissions["code"].to_list() == list(CODE.values())
    assert result.submissions["logged_score"].to_list() == [50.0, 100.0]
    assert result.submissions["source_row"].to_list() == [1, 3]
    assert {s.step: s.rows for s in result.account.flow}[
        "event File.Edit, neither a submission nor a message"
    ] == 1


def test_the_scored_runs_of_codeworkout_are_submissions(dataset: Dataset) -> None:
    main = MAIN | {"EventType": ["Run.Program", "Run.Program", "Run.Program"], "Score": ["0.5", "", "1"]}
    result = dataset(main, metadata_file="Metadata.csv")
    assert result.submissions["logged_score"].to_list() == [50.0, 100.0]


def test_the_score_of_a_submission_may_stand_at_the_run_it_set_off(dataset: Dataset) -> None:
    main = MAIN | {
        "EventType": ["Submit", "Run.Test", "Submit"],
        "ParentEventID": ["", "e1", ""],
        "Score": ["", "0.25", "1"],
    }
    assert dataset(main).submissions["logged_score"].to_list() == [25.0, 100.0]


def test_the_declared_order_goes_before_the_clock(dataset: Dataset) -> None:
    result = dataset(MAIN | {"Order": ["9", "8", "7"]})
    assert result.submissions["code"].to_list() == [CODE["b"], CODE["a"]]


def test_an_order_that_holds_only_elsewhere_gives_way_to_the_clock(dataset: Dataset) -> None:
    result = dataset(MAIN | {"Order": ["9", "8", "7"]}, {"EventOrderScopeColumns": "SubjectID;SessionID"})
    assert result.submissions["code"].to_list() == [CODE["a"], CODE["b"]]


def test_a_data_set_that_nothing_orders_is_refused(dataset: Dataset) -> None:
    main = {name: values for name, values in MAIN.items() if name not in ("Order", "ServerTimestamp")}
    with pytest.raises(LogError, match="nothing orders its events"):
        dataset(main, {"EventOrderScope": "None"})


def test_offsets_in_their_own_column_are_read(dataset: Dataset) -> None:
    result = dataset(MAIN | {"ServerTimezone": ["-0500"] * 3})
    assert result.submissions["submitted_at"].dt.hour().to_list() == [15, 15]


def as_folders(place: Path) -> None:
    for state, code in CODE.items():
        (place / state).mkdir()
        (place / state / "main.py").write_text(code)


def test_code_states_may_be_folders(dataset: Dataset) -> None:
    result = dataset(metadata={"CodeStateRepresentation": "Directory"}, states=as_folders)
    assert result.submissions["code"].to_list() == list(CODE.values())


def test_code_states_may_be_commits(dataset: Dataset) -> None:
    commits: list[str] = []
    main = {name: list(values) for name, values in MAIN.items()}

    def as_commits(place: Path) -> None:
        repository = place / "project"
        repository.mkdir()
        identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]

        def git(*arguments: str) -> str:
            command = ["git", "-C", str(repository), *identity, *arguments]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

        git("init", "-q")
        for code in CODE.values():
            (repository / "main.py").write_text(code)
            git("add", "main.py")
            git("commit", "-q", "-m", "state")
            commits.append(git("rev-parse", "HEAD"))
        table = place.parent / "MainTable.csv"
        states = [commits[0], commits[0], commits[1]]
        pl.read_csv(table, infer_schema=False).with_columns(CodeStateID=pl.Series(states)).write_csv(table)

    result = dataset(main, {"CodeStateRepresentation": "Git"}, states=as_commits)
    assert result.submissions["code"].to_list() == list(CODE.values())


def test_a_code_state_that_is_missing_or_ambiguous_goes_to_quarantine(dataset: Dataset) -> None:
    def broken(place: Path) -> None:
        as_folders(place)
        (place / "b" / "main.py").unlink()
        (place / "a" / "second.py").write_text("pass\n")
        (place / "c").mkdir()
        (place / "c" / "main.py").write_text("pass\n")

    main = {name: [*values, values[-1]] for name, values in MAIN.items()}
    main |= {"CodeStateID": ["a", "a", "b", "c"], "EventID": ["e1", "e2", "e3", "e4"]}
    result = dataset(main, {"CodeStateRepresentation": "Directory"}, states=broken)
    assert sorted(result.quarantine.select("source_row", "reason").iter_rows()) == [
        (1, "the code state has 2 files, and CodeStateSection names none of them"),
        (3, "the code state is missing"),
    ]


def test_without_metadata_the_clock_orders_the_events_and_a_note_says_so(dataset: Dataset) -> None:
    result = dataset(MAIN | {"Order": ["9", "8", "7"]}, metadata_file="Other.csv")
    assert result.submissions["code"].to_list() == [CODE["a"], CODE["b"]]
    assert [(note[:40], count) for note, count in result.account.notes.items()] == [
        ("data sets without DatasetMetadata.csv (b", 1)
    ]


def test_an_archive_without_metadata_reads_like_the_folder(dataset: Dataset, tmp_path: Path) -> None:
    from_folder = dataset(metadata_file="Other.csv")
    course_folder = tmp_path / "course"
    (course_folder / "snap" / "Other.csv").unlink()
    shutil.make_archive(str(course_folder / "export"), "zip", course_folder / "snap")
    file = course_folder / "course.yaml"
    file.write_text(file.read_text().replace("path: snap", "path: export.zip"))
    from_archive = parse_log(Course.load(file), IngestConfig(), KEY)
    assert from_archive.submissions.equals(from_folder.submissions)
    assert from_archive.account.notes == from_folder.account.notes


def test_folders_of_code_without_metadata_are_refused_with_the_way_out(dataset: Dataset) -> None:
    with pytest.raises(LogError, match="CodeStateRepresentation is Directory or Git"):
        dataset(metadata_file="Other.csv", states=as_folders)


def test_a_score_of_na_is_none_and_its_run_is_no_submission(dataset: Dataset) -> None:
    main = MAIN | {"EventType": ["Run.Program"] * 3, "Score": ["0.5", "NA", "1"]}
    result = dataset(main)
    assert result.submissions["logged_score"].to_list() == [50.0, 100.0]
    assert result.quarantine.is_empty()


HINTED = MAIN | {
    "EventType": ["Submit", "X-HintRequest", "Submit", "Intervention", "Intervention", "File.Edit"],
    "EventID": ["e1", "e2", "e3", "e4", "e5", "e6"],
    "Order": ["1", "2", "3", "4", "5", "6"],
    "SubjectID": ["mara-0001"] * 6,
    "ToolInstances": ["Python"] * 6,
    "CodeStateID": ["a", "a", "b", "lost", "b", "b"],
    "ServerTimestamp": [f"2024-10-01T10:0{minute}:00" for minute in range(6)],
    "TermID": ["one"] * 6,
    "ProblemID": ["double"] * 6,
    "Score": ["0.5", "", "1", "", "", ""],
    "InterventionMessage": ["", "", "", "Well done.", "NA", ""],
    "X-HintText": ["", "Twice is two times.", "", "NA", "", ""],
}
KINDS = {"Submit": "submission", "X-HintRequest": "message", "Intervention": "message"}


def test_events_may_be_messages_whose_text_has_a_column_of_its_own_or_the_standard_one(
    dataset: Dataset,
) -> None:
    result = dataset(HINTED, kinds=KINDS, columns={"feedback": "X-HintText"})
    messages = [
        [(message["author"], message["text"]) for message in row] for row in result.submissions["messages"]
    ]
    assert messages == [[("hint", "Twice is two times.")], [("tutor", "Well done.")]]
    assert {step.step: step.rows for step in result.account.flow} == {
        "rows in the log": 6,
        "event File.Edit, neither a submission nor a message": 1,
        "blank message": 1,
        "messages kept with their submissions": 2,
        "submissions kept": 2,
    }


def test_messages_without_any_column_of_text_are_refused_with_the_columns_there_are(
    dataset: Dataset,
) -> None:
    with pytest.raises(LogError, match=r"Intervention, X-HintRequest are messages(.|\n)*found: EventType"):
        dataset(MAIN, kinds=KINDS)


def test_kinds_may_name_another_event_as_the_submission(dataset: Dataset) -> None:
    result = dataset(kinds={"File.Edit": "submission"})
    assert result.submissions["source_row"].to_list() == [2]


def test_what_is_exported_reads_back_the_same(dataset: Dataset, tmp_path: Path) -> None:
    first = dataset().submissions
    course_folder = tmp_path / "course"
    export_progsnap(first, course_folder / "exported")
    file = course_folder / "course.yaml"
    file.write_text(file.read_text().replace("path: snap", "path: exported"))
    course = Course.load(file)
    again = parse_log(course, IngestConfig(), KEY).submissions
    same = ["semester", "assignment", "order", "submitted_at", "code", "logged_score"]
    assert again.select(same).equals(first.select(same))
    assert again["student"].n_unique() == first["student"].n_unique()


def test_columns_that_describe_people_go_to_their_own_table(dataset: Dataset) -> None:
    result = dataset(MAIN | {"X-Gender": ["f"] * 3}, columns={"demographics": ["X-Gender"]})
    assert result.demographics is not None
    assert result.demographics.select("X-Gender").rows() == [("f",)]
    assert result.submissions.height == 2


def test_a_column_that_the_course_file_names_goes_before_the_standard_one(dataset: Dataset) -> None:
    main = MAIN | {"X-Grade": ["0.1", "", "0.2"], "X-Try": ["2", "", "1"]}
    result = dataset(main, columns={"score": "X-Grade", "attempt": "X-Try"})
    assert result.submissions["logged_score"].to_list() == [20.0, 10.0]
