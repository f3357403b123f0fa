"""Steering: a mixture of two models, the best of candidates, rising guidance, and what is counted of it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutee_evaluator.engines import Request, complete
from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.metrics import ReportConfig
from tutee_evaluator.steering.candidates import Candidate, best, compared
from tutee_evaluator.steering.figures import BASE, REFERENCE, SAME_STARTS, UNGUIDED, Outcomes, measure
from tutee_evaluator.steering.guidance import Guided, mix
from tutee_evaluator.steering.search import Led, SteerConfig, climb, grade_with, steer_all
from tutee_evaluator.steering.solvers import SOLVE, Solver
from tutee_evaluator.steering.starts import Start, draw_starts
from tutee_grader import Assignment, Grader
from tutee_grader.errors import InputError

RIGHT = "def double(n):\n    return 2 * n\n"
RENAMED = "def double(number):\n    result = 2 * number\n    return result\n"
PLUS = "def double(n):\n    return n + 2\n"  # right for 2 alone, as SQUARE is
BROKEN = "def double(n)\n    return n + 2\n"

logits = st.lists(st.floats(-30, 30, width=32), min_size=5, max_size=5).map(torch.tensor)
candidates = st.builds(
    Candidate,
    code=st.sampled_from(["a", "b", "c"]),
    grade=st.sampled_from([0.0, 50.0, 100.0]),
    tokens=st.integers(0, 9),
    lines=st.integers(0, 9),
    distance=st.sampled_from([0.0, 0.2, 0.4]),
    style=st.sampled_from([0.0, 0.1, 0.2]),
    names_kept=st.none() | st.floats(0, 1),
)


@given(logits, logits)
def test_weight_0_is_the_student_and_weight_1_the_solver_to_the_last_bit(student, solver) -> None:
    assert torch.equal(mix(student, solver, 0.0), torch.log_softmax(student, -1))
    assert torch.equal(mix(student, solver, 1.0), torch.log_softmax(solver, -1))


@given(logits, logits, st.floats(0, 3))
def test_a_mixture_is_the_students_logarithm_and_a_share_of_the_difference(student, solver, weight) -> None:
    own, other = torch.log_softmax(student, -1), torch.log_softmax(solver, -1)
    assert torch.allclose(mix(student, solver, weight), own + weight * (other - own), atol=1e-4)


@given(st.lists(candidates, min_size=1, max_size=6), st.randoms())
def test_the_best_is_of_the_best_grade_then_the_nearest_then_in_style(drawn, random) -> None:
    chosen = best(drawn)
    assert chosen.grade == max(one.grade for one in drawn)
    equals = [one for one in drawn if one.grade == chosen.grade]
    assert chosen.distance == min(one.distance for one in equals)
    nearest = [one for one in equals if one.distance == chosen.distance]
    assert chosen.style == min(one.style for one in nearest)
    random.shuffle(drawn)
    again = best(drawn)
    key = (chosen.grade, chosen.distance, chosen.style, chosen.code)
    assert (again.grade, again.distance, again.style, again.code) == key


def test_a_programs_change_is_measured_from_the_students_own() -> None:
    same, renamed = compared(PLUS, PLUS, 0), compared(PLUS, RENAMED, 100)
    assert (same.tokens, same.lines, same.distance, same.style, same.names_kept) == (0, 0, 0, 0, 1)
    # `double` is kept of `double`, `number` and `result`; three lines in place of two; no comments.
    assert renamed.names_kept == pytest.approx(1 / 3)
    assert renamed.style == pytest.approx((1 / 3 + 0 + 0 + 2 / 3) / 4)
    assert renamed.lines == 5
    # One of `+` and `2` goes before `n`: `n + 2` -> `2 * n` changes all three tokens.
    assert (compared(PLUS, RIGHT, 100).tokens, compared(PLUS, RIGHT, 100).lines) == (3, 2)
    assert compared(BROKEN, RIGHT, 100).names_kept is None


@pytest.fixture(scope="module")
def models(students: Path) -> tuple[Student, Student]:
    """A student and its base, whose probabilities differ."""
    return Student.load(students / "sft", device="cpu"), Student.load(students / "base", device="cpu")


@pytest.fixture(scope="module")
def starts(
    dialogs_of: Callable[..., pl.DataFrame], submissions: pl.DataFrame, verdicts: pl.DataFrame
) -> list[Start]:
    return draw_starts(dialogs_of().filter(feedback="summary"), submissions, verdicts, 99, 0)


def test_starts_are_the_wrong_programs_of_held_out_students(starts: list[Start], dialogs_of: Any) -> None:
    turns = dialogs_of().filter(split="test", feedback="summary").explode("turns")["turns"].struct.unnest()
    assert len(starts) == turns.filter(pl.col("grade") < 100).height > 0
    assert all(start.grade < 100 and start.dialog.previous == start.program for start in starts)
    assert all(start.dialog.messages[-1]["role"] == "user" for start in starts)
    assert len({start.student for start in starts[:3]}) == 3  # of each student one before any second one


def turns_of(engine: Any, starts: list[Start], temperature: float = 1.0) -> list[str]:
    requests = [Request(start.dialog, temperature, seed) for seed, start in enumerate(starts)]
    return [completion.content for completion in complete(engine, requests)]


def test_without_guidance_the_students_turns_are_written(models: Any, starts: list[Start]) -> None:
    student, base = models
    own = turns_of(student, starts)
    assert turns_of(Guided(student, base, 0.0), starts) == own
    assert turns_of(Guided(student, base, 0.5), starts) != own


def test_with_weight_1_the_solvers_turns_are_written(models: Any, starts: list[Start]) -> None:
    student, base = models
    solvers = turns_of(Solver(base), starts)
    assert turns_of(Guided(student, base, 1.0), starts) == solvers
    assert solvers != turns_of(base, starts)  # for it is asked to solve
    assert SOLVE not in starts[0].dialog.messages[0]["content"]


def test_a_solver_of_another_format_is_refused(models: Any) -> None:
    student, base = models
    other = Student(base.model, base.chat, replace(base.card, format="code"))
    with pytest.raises(InputError, match="they write 'edits' and 'code'"):
        Guided(student, other, 0.5)


@pytest.fixture(scope="module")
def grade(grader: Grader, assignments: Mapping[str, Assignment]) -> Any:
    return grade_with(grader, assignments)


@pytest.fixture(scope="module")
def start(starts: list[Start]) -> Start:
    """A broken program of one student."""
    return next(one for one in starts if one.assignment == "double" and one.grade == 0)


CONFIG = SteerConfig(candidates=2, steps=3, weights=(0.0, 1.0))


def test_steps_are_chained_until_a_program_is_right(scripted: Any, start: Start, grade: Any) -> None:
    engine = scripted(lambda dialog, _: RIGHT if dialog.previous == PLUS else PLUS)
    (led,) = climb([start], engine, grade, CONFIG, 0.0)
    assert [one.code for one in led.programs] == [PLUS, RIGHT]
    assert led.is_right and len(engine.requests) == 2 * CONFIG.candidates
    assert led.programs[-1] == compared(start.program, RIGHT, 100)  # measured from the first program
    assert start.dialog.previous == start.program  # the start is as it was


def test_a_worse_program_is_no_step_and_others_are_drawn(scripted: Any, start: Start, grade: Any) -> None:
    engine = scripted(lambda dialog, _: None if len(engine.requests) % 2 else BROKEN)
    (led,) = climb([start], engine, grade, CONFIG, 0.0)
    assert (led.programs, led.grade) == ([], start.grade)
    seeds = [request.seed for request in engine.requests]
    assert len(set(seeds)) == len(seeds) == CONFIG.candidates * CONFIG.steps


def test_the_least_weight_that_leads_to_a_right_program_is_taken(
    scripted: Any, starts: list[Start], start: Start, grade: Any
) -> None:
    hard = next(one for one in starts if one.assignment == "greet")
    asked: list[float] = []

    def engine_at(weight: float) -> Any:
        asked.append(weight)
        return scripted(lambda dialog, _: RIGHT if "double" in dialog.task or weight == 0 else BROKEN)

    led = steer_all([start, hard], engine_at, grade, CONFIG)
    assert [(one.weight, one.is_right) for one in led] == [(0.0, True), (0.0, False)]
    assert asked == [0.0, 1.0]  # the second one is tried with guidance, too

    only = steer_all([start], lambda weight: scripted(lambda *_: RIGHT if weight else PLUS), grade, CONFIG)
    assert [(one.weight, one.is_right) for one in only] == [(1.0, True)]


def test_shares_and_sizes_are_counted_over_students(start: Start) -> None:
    def led(student: str, weight: float, *codes: str) -> Led:
        programs = [compared(PLUS, code, 100 if code in (RIGHT, RENAMED) else 50) for code in codes]
        return Led(replace(start, student=student, program=PLUS), weight, programs)

    steered = [led("a", 0.0, RIGHT), led("a", 1.0, RENAMED), led("b", 0.0), led("c", 1.0, PLUS, RIGHT)]
    base = [led("a", 0.0, RENAMED), led("a", 0.0), led("b", 0.0), led("c", 0.0)]
    unguided = [led(student, 0.0, RIGHT) for student in "aabc"]
    references = [compared(PLUS, RENAMED, 100)] * 3 + [None]
    metrics = measure(Outcomes(steered, unguided, base, references), [0.0, 1.0], ReportConfig(resamples=200))
    values = {(row["method"], row["metric"]): row for row in metrics.iter_rows(named=True)}

    shares = {way: row["value"] for (way, metric), row in values.items() if metric == "right"}
    assert shares == {
        "weight 0": 0.25, "up to weight 1": 0.75, UNGUIDED: 1.0, BASE: 0.25, REFERENCE: 1.0, SAME_STARTS: 1.0
    }  # fmt: skip
    counted = {way: row["n"] for (way, metric), row in values.items() if metric == "tokens"}
    assert counted == {"weight 0": 1, "up to weight 1": 3, UNGUIDED: 4, BASE: 1, REFERENCE: 3, SAME_STARTS: 2}
    tokens = compared(PLUS, RIGHT, 100).tokens, compared(PLUS, RENAMED, 100).tokens
    assert values["up to weight 1", "tokens"]["value"] == pytest.approx((2 * tokens[0] + tokens[1]) / 3)
    share = values["up to weight 1", "right"]
    assert 0 <= share["low"] < 0.75 < share["high"] <= 1  # student b was led nowhere: resamples differ
