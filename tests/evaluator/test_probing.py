"""Probes: what they predict, what they read, and that they find what is there and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.probing.probes import (
    AUC,
    COUNTS_NAME,
    FOLDS,
    INNER_FOLDS,
    LEAST_STUDENTS,
    PROBES,
    SKILL,
    auc,
    folds,
    predict,
    probe,
    why_not,
)
from tutee_evaluator.probing.results import draw_probes, probes_table
from tutee_evaluator.probing.run import probe_students
from tutee_evaluator.probing.states import LAYERS, dialogs_at, read_states
from tutee_evaluator.probing.targets import TARGETS, find_targets
from tutee_evaluator.rollout.grading import known_verdicts
from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.schemas import DIALOGS, SUBMISSIONS

# --- targets ----------------------------------------------------------------------------------------

# A student's programs with their grades: one line changes, nothing, a line comes, five lines change, and
# after the program that solves comes one that belongs to no trajectory.
WORK = [
    ("x = 1\ny = 2", 50.0),
    ("x = 1\ny = 3", 40.0),
    ("x = 1\ny = 3", 40.0),
    ("x = 1\ny = 3\nz = 4", 60.0),
    ("a = 1\nb = 2", 100.0),
    ("a = 1", 0.0),
]
ABANDONED = [("x = 1", 10.0), ("x = 1\ny = 2", 30.0)]


def tables(
    *work: tuple[str, str, list[tuple[str, float]]], split: str = "test"
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """DIALOGS, without messages, and SUBMISSIONS of (student, assignment, programs with grades)."""
    dialogs, submissions = [], []
    for student, assignment, programs in work:
        ids = [f"{student}/{assignment}/{order}" for order in range(len(programs))]
        turns = [
            {"submission_id": one, "grade": grade} for one, (_, grade) in zip(ids, programs, strict=True)
        ]
        dialogs.append(
            {
                "dialog_id": f"{student}/{assignment}",
                "student": student,
                "split": split,
                "messages": [],
                "turns": turns,
            }
        )
        submissions += [
            {"submission_id": one, "student": student, "assignment": assignment, "order": order, "code": code}
            for order, (one, (code, _)) in enumerate(zip(ids, programs, strict=True), 1)
        ]
    columns = [
        pl.DataFrame(rows).match_to_schema(schema, missing_columns="insert")
        for rows, schema in ((dialogs, DIALOGS), (submissions, SUBMISSIONS))
    ]
    return columns[0], columns[1]


def test_the_targets_are_those_of_a_trajectory_counted_by_hand() -> None:
    rows = find_targets(*tables(("ada", "sum", WORK)))

    assert rows["turn"].to_list() == rows["attempt"].to_list() == [1, 2, 3, 4]
    assert rows["change"].to_list() == [0, -10, 0, 20]
    assert rows["lines"].to_list() == [2, 2, 2, 3]
    assert rows["attempts_left"].to_list() == [4, 3, 2, 1]
    assert rows["modification"].to_list() == [True, False, False, False]
    assert rows["small_edit"].to_list() == [False, False, True, False]
    assert rows["large_edit"].to_list() == [False, False, False, True]
    assert rows["solves"].all() and not rows["gives_up"].any()
    assert rows["backtracks"].to_list() == [True, False, False, False]
    assert rows["distance"][0] == pytest.approx(2 / 6)  # two of six tokens: both names
    assert rows["distance"][3] > rows["distance"][0]


def test_who_stops_without_solving_gives_up_at_the_last_submission_alone() -> None:
    rows = find_targets(*tables(("ben", "sum", ABANDONED)))

    assert rows["gives_up"].to_list() == [False, True]
    assert not rows["solves"].any()
    assert rows["attempts_left"].to_list() == [1, 0]
    assert rows["distance"][1] == 0
    for name in ("large_edit", "small_edit", "modification"):
        assert rows[name].is_null().to_list() == [False, True]


def test_trajectories_of_other_students_and_assignments_are_others() -> None:
    together = find_targets(
        *tables(("ada", "sum", WORK), ("ada", "max", ABANDONED), ("ben", "sum", ABANDONED))
    )

    for student, assignment, work in (
        ("ada", "sum", WORK),
        ("ada", "max", ABANDONED),
        ("ben", "sum", ABANDONED),
    ):
        alone = find_targets(*tables((student, assignment, work)))
        assert together.filter(student=student, assignment=assignment).equals(alone)


def test_students_whom_a_model_was_trained_on_are_not_probed() -> None:
    assert find_targets(*tables(("ada", "sum", WORK), split="train")).is_empty()


# --- states -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def student(students: Path) -> Student:
    return Student.load(students / "sft", device="cpu", batch=3)


@pytest.fixture(scope="module")
def dialogs(dialogs_of: Callable[..., pl.DataFrame]) -> pl.DataFrame:
    return dialogs_of()


@pytest.fixture(scope="module")
def rows(dialogs: pl.DataFrame, submissions: pl.DataFrame) -> pl.DataFrame:
    return find_targets(dialogs, submissions)


@pytest.fixture(scope="module")
def asked(
    rows: pl.DataFrame,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    student: Student,
) -> list[Dialog]:
    return list(dialogs_at(rows, dialogs, known_verdicts(submissions, verdicts), student))


def test_the_model_reads_the_real_dialog_up_to_the_feedback_on_the_submission(
    rows: pl.DataFrame, dialogs: pl.DataFrame, asked: list[Dialog]
) -> None:
    whole = {
        row["dialog_id"]: Dialog.from_row(row)
        for row in dialogs.filter(feedback="summary").iter_rows(named=True)
    }
    for row, dialog in zip(rows.iter_rows(named=True), asked, strict=True):
        real = whole[row["dialog_id"]].messages
        cut = 2 * row["turn"] + 2  # system, task, and each turn with its feedback
        assert dialog.messages[: len(real)] == real[:cut]
        assert len(dialog.messages) == cut and dialog.messages[-1]["role"] == "user"
    assert any(
        row["attempts_left"] == 0 for row in rows.iter_rows(named=True)
    )  # whose feedback no dialog has


def test_a_state_does_not_change_when_later_turns_do(
    rows: pl.DataFrame,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    student: Student,
) -> None:
    firsts = rows.filter(turn=1)
    known = known_verdicts(submissions, verdicts)
    later = {"role": "assistant", "content": "something else"}
    changed = dialogs.with_columns(
        messages=pl.Series(
            [messages[:4] + [later] * len(messages[4:]) for messages in dialogs["messages"].to_list()],
            dtype=DIALOGS["messages"],
        )
    )
    before, after = (
        read_states(student, dialogs_at(firsts, table, known, student)) for table in (dialogs, changed)
    )
    assert not changed["messages"].equals(dialogs["messages"])
    for layer in LAYERS:
        assert np.array_equal(before.of[layer], after.of[layer])


def test_a_state_is_that_of_the_whole_dialog_read_at_once(student: Student, asked: list[Dialog]) -> None:
    import torch

    states = read_states(student, asked)  # several lengths, in batches of three
    for place, dialog in enumerate(asked):
        prompt = torch.tensor([[*student.prompt(dialog), 5, 6, 7]])  # a model sees nothing that comes after
        with torch.inference_mode():
            found = student.model(prompt, output_hidden_states=True).hidden_states
        assert len(found) == 3  # the embeddings and two layers, of which the first is in the middle
        for layer, of in (("middle", found[1]), ("last", found[2])):
            np.testing.assert_allclose(states.of[layer][place], of[0, -4].numpy(), atol=1e-4)


def test_what_is_too_long_for_the_model_is_said_and_has_no_state(
    student: Student, asked: list[Dialog]
) -> None:
    long = Dialog.start("edits", "summary", "Write a very long program. " * 400)
    states = read_states(student, [asked[0], long])

    assert states.too_long.tolist() == [False, True]
    assert states.cut.tolist() == [False, True]
    assert np.isnan(states.of["last"][1]).all() and not np.isnan(states.of["last"][0]).any()


# --- probes -----------------------------------------------------------------------------------------

STUDENTS, EACH = 24, 8
PLANTED = [target for target in TARGETS if target.name in ("distance", "solves")]


FEW = pl.col("student").is_in([f"s{number}" for number in range(LEAST_STUDENTS - 1)])


def made_up(seed: int = 0) -> tuple[pl.DataFrame, NDArray[np.float64]]:
    """Rows as of `find_targets` of a made-up class, and the noise that their targets are made of."""
    chance = np.random.default_rng(seed)
    hidden = chance.normal(size=(STUDENTS * EACH, len(TARGETS)))
    columns = {
        target.name: hidden[:, place] > 0.3 if target.is_outcome else hidden[:, place]
        for place, target in enumerate(TARGETS)
    }
    counts = {name: chance.integers(0, 9, len(hidden)) for name in ("attempt", "grade", "change", "lines")}
    of = {
        "student": [f"s{number // EACH}" for number in range(len(hidden))],
        "assignment": [f"a{number % 2}" for number in range(len(hidden))],
    }
    return pl.DataFrame({**of, **counts, **columns}), hidden


@pytest.fixture(scope="module")
def planted() -> pl.DataFrame:
    """PROBES of states that hold the targets, mixed and with noise."""
    rows, hidden = made_up()
    chance = np.random.default_rng(1)
    mixed = hidden @ chance.normal(size=(len(TARGETS), 20)) + chance.normal(scale=0.5, size=(len(hidden), 20))
    return probe(rows, {("sft", "last"): mixed.astype(np.float32)}, PLANTED).table


def test_a_planted_signal_is_found_and_shuffled_labels_have_none(planted: pl.DataFrame) -> None:
    assert planted.schema == PROBES
    found = planted.filter(student="sft", score=SKILL)
    for target in PLANTED:
        real, shuffled = (found.filter(target=target.name, labels=labels) for labels in ("real", "shuffled"))
        assert real["low"].item() > 0.2, target.name
        assert real["over_counts_low"].item() > 0.2, target.name
        assert shuffled["value"].item() < 0.1, target.name
        assert shuffled["low"].item() <= 0, target.name
    areas = planted.filter(student="sft", score=AUC)
    assert areas.filter(labels="real")["low"].min() > 0.8
    assert abs(areas.filter(labels="shuffled")["value"].mean() - 0.5) < 0.1
    assert set(areas["target"]) == {"solves"}


def test_counts_without_a_signal_have_no_skill(planted: pl.DataFrame) -> None:
    counts = planted.filter(student=COUNTS_NAME, score=SKILL)
    assert set(counts["target"]) == {"distance", "solves"}
    assert counts["value"].max() < 0.1
    assert counts["over_counts"].is_null().all()


def test_over_counts_is_the_difference_to_the_counts(planted: pl.DataFrame) -> None:
    counts = planted.filter(student=COUNTS_NAME).select("target", "score", counts="value")
    compared = planted.drop_nulls("over_counts").join(counts, on=["target", "score"])
    assert compared.height == 3  # one skill of each target, and an AUC of the outcome
    difference = compared["value"] - compared["counts"]
    np.testing.assert_allclose(compared["over_counts"], difference)
    assert (compared["over_counts_low"] < difference).all()
    assert (difference < compared["over_counts_high"]).all()


def test_no_student_is_on_both_sides_of_a_fold() -> None:
    rows, _ = made_up()
    students, labels = rows["student"].to_numpy(), rows["solves"].cast(pl.Float64).to_numpy()
    for count in (FOLDS, INNER_FOLDS):
        for is_outcome in (True, False):
            tested = []
            for train, test in folds(count, is_outcome, seed=0).split(students, labels, students):
                assert not set(students[train]) & set(students[test])
                tested += test.tolist()
            assert sorted(tested) == list(range(len(students)))


def test_a_probe_cannot_know_what_only_a_students_own_rows_say() -> None:
    """Each student's labels and features are one number of their own, and no two students' have to do with
    each other: what is learnt of the others says nothing, and whoever was on both sides would be known."""
    chance = np.random.default_rng(3)
    students = np.repeat(np.arange(STUDENTS), EACH)
    who = np.eye(STUDENTS)[students]
    labels = chance.normal(size=STUDENTS)[students]
    found = predict(who, labels, students, is_outcome=False, seed=0)
    assert ((labels - found.probe) ** 2).sum() > 0.9 * ((labels - found.mean) ** 2).sum()


@pytest.mark.parametrize(
    ("name", "column", "reason"),
    [
        ("distance", pl.lit(0.5), "it is 0.5 at each of 192 submissions"),
        ("solves", pl.lit(True), "it is true at each of 192 submissions"),
        ("gives_up", FEW, "it is true for 9 students only, and 10 are needed"),
        ("solves", ~FEW, "it is false for 9 students only, and 10 are needed"),
        (
            "modification",
            pl.when(FEW).then("modification"),
            "9 students have submissions to probe at, and 10 are needed",
        ),
    ],
)
def test_targets_that_cannot_be_probed_say_why(name: str, column: pl.Expr, reason: str) -> None:
    rows = made_up()[0].with_columns(column.alias(name))
    (target,) = (target for target in TARGETS if target.name == name)
    assert why_not(rows, target) == reason
    for other in TARGETS:
        assert other.name == name or why_not(rows, other) is None
    probed = probe(rows, {}, [target])
    assert probed.table.is_empty() and probed.not_probed == {name: reason}


def test_the_area_under_the_curve_is_sklearns() -> None:
    from sklearn.metrics import roc_auc_score

    chance = np.random.default_rng(0)
    predicted = chance.integers(0, 6, 40) / 5  # with ties
    truth = chance.random(40) < 0.4
    weights = chance.integers(0, 4, (5, 40)).astype(float)
    expected = [roc_auc_score(truth, predicted, sample_weight=one) for one in weights]
    np.testing.assert_allclose(auc(predicted, truth, weights), expected)
    assert np.isnan(auc(predicted, np.ones(40, dtype=bool), weights)).all()


# --- all together -----------------------------------------------------------------------------------


def test_a_class_that_is_too_small_is_written_with_the_reasons(
    students: Path, dialogs: pl.DataFrame, submissions: pl.DataFrame, verdicts: pl.DataFrame, tmp_path: Path
) -> None:
    named = {"base": students / "base", "sft": students / "sft"}
    probed, counts = probe_students(named, dialogs, submissions, verdicts, tmp_path / "probing")

    assert (counts.submissions, counts.students, counts.too_long) == (11, 3, 0)
    assert probed.table.is_empty() and len(probed.not_probed) == len(TARGETS)
    written = json.loads((tmp_path / "probing/probes.json").read_text())
    assert written["submissions"] == 11 and written["not_probed"] == probed.not_probed
    assert (
        "3 students have submissions to probe at, and 10 are needed" in written["not_probed"]["attempts_left"]
    )


def test_models_that_can_read_nothing_and_logs_without_held_out_work_are_errors(
    students: Path, dialogs: pl.DataFrame, submissions: pl.DataFrame, verdicts: pl.DataFrame, tmp_path: Path
) -> None:
    import shutil

    short = Path(shutil.copytree(students / "base", tmp_path / "base"))
    card = StudentCard.load(short)
    StudentCard(**{**vars(card), "max_length": 40}).save(short)
    with pytest.raises(InputError, match="all of the 11 submissions are longer"):
        probe_students({"base": short}, dialogs, submissions, verdicts, tmp_path / "probing")
    with pytest.raises(InputError, match="nothing to probe"):
        probe_students(
            {"base": short}, dialogs.filter(split="train"), submissions, verdicts, tmp_path / "probing"
        )
    with pytest.raises(InputError, match="5 held-out dialogs are not there in format 'edits' with feedback"):
        probe_students(
            {"base": students / "base"},
            dialogs.filter(feedback="none"),
            submissions,
            verdicts,
            tmp_path / "p",
        )
    assert not (tmp_path / "probing").exists()


def test_the_table_and_the_picture_show_every_target(planted: pl.DataFrame, tmp_path: Path) -> None:
    text = probes_table(planted)
    draw_probes(planted, tmp_path)

    for target in PLANTED:
        assert sum(line.startswith(target.words) for line in text.splitlines()) == 1
        assert target.words in (tmp_path / "probes.svg").read_text()
    assert (tmp_path / "probes.png").stat().st_size > 10_000
