"""Experiments as they are played: common random numbers, who begins where, and what a killed run keeps."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

from tutee_evaluator.experiments.classes import draw_class
from tutee_evaluator.experiments.comparison import compare
from tutee_evaluator.experiments.config import ClassConfig
from tutee_evaluator.experiments.giving_up import GivingUp
from tutee_evaluator.experiments.outcomes import trajectories
from tutee_evaluator.experiments.play import KEY, PLAYED, Start, play
from tutee_evaluator.experiments.policies import Answer, FunctionPolicy, Policy, Submission
from tutee_evaluator.experiments.run import play_all
from tutee_grader import Assignment, Grader, Verdict
from tutee_grader.errors import InputError
from tutee_serializer.schemas import DIALOGS

from ..fake_student import FakeStudent

PROGRAMS = tuple(f"def double(n):\n    return {value}\n" for value in ("n", "n + 2", "n * n", "2 *", "2 * n"))
STEPS = 4
NEVER, SOMETIMES = GivingUp(None), GivingUp((0.0, 0.0, 0.0, 0.0, -1.0))


def student(batch: int = 8, patience: int = 10**6) -> FakeStudent:
    return FakeStudent(PROGRAMS, batch, patience)


def says(words: str) -> Policy:
    return FunctionPolicy("mine:say", lambda _: words)


@pytest.fixture(scope="module")
def starts(assignments: Mapping[str, Assignment]) -> list[Start]:
    """Twelve students before the task `double`."""
    config = ClassConfig(start="task", students=12, assignments=("double",))
    nothing = pl.DataFrame(schema=DIALOGS)
    return draw_class(config, student(), assignments, nothing, nothing, nothing)


@pytest.fixture
def played(
    starts: list[Start], assignments: Mapping[str, Assignment], grader: Grader, tmp_path: Path
) -> Callable[..., pl.DataFrame]:
    def played(
        policies: Mapping[str, Policy],
        engine: Any = None,
        folder: Path = tmp_path / "shards",
        giving_up: GivingUp = SOMETIMES,
        starts: Iterable[Start] = starts,
    ) -> pl.DataFrame:
        return play_all(
            list(starts),
            policies,
            2,
            engine or student(),
            assignments,
            grader,
            {},
            giving_up,
            STEPS,
            7,
            folder.with_suffix(".parquet"),
            folder,
        )

    return played


def of(played: pl.DataFrame, policy: str) -> pl.DataFrame:
    return played.filter(policy=policy).drop("policy")


def test_the_same_words_give_the_same_trajectories_and_no_difference(
    played: Callable[..., pl.DataFrame],
) -> None:
    table = played({"one": says("look"), "two": says("look"), "three": says("look again")})

    assert of(table, "one").equals(of(table, "two"))
    assert not of(table, "one").equals(of(table, "three"))
    figures = compare(trajectories(table, STEPS), ["one", "two", "three"], STEPS, "solved", None, seed=1)
    same = figures.filter(policy="two", other="one").drop_nulls("value")
    assert same.height > 10
    assert same.select("value", "low", "high").fill_null(0.0).unique().rows() == [(0.0, 0.0, 0.0)]
    assert same.filter(stratum="overall").null_count()["low"].item() == 0
    (main,) = same.filter(outcome="solved", stratum="overall").rows(named=True)
    assert (main["p"], main["p_holm"], main["needed"]) == (1.0, 1.0, None)


def test_what_is_drawn_depends_on_no_other_policy_and_on_no_order(
    played: Callable[..., pl.DataFrame], starts: list[Start], tmp_path: Path
) -> None:
    alone = played({"one": says("look")}, student(batch=1), tmp_path / "alone")
    among = {"zero": says("nothing to see"), "one": says("look"), "two": says("look")}
    together = played(among, student(batch=20), tmp_path / "together", starts=reversed(starts))

    assert of(alone, "one").equals(of(together, "one"))
    samples = [of(alone, "one").filter(sample=number)["code"].to_list() for number in (1, 2)]
    assert samples[0] != samples[1]


def test_a_killed_run_plays_what_is_missing_and_gives_the_same_table(
    played: Callable[..., pl.DataFrame], tmp_path: Path
) -> None:
    policies = {"one": says("look"), "two": says("again")}
    whole = student(batch=2)
    expected = played(policies, whole, tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        played(policies, student(2, whole.asked // 2), tmp_path / "killed")
    kept = pl.concat(pl.read_parquet(file) for file in (tmp_path / "killed").glob("*.parquet"))
    assert 0 < kept.select(KEY).n_unique() < expected.select(KEY).n_unique()
    rest = student(batch=2)
    assert played(policies, rest, tmp_path / "killed").equals(expected)
    missing = expected.join(kept, on=KEY, how="anti").filter(pl.col("step") > 0)
    assert rest.asked == missing.height
    done = student()
    assert played(policies, done, tmp_path / "killed").equals(expected) and done.asked == 0


def test_what_a_policy_raises_leaves_what_was_played(
    played: Callable[..., pl.DataFrame], tmp_path: Path
) -> None:
    asked = iter(range(15))

    def say(_: Submission) -> str:
        if next(asked) == 14:
            raise ValueError("no idea")
        return "look"

    with pytest.raises(InputError, match=r"mine:say: for student artificial-0.*it raised ValueError"):
        played({"one": FunctionPolicy("mine:say", say)}, student(1), tmp_path / "raised")
    assert list((tmp_path / "raised").glob("*.parquet"))


def test_trajectories_end_at_full_marks_at_giving_up_or_at_the_last_step(
    played: Callable[..., pl.DataFrame],
) -> None:
    table = played({"one": says("look")}).sort(*KEY, "step")

    ends = set()
    for _, rows in table.group_by(KEY, maintain_order=True):
        assert rows["step"].to_list() == list(range(1, rows.height + 1))
        assert (rows["grade"][:-1] < 100).all()
        assert rows["feedback"].is_null().to_list() == [False] * (rows.height - 1) + [True]
        (end,) = rows["stop_reason"].unique()
        ends.add(end)
        assert (rows["grade"][-1] == 100) == (end == "solved")
        assert (end == "steps") <= (rows.height == STEPS)
    assert ends == {"solved", "gave up", "steps"}
    assert table.schema == PLAYED


def test_who_always_gives_up_submits_once_and_who_never_does_goes_on(
    played: Callable[..., pl.DataFrame], tmp_path: Path
) -> None:
    always = GivingUp((0.0, 0.0, 0.0, 0.0, float("inf")))
    once = played({"one": says("look")}, giving_up=always, folder=tmp_path / "once")
    assert once["step"].max() == 1
    on = played({"one": says("look")}, giving_up=NEVER, folder=tmp_path / "on")
    assert set(on["stop_reason"]) == {"solved", "steps"}


def test_a_policy_knows_the_attempts_before(
    assignments: Mapping[str, Assignment], grader: Grader, starts: list[Start]
) -> None:
    heard: list[Submission] = []

    class Listens:
        def answer(self, submissions: list[Submission]) -> list[Answer]:
            heard.extend(submissions)
            return [Answer(f"attempt {one.attempt}") for one in submissions]

    arguments = ({"one": Listens()}, student(), assignments, grader, {}, NEVER, STEPS, 7)
    rows = [row for rows in play([(start, "one", 1) for start in starts], *arguments) for row in rows]

    assert max(one.attempt for one in heard) > 2
    for one in heard:
        assert len(one.earlier) == one.attempt - 1
        assert [words for _, words in one.earlier] == [f"attempt {at}" for at in range(1, one.attempt)]
        codes = [row["code"] for row in rows if row["student"] == one.student]
        assert [code for code, _ in one.earlier] + [one.code] == codes[: one.attempt]


# --- the class ------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(
    assignments: Mapping[str, Assignment],
    dialogs_of: Callable[..., pl.DataFrame],
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
) -> Callable[..., list[Start]]:
    def drawn(dialogs: pl.DataFrame | None = None, **config: Any) -> list[Start]:
        dialogs = dialogs_of() if dialogs is None else dialogs
        tables = (dialogs, submissions, verdicts)
        return draw_class(ClassConfig(**config), student(), assignments, *tables)

    return drawn


def test_histories_begin_after_a_first_submission_that_failed(
    drawn: Callable[..., list[Start]], submissions: pl.DataFrame
) -> None:
    starts = drawn()
    held_out = submissions.filter(semester="two", order=1)
    found = [(start.student, start.assignment) for start in starts]
    assert found == sorted(held_out.select("student", "assignment").rows())
    codes = {row[:2]: row[2] for row in held_out.select("student", "assignment", "code").iter_rows()}
    for start in starts:
        assert start.last and start.last[0] == codes[start.student, start.assignment]
        assert start.dialog.messages[-1]["role"] == "user" and not start.dialog.grades


def test_the_policy_answers_the_real_first_submission_first(
    drawn: Callable[..., list[Start]], played: Callable[..., pl.DataFrame]
) -> None:
    table = played({"one": FunctionPolicy("m:f", lambda one: f"{one.attempt}")}, starts=drawn()[:2])
    first = table.filter(step=0)
    assert first["feedback"].to_list() == ["1"] * first.height
    assert (first["grade"] < 100).all()
    assert set(table.filter(step=1)["feedback"].drop_nulls()) <= {"2"}


def test_a_class_of_fewer_students_is_drawn_by_seed(drawn: Callable[..., list[Start]]) -> None:
    one = {start.student for start in drawn(students=1, seed=1)}
    assert len(one) == 1
    assert one == {start.student for start in drawn(students=1, seed=1)}
    assert len({next(iter(drawn(students=1, seed=seed))).student for seed in range(9)}) > 1


def test_an_unknown_assignment_is_named(drawn: Callable[..., list[Start]]) -> None:
    with pytest.raises(InputError, match=r"class.assignments: there is no triple; there are double, greet"):
        drawn(assignments=("double", "triple"))


def test_a_class_in_which_nobody_can_start_says_so(
    drawn: Callable[..., list[Start]], dialogs_of: Callable[..., pl.DataFrame]
) -> None:
    with pytest.raises(InputError, match=r"no held-out student failed at a first submission.*start: task"):
        drawn(dialogs_of().filter(split="train"))


# --- giving up ------------------------------------------------------------------------------------------


def dialogs(grades: Iterable[list[float]]) -> pl.DataFrame:
    rows = [
        {"dialog_id": str(at), "turns": [{"submission_id": "", "grade": grade} for grade in row]}
        for at, row in enumerate(grades)
    ]
    return pl.DataFrame(rows, schema={name: DIALOGS[name] for name in ("dialog_id", "turns")})


def test_a_known_chance_of_giving_up_is_found_again() -> None:
    """Of a made-up log in which students give up with a chance that the grade alone decides."""
    random = Random(5)
    chances = {0.0: 0.4, 50.0: 0.1}
    log = []
    for _ in range(3000):
        grades = [random.choice((0.0, 50.0))]
        while len(grades) < 12 and random.random() >= chances[grades[-1]]:
            grades.append(random.choice((0.0, 50.0, 100.0)))
            if grades[-1] == 100:
                break
        log.append(grades)
    learnt = GivingUp.fit(dialogs(log))
    for grade, chance in chances.items():
        for attempts, previous in ((1, None), (2, 0.0), (4, 50.0)):
            assert learnt.chance(attempts, grade, previous) == pytest.approx(chance, abs=0.06)


def test_nobody_gives_up_where_nobody_did_and_everybody_where_all_did() -> None:
    nobody = GivingUp.fit(dialogs([[0.0, 50.0, 100.0], [100.0]]))
    assert nobody.chance(1, 0.0, None) == nobody.chance(30, 99.0, 100.0) == 0.0
    everybody = GivingUp.fit(dialogs([[0.0], [50.0], [100.0]]))
    assert everybody.chance(1, 0.0, None) == everybody.chance(1, 50.0, None) == 1.0
    assert GivingUp.fit(dialogs([])).chance(1, 0.0, None) == 0.0


def test_a_chance_is_one_for_any_history() -> None:
    learnt = GivingUp.fit(dialogs([[0.0, 0.0], [0.0, 50.0, 100.0], [50.0]]))
    for attempts in (1, 20, 10**6):
        for previous in (None, 0.0, 99.0):
            assert 0.0 < learnt.chance(attempts, 40.0, previous) < 1.0


def test_a_verdict_of_full_marks_needs_no_answer(
    assignments: Mapping[str, Assignment], grader: Grader, starts: list[Start]
) -> None:
    class Never:
        def answer(self, submissions: list[Submission]) -> list[Answer]:
            raise AssertionError("asked")

    known = {("double", PROGRAMS[-1]): Verdict(100.0, *_passed(grader, assignments))}
    arguments = ({"one": Never()}, FakeStudent(PROGRAMS[-1:]), assignments, grader, known, NEVER, STEPS, 7)
    found = list(play([(starts[0], "one", 1)], *arguments))
    assert [[row["stop_reason"] for row in rows] for rows in found] == [["solved"]]


def _passed(grader: Grader, assignments: Mapping[str, Assignment]) -> tuple[Any, Any]:
    (verdict,) = grader.grade([(assignments["double"], PROGRAMS[-1])])
    return verdict.status, verdict.tests
