"""What becomes of an artificial class: outcomes of hand-made trajectories, their figures, and the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from tutee_evaluator.experiments import comparison
from tutee_evaluator.experiments import page as pages
from tutee_evaluator.experiments.comparison import compare
from tutee_evaluator.experiments.config import ExperimentConfig
from tutee_evaluator.experiments.outcomes import outcome_columns, sums_of, trajectories
from tutee_evaluator.experiments.page import Results, answer, write_page
from tutee_evaluator.experiments.play import PLAYED
from tutee_evaluator.experiments.policies import CUT, NOTHING
from tutee_evaluator.experiments.tables import differences_table, outcomes_table
from tutee_grader.verdict import Status

if TYPE_CHECKING:
    from playwright.sync_api import Browser

STEPS = 4
FAILED = {"name": "a", "outcome": "failed", "message": "double(2) is not 4"}
NAMED = {"name": "a", "outcome": "error", "message": "double(2) stopped with NameError on line 2"}
# A turn: the program, its grade (None: no program was graded) and the test that says why.
Turn = tuple[str | None, float | None, dict[str, str] | None]


def trajectory(
    stop: str, *turns: Turn, start: Turn | None = None, policy: str = "one", student: str = "ada", **key: Any
) -> list[dict[str, Any]]:
    """Rows of PLAYED, from the task, or from `start`."""
    own = {"policy": policy, "student": student, "assignment": "double", "sample": 1, **key}
    rows = []
    for step, (code, grade, test) in enumerate([start, *turns] if start else turns, 0 if start else 1):
        outcome = "program" if grade is not None else stop
        row = {"step": step, "code": code, "grade": grade, "outcome": outcome, "stop_reason": stop}
        if grade is not None:
            row |= {"status": str(Status.COMPILES), "tests": [test] if test else []}
        rows.append({**own, **row})
    return rows


def outcomes(*rows: list[dict[str, Any]]) -> pl.DataFrame:
    table = pl.DataFrame([row for one in rows for row in one], schema=PLAYED)
    return outcome_columns(trajectories(table, STEPS), STEPS)


def compared(table: pl.DataFrame, primary: str, effect: float | None = None, seed: int = 1) -> pl.DataFrame:
    """FIGURES of rows of `trajectories`."""
    return compare(table, table["policy"].unique(maintain_order=True).to_list(), STEPS, primary, effect, seed)


def one(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return outcomes(rows).row(0, named=True)


def test_outcomes_of_a_student_who_solves_it() -> None:
    found = one(
        trajectory("solved", ("a", 25.0, FAILED), ("b", 100.0, None), start=("z", 0.0, FAILED)),
    )
    assert (found["start"], found["solved"], found["steps"], found["gave_up"]) == (0.0, 1.0, 2.0, 0.0)
    assert [found[f"solved_by={step}"] for step in (1, 2, 3, 4)] == [0.0, 1.0, 1.0, 1.0]
    assert found["area"] == pytest.approx((25 + 100 + 100 + 100) / 400)
    assert (found["submissions"], found["resubmissions"]) == (2.0, 0.0)


def test_outcomes_of_a_student_who_gives_up_over_the_same_program() -> None:
    found = one(
        trajectory(
            "gave up",
            ("a", 20.0, NAMED),
            ("b", 40.0, FAILED),
            ("b", 40.0, FAILED),
            start=("a", 20.0, NAMED),
        )
    )
    assert (found["solved"], found["steps"], found["gave_up"]) == (0.0, 0.0, 1.0)
    assert found["area"] == pytest.approx((20 + 40 + 40 + 40) / 400)
    # Of the program that was there, and of b: 2 of 3.
    assert (found["resubmissions"], found["submissions"]) == (2.0, 3.0)
    # What it started from is no error of its own.
    assert (found["error=NameError"], found["error=wrong result"]) == (1.0, 2.0)


def test_a_turn_without_a_program_leaves_the_last_grade() -> None:
    rows = trajectory("unreadable", ("a", 60.0, FAILED), (None, None, None))
    found = one(rows)
    assert (found["unreadable"], found["gave_up"], found["submissions"]) == (1.0, 0.0, 1.0)
    assert found["area"] == pytest.approx(0.6)
    none = one(trajectory("unreadable", (None, None, None)))
    assert (none["area"], none["submissions"], none["level"]) == (0.0, 0.0, None)


def test_trajectories_do_not_mix() -> None:
    mine = trajectory("steps", ("a", 10.0, FAILED), policy="one")
    theirs = trajectory("steps", ("a", 10.0, FAILED), policy="two")
    again = trajectory("steps", ("a", 30.0, FAILED), policy="two", sample=2)
    table = outcomes(theirs, again, mine)
    assert table["resubmissions"].to_list() == [0.0, 0.0, 0.0]
    assert table["area"].to_list() == pytest.approx([0.1, 0.1, 0.3])


def test_levels_are_thirds_of_the_students_by_where_they_start() -> None:
    grades = {"a": 90.0, "b": 10.0, "c": 50.0, "d": 20.0, "e": 60.0, "f": 80.0}
    rows = [
        trajectory("steps", ("x", 10.0, FAILED), start=("y", grade, FAILED), student=student)
        for student, grade in grades.items()
    ]
    levels = dict(outcomes(*rows).select("student", "level").iter_rows())
    assert levels == {"b": "low", "d": "low", "c": "middle", "e": "middle", "f": "high", "a": "high"}


def test_figures_are_ratios_of_sums() -> None:
    rows = [
        trajectory("solved", ("a", 100.0, None), student="ada"),
        trajectory("solved", ("a", 0.0, NAMED), ("b", 0.0, FAILED), ("c", 100.0, None), student="ben"),
        trajectory("gave up", ("a", 0.0, NAMED), student="cem"),
    ]
    table = pl.DataFrame([row for rows_of_one in rows for row in rows_of_one], schema=PLAYED)
    figures = compared(trajectories(table, STEPS), "solved")
    overall = figures.filter(stratum="overall", policy="one")
    found = dict(overall.select("outcome", "value").iter_rows())
    assert found["solved"] == pytest.approx(2 / 3)
    assert found["steps"] == pytest.approx(2.0)  # of the two who do
    assert found["error=NameError"] == pytest.approx(2 / 5)
    assert found["solved_by=2"] == pytest.approx(1 / 3)
    assert set(found) == {*sums_of(outcomes(*rows))}


# --- comparisons ----------------------------------------------------------------------------------------


def class_of(
    students: int,
    effects: Sequence[float],
    seed: int,
    assignments: int = 4,
    samples: int = 1,
) -> pl.DataFrame:
    """Rows of `trajectories` whose `area` differs between policies by `effects` and by luck.

    Students differ, assignments differ, and both differ in how much a policy helps them.
    """
    random = np.random.default_rng(seed)
    able, hard = random.normal(0, 1, students), random.normal(0, 1, assignments)
    helped = (
        random.normal(0, 0.5, (len(effects), students, 1)),
        random.normal(0, 0.3, (len(effects), 1, assignments)),
    )
    mean = able[None, :, None] + hard[None, None, :] + helped[0] + helped[1]
    mean = mean + np.array(effects)[:, None, None]
    values = mean[..., None] + random.normal(0, 1, (*mean.shape, samples))
    places = np.indices(values.shape).reshape(4, -1)
    size = values.size
    return pl.DataFrame(
        {
            "policy": [f"p{at}" for at in places[0]],
            "student": [f"s{at:04}" for at in places[1]],
            "assignment": [f"a{at}" for at in places[2]],
            "sample": places[3] + 1,
            "area": values.ravel(),
            "solved": (values.ravel() > 0).astype(float),
            "steps": np.ones(size),
            **{name: np.zeros(size) for name in ("gave_up", "unreadable", "resubmissions")},
            "submissions": np.ones(size),
            "errors": [[]] * size,
            "one": np.ones(size),
            "level": [None] * size,
        },
        schema_overrides={"errors": pl.List(pl.String), "level": pl.String},
    )


def overall(figures: pl.DataFrame, outcome: str) -> dict[str, Any]:
    return figures.filter(outcome=outcome, stratum="overall", other="p0", policy="p1").row(0, named=True)


def test_an_interval_covers_the_true_difference_about_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In 200 classes. The bootstrap over both students and assignments is known to be cautious."""
    monkeypatch.setattr(comparison, "RESAMPLES", 400)
    monkeypatch.setattr(comparison, "sums_of", lambda _: {"area": ("area", "one")})
    monkeypatch.setattr(comparison, "_strata", lambda table: [("overall", table)])
    covered = 0
    for seed in range(200):
        found = overall(compared(class_of(30, (0.0, 0.4), seed, 8), "area", seed=seed), "area")
        covered += found["low"] <= 0.4 <= found["high"]
    assert 0.90 <= covered / 200 <= 1.0


def test_a_class_that_is_too_small_gets_no_interval() -> None:
    small = compared(class_of(9, (0.0, 3.0), 1), "area", seed=1)
    assert small.filter(stratum="overall")["value"].is_not_null().any()
    assert small["low"].is_null().all() and small["high"].is_null().all() and small["p"].is_null().all()
    (said,) = answer(Results(small, "area"))
    assert said.startswith("This class is too small to say anything: it has fewer than 10 students")
    enough = overall(compared(class_of(10, (0.0, 3.0), 1), "area", seed=1), "area")
    assert enough["low"] is not None


def test_a_class_of_one_student_has_values_and_no_more() -> None:
    alone = compared(class_of(1, (0.0, 3.0), 1, assignments=1), "area", 0.1, 1)
    found = overall(alone, "area")
    assert found["value"] is not None
    for name in ("low", "high", "p", "p_holm", "needed", "needed_for_effect"):
        assert found[name] is None, name
    assert "p1" in outcomes_table(alone, "area") and "p1" in differences_table(alone, "area")
    assert answer(Results(alone, "area"))[0].startswith("This class is too small")


def test_p_values_are_corrected_for_their_number_by_holm() -> None:
    # By hand: 0.01 * 4; 0.02 * 3; then 0.03 * 2, which is no less than the one before; 0.5 * 1.
    values, chosen = [0.5, 0.01, 0.03, None, 0.02, 0.001], [True, True, True, True, True, False]
    adjusted = comparison._holm(values, chosen)
    assert adjusted == [0.5, pytest.approx(0.04), pytest.approx(0.06), None, pytest.approx(0.06), None]
    assert comparison._holm([0.9, 0.8], [True, True]) == [1.0, 1.0]


def test_the_correction_counts_every_pair_of_policies() -> None:
    figures = compared(class_of(40, (0.0, 0.0, 2.0), 3), "area", seed=3)
    pairs = figures.filter(outcome="area", stratum="overall").drop_nulls("other")
    assert pairs.height == 3 and pairs["p_holm"].null_count() == 0
    smallest = pairs.sort("p").row(0, named=True)
    assert smallest["p_holm"] == pytest.approx(3 * smallest["p"])
    assert figures.filter(pl.col("outcome") != "area")["p"].is_null().all()


def test_the_size_of_a_trial_is_the_textbooks() -> None:
    def textbook(sd: float, difference: float) -> float:
        return 2 * ((norm.ppf(0.975) + norm.ppf(0.8)) * sd / difference) ** 2

    assert comparison._needed(0.5, 0.2) == int(np.ceil(textbook(0.5, 0.2))) == 99
    assert comparison._needed(0.5, -0.2) == 99
    assert comparison._needed(0.5, 0.0) is None

    table = class_of(200, (0.0, 0.5), 2)
    found = overall(compared(table, "area", 0.25, 2), "area")
    means = table.group_by("policy", "student").agg(pl.col("area").mean())
    sd = float(np.sqrt(means.group_by("policy").agg(pl.col("area").var())["area"].mean()))  # type: ignore[arg-type]
    assert found["needed"] == pytest.approx(textbook(sd, found["value"]), abs=1)
    assert found["needed_for_effect"] == pytest.approx(textbook(sd, 0.25), abs=1)


# --- the page -------------------------------------------------------------------------------------------

HOSTILE = "</p><script>document.title = 'taken'</script><img src=x onerror=alert(1)> & <b>bold</b>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on a class of twelve, of whom those who are told something solve it more often."""
    rows = []
    for number in range(12):
        student = f"student-{number:02}"
        start: Turn = ("def double(n):\n    return n\n", 10.0 * (number % 6), FAILED)
        wrong: Turn = ("def double(n):\n    return n + 2\n", 50.0, FAILED)
        right: Turn = ("def double(n):\n    return 2 * n\n", 100.0, None)
        helped = trajectory("solved", wrong, right, start=start, policy="words", student=student)
        helped[0]["feedback"], helped[1]["feedback"], helped[1]["note"] = HOSTILE, "look", CUT
        silent = trajectory("gave up", wrong, start=start, policy="silence", student=student)
        if number == 3:
            silent = trajectory("solved", right, start=start, policy="silence", student=student)
        silent[0]["feedback"], silent[0]["note"] = "", NOTHING
        rows += [*helped, *silent]
    played = pl.DataFrame(rows, schema=PLAYED)
    config = ExperimentConfig(
        course="small",
        student="sft",
        policies={"words": "summary", "silence": "none"},
        question="Do <i>words</i> help?",
        steps=STEPS,
        samples=1,
        effect=0.1,
    )
    figures = compare(trajectories(played, STEPS), list(config.policies), STEPS, "solved", 0.1, 1)
    file = tmp_path_factory.mktemp("page") / "report.html"
    write_page(config, "mine", True, played, figures, {"tutee-evaluator": "0"}, file)
    return file


def test_the_page_answers_its_question(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert "Do &lt;i&gt;words&lt;/i&gt; help?" in html
    assert "Under words it is 91.7 points more of the tasks solved than under silence" in html
    assert "12 artificial students at 12 starts in 1 assignment, each played 1 time under" in html
    assert f'<td>{NOTHING}</td><td class="number">12 of 12 answers' in html
    assert f'<td>{CUT}</td><td class="number">12 of 24 answers' in html
    assert "<script" not in html and "<img" not in html


def test_a_turn_without_a_program_is_shown_as_no_change() -> None:
    rows = trajectory("unreadable", ("a = 1\n", 60.0, FAILED), (None, None, None), ("a = 2\n", 60.0, FAILED))
    first, none, last = pages._attempts(pl.DataFrame(rows, schema=PLAYED))
    assert [line.text for line in first.lines] == ["a = 1"]
    assert none.lines == []
    assert [(line.mark, line.text) for line in last.lines] == [("removed", "a = 1"), ("added", "a = 2")]


def test_the_page_opens_without_an_error_and_words_stay_text(page: Path, browser: "Browser") -> None:
    problems: list[str] = []
    requested: list[str] = []
    with browser.new_page() as opened:
        opened.on("console", lambda message: problems.append(message.text))
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("request", lambda request: requested.append(request.url))
        opened.goto(page.as_uri())
        assert opened.title() == "Experiment: mine"
        assert HOSTILE in opened.locator(".feedback").all_text_contents()
        assert opened.locator(".feedback :is(script, img, b)").count() == 0
        assert opened.locator("polyline").count() == 2
        ends = [
            set(
                opened.locator(
                    f".tracks > div:{place}-child .attempt:last-child .outcome"
                ).all_text_contents()
            )
            for place in ("first", "last")
        ]
        assert ends == [{"1002"}, {"501then gave up"}]
    assert problems == []
    assert requested == [page.as_uri()]
