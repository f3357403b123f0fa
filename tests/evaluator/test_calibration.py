"""Fitting how a student is mixed with look-ups, with the real grader."""

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tutee_evaluator.calibration.calibrate import calibrate
from tutee_evaluator.engines import Completion, Request
from tutee_evaluator.engines.baselines.revisions import read_revisions
from tutee_evaluator.engines.gate import COMPONENTS, Gate
from tutee_evaluator.forecasts import program_distances
from tutee_grader import Assignment, Grader
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.schemas import DIALOGS

FORMAT = "code"
TASK = "Write a function double(n) that returns twice n.\n"
NOTHING = "def double(n):\n    pass\n"
HALF = "def double(n):\n    return abs(n) * 2\n"  # passes the first test of two
SOLUTION = "def double(n):\n    return n * 2\n"
NOISE = "import os\nfor one in range(7):\n    print(os, one, [one for one in 'abc'])\n"
PEERS = ("def double(x):\n    return abs(x) * 2\n", "def double(x):\n    return x * 2\n")  # HALF, SOLUTION
GRADES = {NOTHING: 0.0, HALF: 50.0, SOLUTION: 100.0, NOISE: 0.0, PEERS[0]: 50.0, PEERS[1]: 100.0}

Write = Callable[[str, random.Random], str | None]


class Scripted:
    """Stands for a trained student: writes what `write` says, from the last program and the draw."""

    format, feedback, batch = FORMAT, "summary", 8

    def __init__(self, write: Write) -> None:
        self.write = write
        self.done: list[tuple[int, Completion]] = []

    def add(self, key: int, request: Request) -> None:
        program = self.write(str(request.dialog.previous), random.Random(request.seed))
        self.done.append((key, Completion(str(program), program)))

    def step(self) -> list[tuple[int, Completion]]:
        done, self.done = self.done, []
        return done

    collect = step


@pytest.fixture(scope="module")
def assignments(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Assignment]:
    folder: Path = tmp_path_factory.mktemp("assignments") / "double"
    folder.mkdir()
    (folder / "task.md").write_text(TASK)
    (folder / "solution.py").write_text(SOLUTION)
    tests = "".join(f'  - {{call: "double({n})", returns: "{2 * n}"}}\n' for n in (2, -1))
    (folder / "tests.yaml").write_text(f"form: calls\ntests:\n{tests}")
    return {"double": Assignment.load(folder)}


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as grader:
        yield grader


def history(*programs: str) -> Dialog:
    dialog = Dialog.start(FORMAT, "summary", TASK)
    for program in programs:
        dialog.append(program, "Not yet.")
    dialog.grades = tuple(GRADES[program] for program in programs)
    return dialog


def course(*works: tuple[str, tuple[str, ...]]) -> pl.DataFrame:
    """DIALOGS of students, each with the split that they are in and their programs."""
    rows = [
        {
            "dialog_id": f"{number:03}",
            "student": str(number),
            "format": FORMAT,
            "feedback": "summary",
            "split": split,
            "messages": history(*programs).messages,
            "turns": [{"submission_id": one, "grade": GRADES[one]} for one in programs],
        }
        for number, (split, programs) in enumerate(works)
    ]
    return pl.DataFrame(rows, schema=DIALOGS)


# Training students all solve the task; of the validation students those at grade 0 do nothing, and those at
# grade 50 solve it.
TRAIN = [("train", (NOTHING, NOISE)), ("train", (HALF, NOISE))]
VALIDATION = [("validation", (NOTHING, NOTHING)), ("validation", (HALF, SOLUTION))] * 6

Fit = Callable[..., Gate]


@pytest.fixture(scope="module")
def fit(assignments: Mapping[str, Assignment], grader: Grader) -> Fit:
    def fitted(write: Write, dialogs: pl.DataFrame, penalty: float = 0.001, **more: int) -> Gate:
        sizes = {"starts": 50, "samples": 3, **more}
        settings = {"penalty": penalty, **sizes}
        return calibrate(
            Scripted(write), dialogs, read_revisions(dialogs, "train"), assignments, grader, **settings
        )[0]

    return fitted


def right(last: str, chance: random.Random) -> str:
    return SOLUTION


def wrong(last: str, chance: random.Random) -> str:
    return NOISE


def test_each_state_gets_the_component_that_forecasts_it(fit: Fit) -> None:
    gate = fit(right, course(*TRAIN, *VALIDATION))
    assert gate.probabilities(history(NOTHING))["copy"] > 0.9
    assert gate.probabilities(history(HALF))["model"] > 0.9


def test_where_peers_only_name_things_otherwise_their_edits_are_taken(fit: Fit) -> None:
    gate = fit(wrong, course(*[("train", PEERS)] * 8, *VALIDATION))
    assert gate.probabilities(history(HALF))["peers"] > 0.9


def test_a_penalty_makes_the_mixture_the_same_everywhere(fit: Fit) -> None:
    gate = fit(right, course(*TRAIN, *VALIDATION), penalty=1e4)
    there, here = gate.probabilities(history(NOTHING)), gate.probabilities(history(HALF))
    assert there == pytest.approx(here, abs=0.01)
    assert there["peers"] < 0.05


def test_a_model_that_writes_noise_is_left_out(fit: Fit) -> None:
    solved = ("train", (HALF, SOLUTION))
    gate = fit(wrong, course(*[solved] * 8, *VALIDATION))
    assert gate.probabilities(history(HALF))["peers"] > 0.9
    assert gate.probabilities(history(NOTHING))["model"] < 0.05


def test_turns_without_a_program_are_left_out_too(fit: Fit) -> None:
    gate = fit(lambda last, chance: None, course(*TRAIN, *VALIDATION))
    assert gate.probabilities(history(HALF))["model"] < 0.05


def test_a_model_is_weighed_by_what_is_left_of_it(fit: Fit) -> None:
    """Half of the 36 turns that one model writes first do not parse; students' 60 revisions do."""
    first = iter([SOLUTION, "def double("] * 18)

    def either(last: str, chance: random.Random) -> str:
        return next(first, SOLUTION)

    dialogs = course(*TRAIN * 30, *VALIDATION)
    one, other = fit(either, dialogs), fit(right, dialogs)
    assert one.acceptance == pytest.approx(1 / 61, abs=0.01)
    assert other.acceptance == 1
    assert one.probabilities(history(HALF)) == pytest.approx(other.probabilities(history(HALF)), abs=0.01)


def test_constant_weights_are_those_with_the_least_score(fit: Fit) -> None:
    """Of students at one grade, half hand in the same again and half solve the task."""
    works = [("validation", (HALF, HALF)), ("validation", (HALF, SOLUTION))] * 4
    gate = fit(right, course(*TRAIN, *works), penalty=0)
    (matrix,) = program_distances([[HALF, SOLUTION]])
    between = matrix[0, 1]

    def scores(model: float) -> float:
        """Mean energy score over COPY's, plus mean CRPS over COPY's: both scale with the distance alone."""
        spread = model * (1 - model) * between
        mean = (model * between + (1 - model) * between) / 2
        return float(mean - spread)

    best = min(np.linspace(0, 1, 1001), key=scores)
    assert best == pytest.approx(0.5)
    chances = gate.probabilities(history(HALF))
    assert chances["model"] == pytest.approx(best, abs=0.01)
    assert chances["copy"] == pytest.approx(1 - best, abs=0.01)


def test_the_same_seed_gives_the_same_gate(fit: Fit) -> None:
    def either(last: str, chance: random.Random) -> str:
        return chance.choice([SOLUTION, HALF, NOISE])

    dialogs = course(*TRAIN, *VALIDATION)
    settings = {"starts": 5, "samples": 2}
    assert fit(either, dialogs, **settings) == fit(either, dialogs, **settings)
    assert fit(either, dialogs, **settings) != fit(either, dialogs, seed=1, **settings)


def test_without_validation_students_all_components_are_as_likely(fit: Fit) -> None:
    gate = fit(right, course(*TRAIN))
    assert gate.probabilities(history(HALF)) == pytest.approx(dict.fromkeys(COMPONENTS, 1 / 3))
