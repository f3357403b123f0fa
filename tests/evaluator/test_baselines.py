import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tutee_evaluator.engines import Engine, EngineConfig, Request, complete
from tutee_evaluator.engines.baselines import BASELINES, Copy, Mix, Nearest, Transition, mix
from tutee_evaluator.engines.baselines.nearest import K
from tutee_evaluator.engines.loading import load_engine
from tutee_evaluator.schemas import MIX, NEAREST, TRANSITION
from tutee_evaluator.similarity import compare
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import write_turn
from tutee_serializer.schemas import DIALOGS

Work = Sequence[tuple[str, float]]  # a student's programs on a task, with their grades
LEARNING = [NEAREST, TRANSITION, MIX]
STUDENTS = 21


def program(number: int, length: int = 40) -> str:
    """Programs of which two are the more alike the closer their numbers are, from 0 to `length`."""
    lines = [f"    x{line} = {'old' if line < number else 'new'}(values, {line})" for line in range(length)]
    return "\n".join(["def total(values):", *lines, ""])


def then(number: int) -> str:
    """What the training student of COURSE with this number, and nobody else, submitted next."""
    return program(number) + "# then\n"


def history(*work: tuple[str, float], format: str = "edits", task: str = "Write `total`.") -> Dialog:
    dialog = Dialog.start(format, "summary", task)
    for code, _ in work:
        dialog.append(code, "Not yet.")
    dialog.grades = tuple(grade for _, grade in work)
    return dialog


def table(*works: tuple[str, Work], format: str = "edits") -> pl.DataFrame:
    """DIALOGS of students, each with the split that they are in and their work."""
    rows = [
        {
            "dialog_id": str(number),
            "format": format,
            "feedback": "summary",
            "split": split,
            "messages": history(*work, format=format).messages,
            "turns": [{"submission_id": code, "grade": grade} for code, grade in work],
        }
        for number, (split, work) in enumerate(works)
    ]
    return pl.DataFrame(rows, schema=DIALOGS)


COURSE = table(
    *[("train", [(program(number), 50.0), (then(number), 100.0)]) for number in range(STUDENTS)],
    *[("validation", [(program(number), 50.0), (program(number + 2), 50.0)]) for number in (3, 8, 12)],
    *[
        ("test", [(program(number), 50.0), (program(number) + "# test\n", 50.0)])
        for number in range(STUDENTS)
    ],
)


def baseline(name: str, dialogs: pl.DataFrame = COURSE, format: str = "edits") -> Engine:
    return BASELINES[name](format, "summary", dialogs)


def drawn(engine: Engine, dialog: Dialog, times: int) -> list[str | None]:
    """The programs of that many draws."""
    completions = complete(engine, [Request(dialog, 1.0, seed) for seed in range(times)])
    return [completion.program for completion in completions]


def likeliest(engine: Engine, dialog: Dialog) -> str | None:
    return complete(engine, [Request(dialog)])[0].program


def agrees(count: int, share: float, times: int) -> bool:
    """Whether a count of draws is within four standard deviations of what is expected."""
    return abs(count - times * share) < 4 * (times * share * (1 - share)) ** 0.5


# --- all of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINES)
def test_without_a_previous_program_there_is_none(name: str) -> None:
    for completion in complete(baseline(name), [Request(history()), Request(history(), 1.0)]):
        assert completion.program is None and completion.reason


@pytest.mark.parametrize("name", BASELINES)
def test_a_task_that_no_training_student_tried_twice_is_left_to_copy(name: str) -> None:
    twice = [(program(1), 0.0), (program(2), 0.0)]
    once = baseline(name, table(("train", twice[:1]), ("validation", twice), ("test", twice)))
    here, elsewhere = history((program(5), 0.0)), history((program(5), 0.0), task="Another task.")

    for engine, dialog in ((once, here), (baseline(name), elsewhere)):
        assert {likeliest(engine, dialog), *drawn(engine, dialog, 20)} == {program(5)}


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("format", ["code", "dual", "edits", "plain_edits"])
def test_a_turn_holds_the_program_in_the_format_of_the_dialogs(name: str, format: str) -> None:
    works = [("train", [(program(1), 0.0), (program(grade), float(grade))]) for grade in range(9)]
    engine = baseline(name, table(*works, format=format), format)
    dialog = history((program(5), 0.0), format=format)

    for completion in complete(engine, [Request(dialog, 1.0, seed) for seed in range(20)]):
        assert completion.program and completion.content == write_turn(format, program(5), completion.program)
        assert completion.reason is completion.repair is None


@pytest.mark.parametrize("name", LEARNING)
def test_no_program_of_a_validation_or_test_student_is_submitted(name: str) -> None:
    engine, dialog = baseline(name), history((program(7), 50.0))

    submitted = {likeliest(engine, dialog), *drawn(engine, dialog, 200)}
    theirs = {then(number) for number in range(STUDENTS)}
    assert submitted <= theirs | {program(7)}
    assert submitted & theirs, "only the last program: the test would not see another student's"


@pytest.mark.parametrize("name", LEARNING)
def test_a_draw_depends_on_its_request_alone(name: str) -> None:
    dialogs = [history((program(number), 50.0)) for number in (2, 9)]
    requests = [Request(dialogs[number % 2], 1.0, number) for number in range(40)]
    engine = baseline(name)
    written = complete(engine, requests)
    assert len({completion.program for completion in written}) > 4, "all the same: the test would see no swap"

    order = random.Random(0).sample(range(40), 40)
    for again in (engine, baseline(name)):
        assert complete(again, [requests[at] for at in order]) == [written[at] for at in order]


@pytest.mark.parametrize("name", LEARNING)
def test_the_order_of_the_dialogs_does_not_matter(name: str) -> None:
    works = [("train", [(program(5), 0.0), (program(5) + f"# {word}\n", 10.0)]) for word in "edcbagfhkji"]
    works += [("validation", [(program(5), 0.0), (program(number), 0.0)]) for number in (6, 7)]
    requests = [Request(history((program(5), 0.0)), heat, seed) for heat in (0, 1) for seed in range(50)]

    one, other = (baseline(name, table(*listed)) for listed in (works, works[::-1]))
    assert complete(one, requests) == complete(other, requests)


def test_a_loaded_baseline_learns_from_the_dialogs_that_it_reads() -> None:
    without = COURSE.with_columns(pl.lit("none").alias("feedback"))
    engine = load_engine(NEAREST, Path("none"), pl.concat([without, COURSE]), EngineConfig(batch=3))
    dialog = history((program(7), 50.0))

    assert (engine.format, engine.feedback) == ("edits", "summary")
    assert drawn(engine, dialog, 50) == drawn(baseline(NEAREST), dialog, 50)


def test_copy_submits_the_last_program_at_any_temperature() -> None:
    engine, dialog = Copy("edits", "summary"), history((program(3), 0.0), (program(4), 0.0))

    assert {likeliest(engine, dialog), *drawn(engine, dialog, 5)} == {program(4)}


# --- NEAREST ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 6, 20])
def test_nearest_submits_what_followed_an_equal_program(number: int) -> None:
    assert likeliest(baseline(NEAREST), history((program(number), 50.0))) == then(number)


@pytest.mark.parametrize(
    ("asked", "others"),
    [
        ("b = a\n", ["a = b\n"]),  # in another order
        ("f(1)\nf(1)\nf(1)\n", ["f(1)\n", "f(1)\nf(1)\n"]),  # less often
        ("f(2)\n", ["f(1) + f(2)\n"]),  # with more besides
        ("", ["x = 1\n", "print()\n"]),
    ],
)
def test_nearest_finds_an_equal_program_among_similar_ones(asked: str, others: list[str]) -> None:
    works = [("train", [(code, 0.0), (f"print({at})\n", 0.0)]) for at, code in enumerate([*others, asked])]

    assert likeliest(Nearest("edits", "summary", table(*works)), history((asked, 0.0))) == works[-1][1][1][0]


def test_nearest_draws_evenly_from_what_followed_the_nearest_programs() -> None:
    times = 4000
    counts = Counter(drawn(baseline(NEAREST), history((program(0), 50.0)), times))

    assert set(counts) == {then(number) for number in range(K)}
    statistic = sum((count - times / K) ** 2 / (times / K) for count in counts.values())
    assert statistic < 24.3  # chi-squared with 7 degrees of freedom exceeds it once in a thousand


# --- TRANSITION -------------------------------------------------------------------------------------


def moves(*pairs: tuple[int, int]) -> Transition:
    """It has learned from students who went from a grade to a grade, with the program of that number."""
    works = [("train", [(program(0), float(one)), (program(other), float(other))]) for one, other in pairs]
    return Transition("edits", "summary", table(*works))


def test_transition_keeps_the_grade_as_often_as_training_students() -> None:
    engine, times = moves((20, 20), (20, 20), (20, 20), (20, 30), (20, 10), (30, 1), (10, 2)), 4000

    counts = Counter(drawn(engine, history((program(25), 30.0), (program(26), 20.0)), times))

    assert set(counts) == {program(26), program(30), program(10)}
    assert agrees(counts[program(26)], 3 / 5, times) and agrees(counts[program(30)], 1 / 5, times)


@pytest.mark.parametrize(("grade", "expected"), [(0.0, 1), (49.0, 1), (50.0, 1), (51.0, 2), (99.0, 2)])
def test_transition_goes_by_the_nearest_grade_and_by_the_lower_of_two(grade: float, expected: int) -> None:
    assert set(drawn(moves((90, 2), (10, 1)), history((program(5), grade)), 30)) == {program(expected)}


@pytest.mark.parametrize(
    ("grades", "expected"),
    [
        ((20, 20, 30, 31), 5),  # half of them stay
        ((20, 30, 31, 31), 31),
        ((20, 31, 30), 30),  # as often as the other, which comes after it in order
    ],
)
def test_transitions_likeliest_is_what_most_students_did(grades: tuple[int, ...], expected: int) -> None:
    engine = moves(*[(20, grade) for grade in grades])

    assert likeliest(engine, history((program(5), 20.0))) == program(expected)


# --- MIX --------------------------------------------------------------------------------------------


def mean_score(weight: float, forecasts: list[list[str]], distances: dict[tuple[str, str], float]) -> float:
    """The mean energy score of explicit mixtures, program by program."""
    total = 0.0
    for copy, *nearest, real in forecasts:
        shares = [(copy, 1 - weight), *[(code, weight / len(nearest)) for code in nearest]]
        total += sum(share * distances[code, real] for code, share in shares)
        total -= sum(p * q * distances[one, other] for one, p in shares for other, q in shares) / 2
    return total / len(forecasts)


@pytest.mark.parametrize("seed", range(12))
def test_the_weight_is_that_of_the_best_of_all_mixtures(seed: int) -> None:
    rng = random.Random(seed)
    pool = [*[program(number, 6) for number in range(7)], "x = 1\n", "for i in range(3):\n    print(i)\n"]
    pairs = [(one, other) for one in pool for other in pool]
    similar = {pair: found.corrected for pair, found in zip(pairs, compare(pairs), strict=True)}
    distances = {(one, other): 1 - (similar[one, other] + similar[other, one]) / 2 for one, other in pairs}
    sizes = [rng.randint(1, 4) for _ in range(rng.randint(1, 4))]
    forecasts = [[rng.choice(pool), *rng.sample(pool, size), rng.choice(pool)] for size in sizes]

    weight = mix.fit_weight(forecasts)

    grid = np.linspace(0, 1, 201)
    scores = [mean_score(other, forecasts, distances) for other in grid]
    assert mean_score(weight, forecasts, distances) <= min(scores) + 1e-12
    assert abs(weight - grid[np.argmin(scores)]) <= 0.005


def test_mix_is_fitted_to_what_validation_students_did(monkeypatch: pytest.MonkeyPatch) -> None:
    staying = ("validation", [(program(0), 50.0), (program(0) + "# same\n", 50.0)])
    moving = ("validation", [(program(0), 50.0), (then(2), 50.0)])
    trained = COURSE.filter(pl.col("split") == "train")

    def weight(*works: tuple[str, Work]) -> float:
        return Mix("edits", "summary", pl.concat([trained, table(*works)])).weight

    assert weight(staying) < weight(staying, moving) < weight(moving)
    assert weight() == 0.5
    monkeypatch.setattr(mix, "FORECASTS", 1)
    assert weight(staying, moving) in (weight(staying), weight(moving))


def weighted(weight: float) -> Mix:
    engine = Mix("edits", "summary", COURSE)
    engine.weight = weight
    return engine


def test_mix_is_nearest_as_often_as_its_weight_says() -> None:
    times = 4000
    counts = Counter(drawn(weighted(0.3), history((program(0), 50.0)), times))

    assert set(counts) == {program(0), *[then(number) for number in range(K)]}
    assert agrees(times - counts[program(0)], 0.3, times)


@pytest.mark.parametrize(("weight", "expected"), [(0.0, program(7)), (0.5, program(7)), (0.51, then(7))])
def test_mixs_likeliest_is_that_of_the_one_with_more_weight(weight: float, expected: str) -> None:
    assert likeliest(weighted(weight), history((program(7), 50.0))) == expected
