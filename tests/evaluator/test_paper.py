"""The published figures, from a small table worked out by hand, and by a second route of plain loops.

The second route shares no code with ours but CodeBLEU's own package.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from statistics import mean
from typing import Any

import polars as pl
import pytest
from codebleu import calc_codebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from tutee_evaluator.evaluate import evaluate
from tutee_evaluator.metrics import ReportConfig
from tutee_evaluator.schemas import ROLLOUTS
from tutee_grader.verdict import VERDICTS
from tutee_serializer.schemas import DIALOGS, SUBMISSIONS

Program = tuple[str, float]  # with its grade
Turn = Program | str  # "gave up" or "unreadable"
Tables = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]

STUB = "def f(n):\n    return n\n"
LOOP = "def f(n):\n    total = 0\n    for i in range(n):\n        total += i\n    return total\n"
SUM = "def f(n):\n    return sum(range(n))\n"
TWICE = "def f(n):\n    n = n + n\n    return n\n"
IF = "def f(n):\n    if n > 2:\n        return n * 2\n    return 0\n"
GREET = "def f(name):\n    print('Hello', name)\n"
RETURN = "def f(name):\n    return 'Hello ' + name\n"

# Each student's submissions to an assignment, with their grades. ben never solves; cem stops after two.
REAL: dict[tuple[str, str], list[Program]] = {
    ("ada", "double"): [(STUB, 0), (TWICE, 50), (LOOP, 50), (SUM, 100)],
    ("ben", "double"): [(STUB, 0), (IF, 25), (LOOP, 25), (STUB, 0), (IF, 50), (TWICE, 50), (LOOP, 25)],
    ("cem", "greet"): [(GREET, 50), (RETURN, 100)],
    ("ada", "greet"): [(STUB, 0), (GREET, 40), (RETURN, 100)],
}
# The likeliest rollouts: method, student, assignment, start -> turns.
ROLLED: dict[tuple[str, str, str, int], list[Turn]] = {
    ("copy", "ada", "double", 2): [(STUB, 0)] * 3,
    ("copy", "ben", "double", 2): [(STUB, 0)] * 5,
    ("copy", "ben", "double", 6): [(IF, 50)] * 2,
    ("copy", "cem", "greet", 2): [(GREET, 50)],
    ("copy", "ada", "greet", 3): [(GREET, 40)],
    ("sft", "ada", "double", 2): [(SUM, 100)],  # solves early
    ("sft", "ben", "double", 2): [(IF, 25), (TWICE, 50), "gave up"],
    ("sft", "ben", "double", 6): [(IF, 40), "unreadable"],
    ("sft", "cem", "greet", 2): [(RETURN, 100)],
    ("sft", "ada", "greet", 3): [(STUB, 0)],
}


def tables(real: dict[tuple[str, str], list[Program]], rolled: dict[Any, list[Turn]]) -> Tables:
    """ROLLOUTS, DIALOGS, SUBMISSIONS and verdicts; a rollout whose key names no sample is the likeliest."""
    submissions, verdicts, dialogs, rollouts = [], [], [], []
    for (student, assignment), programs in real.items():
        ids = [f"{student}/{assignment}/{number}" for number in range(1, len(programs) + 1)]
        whose = {"student": student, "assignment": assignment}
        turns = [{"submission_id": id, "grade": grade} for id, (_, grade) in zip(ids, programs, strict=True)]
        dialogs.append({"dialog_id": f"{student}/{assignment}", "turns": turns, **whose})
        for id, (code, grade) in zip(ids, programs, strict=True):
            submissions.append({"submission_id": id, "code": code, **whose})
            verdicts.append({"submission_id": id, **_verdict(grade)})
    for (method, student, assignment, start, *sample), turns in rolled.items():
        left = len(real[student, assignment]) - start + 1
        for step in range(1, min(5, left) + 1):
            rollouts.append(
                {
                    "method": method,
                    "dialog_id": f"{student}/{assignment}",
                    "start": start,
                    "step": step,
                    "sample": sample[0] if sample else 0,
                    "submission_id": f"{student}/{assignment}/{start + step - 1}",
                    **_turn(turns[step - 1] if step <= len(turns) else "ended"),
                }
            )
    return (
        pl.DataFrame(rollouts, ROLLOUTS),
        pl.DataFrame(dialogs, DIALOGS),
        pl.DataFrame(submissions, SUBMISSIONS),
        pl.DataFrame(verdicts, VERDICTS),
    )


def _turn(turn: Turn) -> dict[str, Any]:
    if isinstance(turn, str):
        return {"outcome": turn, "code": "exit()" if turn == "gave up" else None}
    return {"outcome": "program", "code": turn[0], **_verdict(turn[1])}


def _verdict(grade: float) -> dict[str, Any]:
    outcome = "passed" if grade == 100 else "failed"
    tests = [{"name": "f(2)", "outcome": outcome, "message": ""}]
    return {"grade": float(grade), "status": "compiles", "tests": tests}


@cache
def cb(real: str, written: str) -> float:
    return calc_codebleu([real], [written], "python", weights=(0.25, 0.25, 0.25, 0.25))["codebleu"]


Figures = dict[tuple[str, str, str], float]  # method, metric, stratum -> value


def measured(made: Tables) -> Figures:
    """The published figures, and the skills over COPY, as we measure them."""
    _, _, metrics = evaluate(*made, ReportConfig(resamples=2))
    published = pl.col("metric").str.contains("^(coverage|grade_proximity|codebleu)(_|$)")
    corrected = pl.col("metric").str.contains("corrected")
    return {
        (row["method"], row["metric"], row["stratum"]): row["value"]
        for row in metrics.filter(published & ~corrected).drop_nulls("value").iter_rows(named=True)
    }


@pytest.fixture(scope="module")
def figures() -> Figures:
    drawn = {(*key, 1): [(LOOP, 75.0)] for key in ROLLED}  # a drawn sample of each, which must not matter
    return measured(tables(REAL, ROLLED | drawn))


# The five starts have 3 + 5 + 2 + 1 + 1 = 12 steps. sft has a program at 1 (then it has solved), 2 (then it
# gives up), 1 (then it cannot be read), 1 and 1 of them.
# Its grade proximity at step 1, in the order above: 1 - |100 - 50|/100 = 1/2; 1 - |25 - 25|/100 = 1;
# 1 - |40 - 50|/100 = 9/10; 1 - |100 - 100|/100 = 1; 1 - |0 - 100|/100 = 0.
# At step 2, of ben's first start alone: 1 - |50 - 25|/100 = 3/4.
SFT_1, SFT_2 = (1 / 2 + 1 + 9 / 10 + 1 + 0) / 5, 3 / 4
# copy's, with the same real grades: step 1: 1/2, 3/4, 1, 1/2, 2/5; step 2: 1/2, 3/4, 3/4; step 3: 0, 1;
# step 4: 1/2; step 5: 1/2.
COPY_1, COPY_2, COPY_3 = (1 / 2 + 3 / 4 + 1 + 1 / 2 + 2 / 5) / 5, (1 / 2 + 3 / 4 + 3 / 4) / 3, (0 + 1) / 2


def test_coverage_is_pooled_over_all_steps(figures: Figures) -> None:
    assert figures["sft", "coverage", "overall"] == pytest.approx((1 + 2 + 1 + 1 + 1) / 12)
    assert figures["copy", "coverage", "overall"] == 1


def test_the_headline_of_grade_proximity_is_the_mean_of_the_means_at_each_step(figures: Figures) -> None:
    # sft has no program from step 3 on: two steps count.
    assert figures["sft", "grade_proximity", "overall"] == pytest.approx((SFT_1 + SFT_2) / 2)
    copy = (COPY_1 + COPY_2 + COPY_3 + 1 / 2 + 1 / 2) / 5
    assert figures["copy", "grade_proximity", "overall"] == pytest.approx(copy)


def test_pooled_grade_proximity_is_the_mean_over_covered_steps(figures: Figures) -> None:
    pooled = (1 / 2 + 1 + 9 / 10 + 1 + 0 + 3 / 4) / 6
    assert figures["sft", "grade_proximity_pooled", "overall"] == pytest.approx(pooled)
    pooled = (5 * COPY_1 + 3 * COPY_2 + 2 * COPY_3 + 1 / 2 + 1 / 2) / 12
    assert figures["copy", "grade_proximity_pooled", "overall"] == pytest.approx(pooled)


def test_codebleu_has_the_real_program_as_its_reference(figures: Figures) -> None:
    first = [cb(TWICE, SUM), cb(IF, IF), cb(TWICE, IF), cb(RETURN, RETURN), cb(RETURN, STUB)]
    second = cb(LOOP, TWICE)
    assert figures["sft", "codebleu", "overall"] == pytest.approx((sum(first) / 5 + second) / 2)
    assert figures["sft", "codebleu_pooled", "overall"] == pytest.approx((sum(first) + second) / 6)


def test_degradations_are_mean_changes_from_step_1(figures: Figures) -> None:
    # Of 5, 3, 2, 1 and 1 steps sft covers 5, 1, 0, 0 and 0.
    coverage = ((1 / 3 - 1) + (0 / 2 - 1) + (0 / 1 - 1) + (0 / 1 - 1)) / 4
    assert figures["sft", "coverage_degradation", "overall"] == pytest.approx(coverage)
    assert figures["sft", "grade_proximity_degradation", "overall"] == pytest.approx(SFT_2 - SFT_1)
    copy = ((COPY_2 - COPY_1) + (COPY_3 - COPY_1) + (1 / 2 - COPY_1) + (1 / 2 - COPY_1)) / 4
    assert figures["copy", "grade_proximity_degradation", "overall"] == pytest.approx(copy)
    assert figures["copy", "coverage_degradation", "overall"] == 0


def test_figures_by_start(figures: Figures) -> None:
    # Before submission 2 start ada's double (3 steps), ben's (5) and cem's greet (1).
    assert figures["sft", "coverage", "start=2"] == pytest.approx((1 + 2 + 1) / 9)
    headline = ((1 / 2 + 1 + 1) / 3 + 3 / 4) / 2
    assert figures["sft", "grade_proximity", "start=2"] == pytest.approx(headline)
    assert figures["sft", "grade_proximity", "start=3"] == 0
    assert figures["sft", "coverage", "start=6-10"] == 1 / 2
    assert figures["copy", "grade_proximity", "start=6-10"] == pytest.approx((1 + 3 / 4) / 2)


def test_figures_by_whether_the_student_solves_the_task(figures: Figures) -> None:
    # ada and cem do, whatever sft does: 3 + 1 + 1 steps. ben does not: 5 + 2 steps.
    assert figures["sft", "coverage", "student=solved"] == pytest.approx((1 + 1 + 1) / 5)
    assert figures["sft", "coverage", "student=unsolved"] == pytest.approx((2 + 1) / 7)
    assert figures["sft", "grade_proximity", "student=solved"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    headline = ((1 + 9 / 10) / 2 + 3 / 4) / 2
    assert figures["sft", "grade_proximity", "student=unsolved"] == pytest.approx(headline)


def second_route(
    rollouts: pl.DataFrame, dialogs: pl.DataFrame, submissions: pl.DataFrame, verdicts: pl.DataFrame
) -> Figures:
    """The published figures, by loops over the rows of the tables."""
    code = {row["submission_id"]: row["code"] for row in submissions.to_dicts()}
    grade = {row["submission_id"]: row["grade"] for row in verdicts.to_dicts()}
    work = {row["dialog_id"]: row for row in dialogs.to_dicts()}
    found: dict[tuple[str, str, int], list[tuple[float, float] | None]] = defaultdict(list)
    for row in rollouts.to_dicts():
        if row["sample"] != 0:
            continue
        dialog = work[row["dialog_id"]]
        ids = [turn["submission_id"] for turn in dialog["turns"]]
        place = (row["start"] - 1) + (row["step"] - 1)  # of the real submission, from 0
        values = None
        if row["outcome"] == "program":
            closeness = 1 - abs(row["grade"] - grade[ids[place]]) / 100
            values = closeness, cb(code[ids[place]], row["code"])
        for stratum in _strata(row, dialog["assignment"], [grade[id] for id in ids], place):
            found[row["method"], stratum, row["step"]].append(values)
    return _figures(found)


def _strata(row: dict[str, Any], assignment: str, grades: Sequence[float], place: int) -> Iterator[str]:
    start = row["start"]
    yield "overall"
    yield f"assignment={assignment}"
    yield f"step={row['step']}"
    yield f"start={start}" if start <= 5 else "start=6-10" if start <= 10 else "start=11+"
    yield "student=solved" if 100 in grades else "student=unsolved"
    if grades[place] != grades[place - 1]:
        yield "changed"


def _figures(found: dict[tuple[str, str, int], list[tuple[float, float] | None]]) -> Figures:
    figures: Figures = {}
    for method, stratum in {key[:2] for key in found}:
        steps = {step: values for (*key, step), values in found.items() if key == [method, stratum]}
        everything = [value for values in steps.values() for value in values]
        covered = {step: [value for value in values if value] for step, values in steps.items()}
        by_step = {"coverage": {step: len(covered[step]) / len(steps[step]) for step in steps}}
        figures[method, "coverage", stratum] = sum(map(len, covered.values())) / len(everything)
        for at, metric in enumerate(("grade_proximity", "codebleu")):
            means = {s: mean(value[at] for value in values) for s, values in covered.items() if values}
            by_step[metric] = means
            if means:
                figures[method, metric, stratum] = mean(means.values())
                pooled = mean(value[at] for value in everything if value)
                figures[method, metric + "_pooled", stratum] = pooled
        for metric, values in by_step.items():
            later = [value - values[1] for step, value in values.items() if step > 1 and 1 in values]
            if later:
                figures[method, metric + "_degradation", stratum] = mean(later)
    for method, metric, stratum in list(figures):
        copy = figures.get(("copy", metric, stratum), 1)
        if metric in ("grade_proximity", "codebleu") and abs(1 - copy) > 1e-12:
            skill = (figures[method, metric, stratum] - copy) / (1 - copy)
            figures[method, metric + "_skill", stratum] = skill
    return figures


def test_a_second_route_comes_to_the_same_figures(figures: Figures) -> None:
    assert second_route(*tables(REAL, ROLLED)) == pytest.approx(figures, abs=1e-9)


programs = st.tuples(
    st.sampled_from([STUB, LOOP, SUM, TWICE, IF]), st.sampled_from([0.0, 25.0, 40.0, 50.0, 100.0])
)
turns = st.lists(programs | st.sampled_from(["gave up", "unreadable"]), min_size=5, max_size=5)


@st.composite
def courses(draw: st.DrawFn) -> Tables:
    """Students' work of 2 to 14 submissions, and two methods' rollouts from some starts."""
    work = st.dictionaries(
        st.tuples(st.sampled_from(["ada", "ben", "cem"]), st.sampled_from(["double", "greet"])),
        st.lists(programs, min_size=2, max_size=14),
        min_size=1,
    )
    real = draw(work)
    rolled: dict[Any, list[Turn]] = {}
    for (student, assignment), submitted in real.items():
        for start in draw(st.sets(st.integers(2, len(submitted)), min_size=1, max_size=3)):
            for method in ("copy", "sft"):
                written = draw(turns)
                over = [turn for turn in written if isinstance(turn, str) or turn[1] == 100]
                end = written.index(over[0]) + 1 if over else 5
                rolled[method, student, assignment, start] = written[:end]
    return tables(real, rolled)


@settings(deadline=None, max_examples=12)
@given(courses())
def test_a_second_route_comes_to_the_same_figures_of_any_course(made: Tables) -> None:
    assert second_route(*made) == pytest.approx(measured(made), abs=1e-9)
