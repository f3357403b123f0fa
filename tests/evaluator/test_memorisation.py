"""What models memorise: exposure to canaries, and overlaps with one student's programs."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutee_evaluator.engines import Completion, Request
from tutee_evaluator.memorisation import overlap
from tutee_evaluator.memorisation.exposure import ALTERNATIVES, measure_exposures
from tutee_evaluator.memorisation.figures import LONG, measure_memorisation
from tutee_evaluator.memorisation.overlap import ANYBODY, longest_overlaps
from tutee_evaluator.metrics import ReportConfig
from tutee_evaluator.schemas import EXPOSURES
from tutee_grader import Assignment
from tutee_serializer.course import Course
from tutee_serializer.dialogs.canaries import CANARY, secret_of
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.selection import SerializeConfig
from tutee_serializer.dialogs.serialize import serialize

SECRET = re.compile("canary_[a-z]{6}")

# --- the longest run of one learner's -----------------------------------------------------------------

words = st.lists(st.sampled_from(["a", "bb", "ccc", "\n"]), max_size=8).map(" ".join)
texts = st.lists(st.tuples(words, st.sampled_from([ANYBODY, 0, 1])), max_size=5)


def by_definition(program: str, texts: Sequence[tuple[str, int]]) -> int:
    found = [0]
    tokens = program.split()
    for start in range(len(tokens)):
        for end in range(start + 1, len(tokens) + 1):
            run = tokens[start:end]
            owners = {owner for text, owner in texts if stands_in(run, text.split())}
            if len(owners) == 1 and owners != {ANYBODY}:
                found.append(sum(map(len, run)))
    return max(found)


def stands_in(run: list[str], text: list[str]) -> bool:
    return any(text[at : at + len(run)] == run for at in range(len(text) - len(run) + 1))


@given(st.lists(words, max_size=4), texts)
def test_the_longest_run_is_that_of_the_definition(programs: list[str], texts: list[tuple[str, int]]) -> None:
    assert longest_overlaps(programs, texts) == [by_definition(program, texts) for program in programs]


def test_programs_that_are_compared_in_parts_have_the_same_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = [f"x = {n}\nprint(x, {n})" for n in range(20)]
    owned = [(f"x = {n}\nprint(x)", n % 3) for n in range(0, 20, 2)]
    whole = longest_overlaps(programs, owned)
    monkeypatch.setattr(overlap, "TOKENS_AT_ONCE", 7)
    assert longest_overlaps(programs, owned) == whole
    assert len(set(whole)) > 1


@pytest.mark.parametrize(
    ("texts", "longest"),
    [
        ([("total = total + price", 0)], "total=total+price"),
        ([("total = total + price", 0), ("total = total + 1", 1)], "total=total+price"),
        ([("total = total + price", 0), ("y\ntotal   = total + price", 1)], ""),
        ([("total = total + price", 0), ("total = total + price", ANYBODY)], ""),
        ([("total = total + price", ANYBODY)], ""),
        ([("total =", 0), ("= total", 0)], "total="),
    ],
)
def test_what_two_share_is_nobodys(texts: list[tuple[str, int]], longest: str) -> None:
    assert longest_overlaps(["total = total +\n    price"], texts) == [len(longest)]


def test_long_programs_of_one_word_take_no_longer() -> None:
    assert longest_overlaps(["a " * 50_000], [("a " * 50_000, 0), ("a " * 49_999, 1)]) == [50_000]


# --- exposure ------------------------------------------------------------------------------------------


@dataclass
class Scripted:
    """A language model whose likelihoods are given."""

    score: Callable[[str], float | None]
    format: str = "edits"
    feedback: Any = "summary"
    batch: int = 1

    def add(self, key: int, request: Request) -> None:
        raise NotImplementedError

    def collect(self) -> list[tuple[int, Completion]]:
        raise NotImplementedError

    def nats(self, dialog: Dialog, turn: str) -> float | None:
        assert not SECRET.search(str(dialog.messages))
        return self.score(SECRET.findall(turn)[0])


@pytest.fixture(scope="module")
def planted(course: Course, submissions: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """The dialogs with 300 canaries."""
    return serialize(submissions, verdicts, course, SerializeConfig(canaries=300), "edits")[0]


def bits(engine: Scripted, dialogs: pl.DataFrame) -> list[float | None]:
    return measure_exposures("sft", lambda: engine, dialogs)["exposure"].to_list()


def test_a_secret_likelier_than_all_others_has_the_highest_exposure(planted: pl.DataFrame) -> None:
    secrets = {secret_of(row)[1] for row in planted.filter(split=CANARY).iter_rows(named=True)}
    assert set(bits(Scripted(lambda one: float(one not in secrets)), planted)) == {8.0}
    assert set(bits(Scripted(lambda one: float(one in secrets)), planted)) == {0.0}


def test_secrets_that_were_not_memorised_have_the_exposure_of_chance(planted: pl.DataFrame) -> None:
    found = bits(Scripted(lambda one: random.Random(one).random()), planted)
    assert len(found) == 300
    assert sum(filter(None, found)) / 300 == pytest.approx(1.42, abs=0.25)  # three standard errors


def test_a_dialog_too_long_for_the_model_has_no_exposure(planted: pl.DataFrame) -> None:
    assert set(bits(Scripted(lambda one: None), planted)) == {None}


def test_without_canaries_no_model_is_loaded(planted: pl.DataFrame) -> None:
    others = planted.filter(pl.col("split") != CANARY)
    table = measure_exposures("sft", lambda: pytest.fail("loaded"), others)
    assert table.is_empty()
    assert table.schema == EXPOSURES


def test_every_secret_is_ranked_among_as_many(planted: pl.DataFrame) -> None:
    asked: list[str] = []
    one = planted.filter(split=CANARY, feedback="summary").head(1)
    bits(Scripted(lambda secret: float(asked.append(secret) is None)), one)
    assert len(set(asked)) == len(asked) == ALTERNATIVES + 1


# --- figures -------------------------------------------------------------------------------------------

OWN = "def double(n):\n    # " + "my very own words, " * 8 + "\n    return n\n"
EVERYBODYS = "def double(n):\n    return n\n"


def tables(*work: tuple[str, str, str], canaries: Sequence[str] = ()) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Dialogs and submissions of (split, student, code), and of canaries with these secrets."""
    dialogs = [
        {"dialog_id": str(at), "student": student, "split": split, "feedback": "none", "messages": []}
        | {"turns": [{"submission_id": f"s{at}"}]}
        for at, (split, student, _) in enumerate(work)
    ]
    dialogs += [
        {"dialog_id": secret, "student": secret, "split": CANARY, "feedback": "none"}
        | {"messages": [{"role": "assistant", "content": secret}], "turns": [{"submission_id": secret}]}
        for secret in canaries
    ]
    submissions = [{"submission_id": f"s{at}", "code": code} for at, (*_, code) in enumerate(work)]
    return pl.DataFrame(dialogs), pl.DataFrame(submissions)


def figures(
    programs: dict[str, list[str | None]],
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    assignments: dict[str, Assignment],
    exposures: Sequence[float | None] = (),
) -> dict[tuple[str, str], float]:
    rollouts = pl.DataFrame(
        [(method, code) for method, codes in programs.items() for code in codes],
        schema={"method": pl.String, "code": pl.String},
        orient="row",
    )
    measured = pl.DataFrame(
        [("sft", str(at), 1.0, 1, value) for at, value in enumerate(exposures)], EXPOSURES, orient="row"
    )
    found = measure_memorisation(
        rollouts.lazy(), dialogs, submissions, assignments, measured, ReportConfig(resamples=200)
    )
    return {(row["method"], row["metric"]): row["value"] for row in found.iter_rows(named=True)}


def test_a_learners_own_words_are_an_overlap(assignments: dict[str, Assignment]) -> None:
    course = tables(("train", "ann", OWN), ("train", "ben", EVERYBODYS), ("test", "cem", EVERYBODYS))
    found = figures({"sft": [OWN, EVERYBODYS, EVERYBODYS, None], "dpo": [EVERYBODYS]}, *course, assignments)
    assert found["sft", "overlap"] > LONG
    assert found["sft", "overlap_share"] == pytest.approx(1 / 3)
    assert found["dpo", "overlap"] < LONG
    assert found["dpo", "overlap_share"] == 0


@pytest.mark.parametrize(
    "other",
    [("train", "ben", OWN), ("test", "cem", OWN), ("validation", "dee", OWN), ("test", "ann", OWN)],
)
def test_what_another_student_or_a_prompt_has_too_is_none(
    other: tuple[str, str, str], assignments: dict[str, Assignment]
) -> None:
    found = figures({"sft": [OWN]}, *tables(("train", "ann", OWN), other), assignments)
    assert found["sft", "overlap"] == 0


def test_what_a_learner_wrote_is_their_own_though_it_precedes_what_is_held_out(
    assignments: dict[str, Assignment],
) -> None:
    dialogs, submissions = tables(("train", "ann", OWN), ("test", "ann", EVERYBODYS))
    context = dialogs.filter(split="train").with_columns(dialog_id=pl.lit("whole"), split=pl.lit("test"))

    found = figures({"sft": [OWN]}, pl.concat([dialogs, context]), submissions, assignments)

    assert found["sft", "overlap"] > LONG


def test_what_a_solution_has_too_is_none(assignments: dict[str, Assignment]) -> None:
    solution = assignments["greet"].solution or ""
    found = figures({"sft": [solution]}, *tables(("train", "ann", solution)), assignments)
    assert found["sft", "overlap"] == 0


def test_secrets_in_generated_programs_are_counted_once_each(assignments: dict[str, Assignment]) -> None:
    course = tables(("train", "ann", EVERYBODYS), canaries=["canary_abcdef", "canary_uvwxyz"])
    written: list[str | None] = ["x = 'canary_abcdef'", "y = 'canary_abcdef'", "canary_abcdeg"]
    found = figures({"sft": written, "dpo": [EVERYBODYS]}, *course, assignments)
    assert found["sft", "reproduced"] == 1
    assert found["dpo", "reproduced"] == 0


def test_without_canaries_there_are_no_figures_of_them(assignments: dict[str, Assignment]) -> None:
    found = figures({"sft": [OWN]}, *tables(("train", "ann", OWN)), assignments)
    assert {metric for _, metric in found} == {"overlap", "overlap_share"}


def test_exposures_are_averaged_over_the_canaries_that_were_measured(
    assignments: dict[str, Assignment],
) -> None:
    course = tables(("train", "ann", OWN), canaries=["canary_abcdef"])
    found = figures({"sft": [OWN]}, *course, assignments, exposures=[1.0, 3.0, 8.0, None])
    assert found["sft", "exposure"] == 4
    assert found["sft", "exposure_highest"] == 8
