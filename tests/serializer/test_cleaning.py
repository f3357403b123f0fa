"""The rules of `logs.clean`, on small logs."""

import ast
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tutee_serializer.course import Course
from tutee_serializer.errors import CourseError
from tutee_serializer.ingest.cleaning import (
    FEWEST,
    find_truncated,
    suggest,
    without_trailing_backslashes,
)
from tutee_serializer.ingest.ingest import IngestConfig, IngestResult, parse_log

KEY = b"a key only for tests"
Read = Callable[..., IngestResult]


@pytest.fixture
def read(small_course: Callable[..., Course]) -> Read:
    """Parses a log of the given programs, one a student."""

    def run(programs: list[str], clean: list[str], first_look: bool = False) -> IngestResult:
        rows = {
            "student": [f"s{number}" for number in range(len(programs))],
            "assignment": "double",
            "semester": "one",
            "attempt": "1",
            "time": "2024-10-01T10:00:00Z",
            "score": "1",
            "code": programs,
        }
        log = pl.DataFrame(rows).write_csv()
        course = small_course(log, logs={"path": "log.csv", "clean": clean})
        return parse_log(course, IngestConfig(max_code_bytes=1 << 20), KEY, first_look=first_look)

    return run


def cleaned(code: str) -> str:
    return pl.DataFrame({"code": [code]}).select(without_trailing_backslashes(pl.col("code"))).item()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print(1)\\", "print(1)"),
        ("print(1)\\\n", "print(1)\n"),
        ("print(1) \\\\ \n", "print(1)  \n"),
        ("a = 1\\\nb = 2\\\n", "a = 1\nb = 2\n"),
        ("a = 1\\\n\\\nb = 2\\", "a = 1\n\nb = 2"),
        ("a = 1 + \\\n    2\n", "a = 1 + \\\n    2\n"),
        ("a = 1 + \\\n    2\nb = 3\\", "a = 1 + \\\n    2\nb = 3"),
        ("print('\\n')", "print('\\n')"),
    ],
)
def test_backslashes_go_from_the_end_and_from_every_line_that_has_one(code: str, expected: str) -> None:
    assert cleaned(code) == expected


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@given(st.text("ab=1+\\\n \t#'", max_size=40))
def test_a_program_that_python_reads_means_the_same_after_the_rule(code: str) -> None:
    try:
        tree = ast.dump(ast.parse(code))
    except SyntaxError:
        assume(False)
    assert ast.dump(ast.parse(cleaned(code))) == tree


def test_each_rule_is_counted_and_the_rows_add_up(read: Read) -> None:
    good = ["x = 1\n", "y = 2\n"]
    stray = ["x = 3\\", "y = 4\\\n"]
    cut = [f"n = [{number}, 10, 11, 1" for number in range(FEWEST)]
    result = read([*good, *stray, *cut], ["trailing_backslash", "truncated"])
    assert set(result.submissions["code"]) == {*good, "x = 3", "y = 4\n"}
    assert result.account.notes == {
        "programs to which rule trailing_backslash applied": 2,
        "programs to which rule truncated applied": FEWEST,
    }
    assert {step.step: step.rows for step in result.account.flow if step.kind == "filter"} == {
        "truncated program": FEWEST
    }
    assert result.account.rows("in") == result.account.rows("kept", "quarantine", "filter")


def test_a_rule_that_found_nothing_says_so_too(read: Read) -> None:
    assert list(read(["x = 1\n"], ["truncated"]).account.notes.values()) == [0]


def test_without_the_rules_programs_stay_as_they_are_and_a_first_look_suggests_them(read: Read) -> None:
    programs = [f"n = [{number}, 10, 11, 1\\" for number in range(FEWEST)]
    result = read(programs, [], first_look=True)
    assert sorted(result.submissions["code"]) == programs
    assert [line.split(": write ")[1] for line in result.suggestions] == [
        "`logs: {clean: [trailing_backslash]}`",
        "`logs: {clean: [truncated]}`",
    ]


def test_a_few_odd_programs_are_the_students_own(read: Read) -> None:
    programs = [f"n = [{number}, 10, 11, 1\\" for number in range(FEWEST - 1)]
    assert read(programs, [], first_look=True).suggestions == []


def test_a_rule_that_is_on_is_not_suggested_again_and_stays_in_the_line_for_the_other() -> None:
    rows = pl.DataFrame({"source": "log.csv", "code": [f"n = [{number}, 1\\" for number in range(FEWEST)]})
    assert [line.split(": write ")[1] for line in suggest(rows.lazy(), ["trailing_backslash"])] == [
        "`logs: {clean: [trailing_backslash, truncated]}`"
    ]


def truncated(codes: list[str], sources: list[str] | None = None) -> set[str]:
    table = pl.DataFrame({"source": sources or ["log.csv"] * len(codes), "code": codes})
    return set(find_truncated(table.lazy())["code"])


CUT = [f"n = [{number}, 10, 11, 1" for number in range(FEWEST)]


def test_programs_at_the_limit_that_are_python_are_cut_as_well_where_others_are_not() -> None:
    at_a_line = "n = 1\n" + "#" * (len(CUT[0]) - len("n = 1\n"))
    assert truncated([*CUT, at_a_line, "n = 1"]) == {*CUT, at_a_line}


def test_long_programs_of_one_length_that_are_python_are_whole() -> None:
    assert truncated([f"n = [{number}, 10, 11]" for number in range(FEWEST)]) == set()


def test_one_program_handed_in_often_is_no_limit() -> None:
    assert truncated([CUT[0]] * FEWEST) == set()


def test_each_file_has_a_limit_of_its_own() -> None:
    longer = [f"m = [{number}, 10, 11, 12, 1" for number in range(FEWEST)]
    sources = ["a.csv"] * FEWEST + ["b.csv"] * FEWEST
    assert truncated([*CUT, *longer], sources) == {*CUT, *longer}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("s = ['é', {}", "s = ['ee', {}"),
        ("n = [\n{}, 1", "n = [10{}, 1"),
        ("n = [\n\t{}, 1", "n = [1000{}, 1"),
    ],
    ids=["bytes", "line breaks as two characters", "tabs as two as well"],
)
def test_a_limit_that_does_not_count_plain_characters(one: str, other: str) -> None:
    ones, others = ([pattern.format(number) for number in range(FEWEST)] for pattern in (one, other))
    assert truncated([*ones, *others, "n = 1"]) == {*ones, *others}


def test_an_empty_table_calls_for_no_rule() -> None:
    nothing = pl.DataFrame(schema={"source": pl.String, "code": pl.String})
    assert list(suggest(nothing.lazy(), [])) == []


def test_an_unknown_rule_is_refused_with_those_there_are(course_file: Callable[..., Path]) -> None:
    with pytest.raises(CourseError, match=r"logs\.clean(.|\n)*trailing_backslash"):
        Course.load(course_file(logs={"path": "log.csv", "clean": ["tidy"]}))
