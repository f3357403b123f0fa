"""Pairs each step of each rollout with the real student's submission: the table STEPS."""

import polars as pl

from tutee_evaluator.schemas import Outcome
from tutee_evaluator.similarity import compare
from tutee_grader.errors import InputError

# The kinds of outcome of a submission. One that compiles and passes no test, for another reason than a wrong
# result, has the outcome of its first test (error, timeout, ...) as its kind; one that does not compile has
# its status.
SOLVED, SOME, NONE = "solved", "some tests pass", "no test passes"
UNREADABLE = Outcome.UNREADABLE.value
_RAN = "compiles"

# One row per rollout and step 1..steps, with or without a submission. Columns with `real_` are the real
# student's, the others the rollout's; null where there is no submission. `proximity`, `codebleu` and
# `codebleu_corrected` are null unless both submitted a program. `solved` and `real_solved`: grade 100 was
# reached at this step or before; `changed`: the real grade differs from the one before; `familiar`: some
# real submission failed the same tests of the assignment (null for grade 100). `before` is the real program
# before the rollout's start. `repair` is that of ROLLOUTS.
STEPS = pl.Schema(
    {
        "method": pl.String,
        "student": pl.String,
        "assignment": pl.String,
        "start": pl.Int64,
        "sample": pl.Int64,
        "step": pl.Int64,
        "before": pl.String,
        "code": pl.String,
        "grade": pl.Float64,
        "kind": pl.String,
        "repair": pl.String,
        "feedback": pl.String,
        "solved": pl.Boolean,
        "familiar": pl.Boolean,
        "real_code": pl.String,
        "real_grade": pl.Float64,
        "real_kind": pl.String,
        "real_feedback": pl.String,
        "real_solved": pl.Boolean,
        "changed": pl.Boolean,
        "proximity": pl.Float64,
        "codebleu": pl.Float64,
        "codebleu_corrected": pl.Float64,
    }
)

_ROLLOUT = ("method", "dialog_id", "start", "sample")


def pair(
    rollouts: pl.DataFrame,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    progress: bool = False,
) -> pl.DataFrame:
    """STEPS of one or more methods' ROLLOUTS.

    Raises InputError where the methods were not rolled out from the same starts.
    """
    turns = _turns(dialogs)
    before = turns.join(submissions.select("submission_id", before="code"), on="submission_id").select(
        "dialog_id", "before", start=pl.col("turn") + 1
    )
    students = dialogs.select("dialog_id", "student", "assignment").unique("dialog_id")
    real = submissions.select("submission_id", real_code="code").join(
        verdicts.select(
            "submission_id",
            "status",
            "tests",
            real_kind=_kind(pl.lit(str(Outcome.PROGRAM))),
            real_feedback="feedback",
        ),
        on="submission_id",
    )
    failures = (
        real.join(submissions.select("submission_id", "assignment"), on="submission_id")
        .select("assignment", signature=_signature(), familiar=pl.lit(True))
        .unique()
    )
    steps = (
        _grid(rollouts)
        .join(rollouts, on=[*_ROLLOUT, "step"], how="left")
        .join(students, on="dialog_id")
        .join(before, on=["dialog_id", "start"], how="left")
        .join(turns.drop("dialog_id", "turn"), on="submission_id", how="left")
        .join(real.drop("status", "tests"), on="submission_id", how="left")
        .with_columns(
            kind=_kind(pl.col("outcome")),
            signature=pl.when(pl.col("code").is_not_null() & (pl.col("grade") < 100)).then(_signature()),
        )
        .join(failures, on=["assignment", "signature"], how="left")
        .with_columns(
            familiar=pl.when(pl.col("signature").is_not_null()).then(pl.col("familiar").fill_null(False)),
            solved=_reached("grade"),
            real_solved=_reached("real_grade"),
            proximity=1 - (pl.col("grade") - pl.col("real_grade")).abs() / 100,
        )
        .sort("method", "student", "assignment", "start", "sample", "step")
    )
    _same_starts(steps)
    return _with_similarity(steps, progress).select(STEPS.names()).cast(STEPS)


def _turns(dialogs: pl.DataFrame) -> pl.DataFrame:
    """The real submissions of the dialogs, each once: its turn, its grade, and whether the grade changed."""
    return (
        dialogs.unique("dialog_id")
        .select("dialog_id", "turns")
        .explode("turns")
        .unnest("turns")
        .with_columns(before=pl.col("grade").shift(1).over("dialog_id"))
        .select(
            *("dialog_id", "submission_id"),
            turn=pl.int_range(1, pl.len() + 1).over("dialog_id"),
            real_grade="grade",
            changed=pl.col("grade") != pl.col("before"),
        )
    )


def _grid(rollouts: pl.DataFrame) -> pl.DataFrame:
    """Every rollout at every step, so that a solved start stays solved after the rollout ends."""
    return rollouts.select(_ROLLOUT).unique().join(rollouts.select("step").unique(), how="cross")


def _reached(grade: str) -> pl.Expr:
    return (pl.col(grade).fill_null(0) == 100).cum_max().over(_ROLLOUT, order_by="step")


def _kind(outcome: pl.Expr) -> pl.Expr:
    """The kind of outcome, from a submission's outcome, grade and status; null where there is none."""
    failed = _failed("outcome").list.first()
    return (
        pl.when(outcome == Outcome.UNREADABLE)
        .then(pl.lit(UNREADABLE))
        .when(outcome != Outcome.PROGRAM)
        .then(None)
        .when(pl.col("grade") == 100)
        .then(pl.lit(SOLVED))
        .when(pl.col("status") != _RAN)
        .then(pl.col("status"))
        .when(pl.col("grade") > 0)
        .then(pl.lit(SOME))
        .when(failed == "failed")
        .then(pl.lit(NONE))
        .otherwise(failed)
    )


def _failed(field: str) -> pl.Expr:
    """That field of the tests that did not pass."""
    test = pl.element().struct
    return pl.col("tests").list.eval(test.field(field).filter(test.field("outcome") != "passed"))


def _signature() -> pl.Expr:
    """How a program failed, as one text: its status and the tests that did not pass."""
    tests = _failed("name").list.sort().list.join("\x1f")
    return pl.concat_str("status", tests, separator="\x1e", ignore_nulls=True)


def _same_starts(steps: pl.DataFrame) -> None:
    first: pl.DataFrame | None = None
    for (method,), group in steps.group_by("method", maintain_order=True):
        starts = group.select("student", "assignment", "start", "sample", "step")
        if first is None:
            first, name = starts, method
        elif not starts.equals(first):
            raise InputError(
                f"the rollouts of {method} and {name} start or end at different places, so they cannot be "
                "compared; run `tutee rollout` for every method with the same parameters"
            )


def _with_similarity(steps: pl.DataFrame, progress: bool) -> pl.DataFrame:
    both = steps["code"].is_not_null() & steps["real_code"].is_not_null()
    rows = steps.with_row_index("row").filter(both)
    found = compare(list(zip(rows["real_code"], rows["code"], strict=True)), progress)
    values = pl.DataFrame(
        {
            "row": rows["row"],
            "codebleu": [pair.package for pair in found],
            "codebleu_corrected": [pair.corrected for pair in found],
        },
        schema={"row": pl.get_index_type(), "codebleu": pl.Float64, "codebleu_corrected": pl.Float64},
    )
    return steps.with_row_index("row").join(values, on="row", how="left", maintain_order="left").drop("row")
