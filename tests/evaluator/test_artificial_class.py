"""An artificial class to give away: who works on what, when, what it owes to whom, and its files."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tutee_evaluator.artificial_class.assemble import attempts_of, draw_work, names
from tutee_evaluator.artificial_class.attendance import Attendance
from tutee_evaluator.artificial_class.audit import audit
from tutee_evaluator.artificial_class.realism import describe, realism_table
from tutee_evaluator.artificial_class.times import Times
from tutee_evaluator.artificial_class.writing import check_folder, write_class
from tutee_evaluator.experiments.play import PLAYED
from tutee_evaluator.schemas import Outcome
from tutee_grader import Assignment
from tutee_grader.errors import InputError
from tutee_serializer.course import Course
from tutee_serializer.ingest.ingest import IngestConfig, parse_log
from tutee_serializer.ingest.privacy import pseudonym
from tutee_serializer.schemas import SUBMISSIONS

KEY = b"a key only for tests"
MONDAY = datetime(2024, 10, 7, 10, tzinfo=UTC)
RUNS, BROKEN = "compiles", "does not compile"


def attempts(*rows: tuple[str, str, datetime | None, float, str], semester: str = "one") -> pl.DataFrame:
    """Graded SUBMISSIONS: student, assignment, time, grade and status of each, in the order of attempts."""
    counts: dict[tuple[str, str], int] = {}
    table = []
    for student, assignment, at, grade, status in rows:
        order = counts[student, assignment] = counts.get((student, assignment), 0) + 1
        table.append(
            {"semester": semester, "student": student, "assignment": assignment, "order": order}
            | {"submitted_at": at, "grade": grade, "status": status}
        )
    schema = {**SUBMISSIONS, "grade": pl.Float64(), "status": pl.String()}
    return pl.DataFrame(table, schema=schema)


def log(gaps: dict[float, float], students: int = 30) -> pl.DataFrame:
    """A log in which each of the students pauses so many seconds after an attempt of each grade."""
    rows = []
    for number in range(students):
        at = MONDAY + timedelta(minutes=number)
        for grade, gap in gaps.items():
            rows.append((f"s{number}", "double", at, grade, RUNS))
            at += timedelta(seconds=gap)
        rows.append((f"s{number}", "double", at, 100.0, RUNS))
    return attempts(*rows)


def played(*programs: str, student: str = "artificial-001", assignment: str = "double") -> list[dict]:
    """The rows of a trajectory of programs, graded 0, 50, 0, 50, ..."""
    return [
        {"student": student, "assignment": assignment, "step": step, "outcome": Outcome.PROGRAM.value}
        | {"code": code, "grade": 50.0 * (step % 2), "status": RUNS, "stop_reason": "steps"}
        for step, code in enumerate(programs, 1)
    ]


def made_of(rows: list[dict], times: Times | None = None, seed: int = 0) -> pl.DataFrame:
    """The SUBMISSIONS of played rows."""
    return attempts_of(pl.DataFrame(rows, schema=PLAYED), "small", times, seed)


# --- who works on what -----------------------------------------------------------------------------------


def test_as_many_students_work_on_each_assignment_as_in_the_log() -> None:
    rows = [(f"s{n}", "a", MONDAY, 0.0, RUNS) for n in range(100)]
    rows += [(f"s{n}", "b", MONDAY + timedelta(days=7), 0.0, RUNS) for n in range(60)]
    rows += [(f"s{n}", "c", MONDAY + timedelta(days=14), 0.0, RUNS) for n in range(30, 60)]
    attendance = Attendance.fit(attempts(*rows))
    drawn = [attendance.draw(Random(number)) for number in range(4000)]
    shares = {name: sum(name in one for one in drawn) / 4000 for name in "abc"}
    assert shares == pytest.approx({"a": 1.0, "b": 0.6, "c": 0.3}, abs=0.03)
    # Nobody came back in the log.
    assert not any(one == ["a", "c"] for one in drawn)


def test_the_order_of_the_course_is_that_of_its_calendar_and_else_that_of_the_names() -> None:
    later, sooner = MONDAY + timedelta(days=9), MONDAY
    assert Attendance.fit(
        attempts(("s", "lab2", sooner, 0, RUNS), ("s", "lab10", later, 0, RUNS), ("s", "a", later, 0, RUNS))
    ).assignments == ("lab2", "a", "lab10")
    assert Attendance.fit(
        attempts(("s", "lab10", None, 0, RUNS), ("s", "lab2", later, 0, RUNS))
    ).assignments == ("lab2", "lab10")


def test_every_artificial_student_works_on_something() -> None:
    rows = [(f"s{n}", f"a{n}", MONDAY, 0.0, RUNS) for n in range(20)]  # each chance is 1 in 20
    attendance = Attendance.fit(attempts(*rows))
    work = list(draw_work(names(50), attendance, seed=1))
    assert {student for student, _ in work} == set(names(50))


def test_a_students_work_depends_on_the_seed_and_not_on_the_others() -> None:
    attendance = Attendance.fit(attempts(*[(f"s{n}", f"a{n % 7}", MONDAY, 0.0, RUNS) for n in range(20)]))
    many = list(draw_work(names(40), attendance, seed=1))
    few = set(names(10))
    assert list(draw_work(names(10), attendance, seed=1)) == [pair for pair in many if pair[0] in few]
    assert list(draw_work(names(40), attendance, seed=2)) != many


def test_names_say_that_nobody_is_real_and_sort_in_order() -> None:
    assert names(2) == ["artificial-001", "artificial-002"]
    assert names(1000) == sorted(names(1000)) and names(1000)[-1] == "artificial-1000"


# --- when ------------------------------------------------------------------------------------------------


def test_pauses_are_those_of_the_log_after_attempts_of_the_same_kind() -> None:
    times = Times.fit(log({0.0: 30, 50.0: 3000}), "one")
    assert times is not None

    def drawn(kind: str) -> float:
        return median((times.next(MONDAY, kind, Random(n)) - MONDAY).total_seconds() for n in range(501))

    assert drawn("no test passes") == pytest.approx(30, rel=0.1)
    assert drawn("some tests pass") == pytest.approx(3000, rel=0.1)
    # After a kind that the log has too few of, all pauses count.
    assert 30 <= drawn("no program that runs") <= 3000


def test_drawn_pauses_are_spread_as_those_of_the_log() -> None:
    random = Random(5)
    rows = []
    for number in range(400):
        at = MONDAY
        for _ in range(3):
            rows.append((f"s{number}", "double", at, 0.0, RUNS))
            at += timedelta(seconds=random.lognormvariate(5, 1))
    times = Times.fit(attempts(*rows), "one")
    assert times is not None
    drawn = pl.Series(
        [(times.next(MONDAY, "no test passes", Random(n)) - MONDAY).total_seconds() for n in range(4000)]
    ).log()
    assert drawn.mean() == pytest.approx(5, abs=0.1)
    assert drawn.std() == pytest.approx(1, abs=0.1)


def test_no_real_moment_is_handed_on() -> None:
    """To the second, and where the log has one pause only."""
    real = log({0.0: 30, 50.0: 3000})
    times = Times.fit(real, "one")
    assert times is not None
    begins = {times.begin("double", Random(n)) for n in range(200)}
    days = {(begin - MONDAY) / timedelta(days=1) for begin in begins}
    assert len(begins) > 150 and all(abs(day) < 1 for day in days)
    assert all(begin.microsecond == 0 for begin in begins)


@given(st.integers(0, 10**6), st.lists(st.sampled_from([0.0, 50.0]), min_size=1, max_size=6))
def test_time_goes_forward_in_each_trajectory(seed: int, grades: list[float]) -> None:
    clicks = log({0.0: 0, 50.0: 0})  # two in the same second
    times = Times.fit(pl.concat([clicks, log({0.0: 4, 50.0: 4}).with_columns(semester=pl.lit("two"))]), "one")
    rows = [{**row, "grade": grade} for row, grade in zip(played(*"abcdef"), grades, strict=False)]
    moments = made_of(rows, times, seed)["submitted_at"]
    assert (moments.diff().drop_nulls() > timedelta()).all()


def test_the_calendar_is_that_of_one_semester_and_the_pauses_of_all() -> None:
    both = pl.concat([log({0.0: 30}), log({0.0: 30}).with_columns(semester=pl.lit("two"))])
    moved = both.with_columns(
        pl.when(pl.col("semester") == "two")
        .then(pl.col("submitted_at").dt.offset_by("1y"))
        .otherwise("submitted_at")
    )
    times = Times.fit(moved, "two")
    assert times is not None
    assert {times.begin("double", Random(n)).year for n in range(50)} == {2025}
    assert len(times.gaps["no test passes"]) == 60


def test_clocks_that_ran_back_teach_nothing() -> None:
    times = Times.fit(log({0.0: -5000, 50.0: 60}), "one")
    assert times is not None
    assert "no test passes" not in times.gaps
    assert len(times.gaps["some tests pass"]) == 30


def test_without_times_in_the_log_none_are_invented() -> None:
    untimed = log({0.0: 30}).with_columns(submitted_at=pl.lit(None, pl.Datetime("us", "UTC")))
    assert Times.fit(untimed, "one") is None
    made = made_of(played("a", "b"), None, 1)
    assert made["submitted_at"].to_list() == [None, None] and made["order"].to_list() == [1, 2]


# --- attempts --------------------------------------------------------------------------------------------


def test_what_is_no_program_was_not_handed_in() -> None:
    rows = played("first", "", "second", "\0", "third", "half a character: \ufffd")
    rows[1] |= {"outcome": Outcome.GAVE_UP.value, "grade": None}
    rows[3] |= {"status": "is not text"}
    rows.append({**rows[0], "step": 7, "outcome": Outcome.UNREADABLE.value, "code": None, "grade": None})
    made = made_of(rows, None, 1)
    assert made.select("code", "order").rows() == [("first", 1), ("second", 2), ("third", 3)]


def test_the_order_in_which_trajectories_ended_does_not_matter() -> None:
    one, two = played("a", "b"), played("c", student="artificial-002")
    times = Times.fit(log({0.0: 30, 50.0: 3000}), "one")
    assert made_of([*one, *two], times, 1).equals(made_of([*two, *one], times, 1))


# --- what it owes to whom --------------------------------------------------------------------------------

SECRET = "my_own_very_long_variable_name = 'only I would ever write such a thing'\n"
COMMON = "def double(n):\n    return n + n\n"


@pytest.fixture
def real() -> pl.DataFrame:
    work = [("ada", SECRET), ("ada", SECRET), ("ada", COMMON), ("ben", COMMON), ("cem", "print(1)\n")]
    rows = [{"student": student, "code": code, "messages": []} for student, code in work]
    return pl.DataFrame(rows, schema=SUBMISSIONS)


def test_copies_of_one_students_programs_are_counted(
    real: pl.DataFrame, assignments: dict[str, Assignment]
) -> None:
    solution = str(assignments["double"].solution)
    one = pl.DataFrame([{"student": "dee", "code": solution, "messages": []}], schema=SUBMISSIONS)
    programs = ["print( 1 )", COMMON, "print(1)  # mine", solution]
    found = audit(made_of(played(*programs)), pl.concat([real, one]), assignments)
    assert (found.programs, found.verbatim) == (4, 3)
    assert found.verbatim_of_one == 1  # neither what two wrote nor the course's own solution


def test_the_longest_stretch_of_one_student_is_found(
    real: pl.DataFrame, assignments: dict[str, Assignment]
) -> None:
    programs = [COMMON, "x = 0\n" + SECRET + "print(x)\n"]
    found = audit(made_of(played(*programs)), real, assignments)
    assert found.longest == len("".join(SECRET.split()))
    assert found.longest_in == "artificial-001/double/2"
    assert audit(made_of(played(COMMON)), real, assignments).longest == 0
    assert found.long == 0 and "0.0% of the programs have one of 100 or more" in found.stretches


def test_figures_stand_beside_those_of_the_real_semesters() -> None:
    minute = timedelta(minutes=1)
    made = attempts(
        ("s", "a", MONDAY, 0, BROKEN),
        ("s", "a", MONDAY + 2 * minute, 50, RUNS),
        ("s", "a", MONDAY + 6 * minute, 100, RUNS),
        ("s", "b", MONDAY, 50, RUNS),
        ("t", "a", MONDAY, 100, RUNS),
    )
    figures = describe(made)
    assert figures == {
        "students": 2,
        "assignments of a student, mean": 1.5,
        "attempts at an assignment, mean": pytest.approx(5 / 3),
        "attempts at an assignment, 90%": 3,
        "solved at the first attempt": pytest.approx(1 / 3),
        "solved": pytest.approx(2 / 3),
        "best grade, mean": pytest.approx(250 / 3),
        "attempts that do not compile": 0.2,
        "minutes to the next attempt, median": 3,
        "minutes to the next attempt, 90%": 4,
    }
    untimed = describe(made.with_columns(submitted_at=pl.lit(None, pl.Datetime("us", "UTC"))))
    lines = realism_table({"artificial": figures, "2024": untimed}).splitlines()
    assert lines[0].split() == ["artificial", "2024"]
    assert lines[-1].split()[-2:] == ["4.00", "-"]


# --- its files -------------------------------------------------------------------------------------------


def write(made: pl.DataFrame, course: Course, real: pl.DataFrame, folder: Path) -> None:
    about: dict[str, Any] = {
        "synthetic": True,
        "course": course.name,
        "calendar of": "one",
        "students": 2,
        "seed": 3,
        "student model": {"method": "sft", "sha256": "abc"},
        "made with": {"tutee": "1"},
        "times": None if made["submitted_at"].null_count() else "drawn as in the log",
        "figures": {"artificial": describe(made)},
    }
    audited = audit(made, real, course.load_assignments()[0])
    about["privacy"] = asdict(audited)
    folder.mkdir(parents=True, exist_ok=True)
    write_class(made, about, audited, course, folder, folder)


def ingested(file: Path) -> pl.DataFrame:
    """What the real ingest makes of the class, under the pseudonyms' own names."""
    result = parse_log(Course.load(file), IngestConfig(), KEY)
    assert result.account.rows("kept") == result.account.rows("in")
    real_names = {pseudonym(name, KEY): name for name in names(2)}
    return result.submissions.with_columns(pl.col("student").replace_strict(real_names)).sort(
        "student", "assignment", "order"
    )


# What programs are written with, and CSV trips over. No @ and no run of digits: those are masked.
CODE = st.text("ab1'\"\\,;:#()[]= \t\n\r\u00e9\u2028{}%|&$", min_size=1, max_size=40).map(
    lambda text: f"x{text}"
)
TIMED = Times.fit(log({0.0: 30, 50.0: 3000}), "one")


@pytest.mark.parametrize("form", ["course.yaml", "progsnap2.yaml"])
@pytest.mark.parametrize("times", [TIMED, None], ids=["timed", "untimed"])
@settings(
    max_examples=5,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # a class is read in 0.1 s: to shrink one takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(["x\r\n", "x\r\r\n", "x\r"], ['x"', "x\n\n", "x \t"])
@given(st.lists(CODE, min_size=1, max_size=12), st.lists(CODE, min_size=1, max_size=12))
def test_what_is_written_is_read_back_by_ingest(
    form: str,
    times: Times | None,
    course: Course,
    real: pl.DataFrame,
    tmp_path: Path,
    double: list[str],
    greet: list[str],
) -> None:
    rows = played(*double) + played(*greet, student="artificial-002", assignment="greet")
    made = made_of([{**row, "grade": 100 / 3} for row in rows], times, 4)
    write(made, course, real, tmp_path / "class")
    again = ingested(tmp_path / "class" / form)
    same = ["semester", "student", "assignment", "order", "submitted_at", "code"]
    assert again.select(same).equals(made.select(same))
    assert again["logged_score"].to_list() == pytest.approx(made["logged_score"].to_list())


def test_every_form_says_that_it_is_artificial(course: Course, real: pl.DataFrame, tmp_path: Path) -> None:
    write(made_of(played("a", "b")), course, real, tmp_path)
    for form in ("course.yaml", "progsnap2.yaml"):
        assert Course.load(tmp_path / form).synthetic
    about = json.loads((tmp_path / "metadata.json").read_text())
    assert about["synthetic"] is True and about["privacy"]["programs"] == 2
    properties = dict(pl.read_csv(tmp_path / "progsnap2/DatasetMetadata.csv").iter_rows())
    assert properties["X-Synthetic"] == "true" and properties["Version"] == "1.0"
    assert properties["X-StudentModel"] == "method: sft, sha256: abc" and properties["X-Seed"] == "3"
    assert "No student in this folder is real" in (tmp_path / "README.md").read_text()
    for table in ("submissions.csv", "progsnap2/MainTable.csv"):
        column = "student" if table == "submissions.csv" else "SubjectID"
        assert pl.read_csv(tmp_path / table)[column].str.starts_with("artificial-").all()


def test_a_class_takes_no_other_folders_place(tmp_path: Path, course: Course, real: pl.DataFrame) -> None:
    check_folder(tmp_path / "new", overwrite=False)
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty", overwrite=False)
    write(made_of(played("a")), course, real, tmp_path / "class")
    with pytest.raises(InputError, match="--overwrite"):
        check_folder(tmp_path / "class", overwrite=False)
    check_folder(tmp_path / "class", overwrite=True)
    (tmp_path / "class" / "thesis.tex").touch()
    for taken in (tmp_path / "class", tmp_path, tmp_path / "class" / "thesis.tex"):
        with pytest.raises(InputError, match="no artificial class"):
            check_folder(taken, overwrite=True)
