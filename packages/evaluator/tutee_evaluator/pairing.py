"""Pairs each step of each rollout with the real student's submission: the table STEPS."""

from typing import Any, NamedTuple, Self

import polars as pl

from tutee_evaluator.schemas import GREEDY, Outcome
from tutee_evaluator.similarity import compare
from tutee_grader.errors import InputError
from tutee_grader.failures import RAN, error, failed, signature
from tutee_grader.verdict import Outcome as TestOutcome

# The kinds of outcome of a submission. One that compiles and passes no test, for another reason than a wrong
# result, has the outcome of its first test (error, timeout, ...) as its kind; one that does not compile has
# its status.
SOLVED, SOME, NONE = "solved", "some tests pass", "no test passes"
GAVE_UP, UNREADABLE = Outcome.GAVE_UP.value, Outcome.UNREADABLE.value

_NAMES: Any = pl.List(pl.String)

# One row per row of ROLLOUTS. Columns with `real_` are the real student's, the others the rollout's. `code`,
# `grade`, `proximity` and both CodeBLEU are null unless the rollout has a program at this step, and CodeBLEU
# unless it is the greedy one; `kind` is null where the rollout was over. `before` is the real program before
# the rollout's start, `before_grade` its grade. `failed`: the names of the tests that did not pass. `error`:
# the kind of error, see `failures.error`; null for grade 100. Both are null where there is no graded program.
# `changed`: the real grade differs from the one before. `familiar`: some real submission failed the same
# tests of the assignment (null for grade 100). `solves`, `real_solves`: the grade at this step is 100.
# `real_solved`: the student reaches grade 100 on this assignment at any time, in this dialog. `at_risk`: the
# rollout was not over, and the student had not reached 100, before this step: both may solve the task now.
# `repair` and `nats` are those of ROLLOUTS.
STEPS = pl.Schema(
    {
        "method": pl.String,
        "dialog_id": pl.String,
        "student": pl.String,
        "assignment": pl.String,
        "start": pl.Int64,
        "sample": pl.Int64,
        "step": pl.Int64,
        "before": pl.String,
        "before_grade": pl.Float64,
        "outcome": pl.String,
        "code": pl.String,
        "grade": pl.Float64,
        "kind": pl.String,
        "failed": _NAMES,
        "error": pl.String,
        "repair": pl.String,
        "feedback": pl.String,
        "solves": pl.Boolean,
        "familiar": pl.Boolean,
        "real_code": pl.String,
        "real_grade": pl.Float64,
        "real_kind": pl.String,
        "real_failed": _NAMES,
        "real_error": pl.String,
        "real_feedback": pl.String,
        "real_solves": pl.Boolean,
        "real_solved": pl.Boolean,
        "changed": pl.Boolean,
        "at_risk": pl.Boolean,
        "proximity": pl.Float64,
        "codebleu": pl.Float64,
        "codebleu_corrected": pl.Float64,
        "nats": pl.Float64,
    }
)

ORDER = ["method", "student", "assignment", "dialog_id", "start", "sample", "step"]


class RealWork(NamedTuple):
    """What the real students did, as `pair_with` needs it: made once, however often it is called.

    `turns` are the submissions of the dialogs with their verdicts, `before` the last one before each start,
    and `failures` how programs failed, by assignment and signature.
    """

    turns: pl.DataFrame
    before: pl.DataFrame
    failures: pl.DataFrame

    @classmethod
    def of(cls, dialogs: pl.DataFrame, submissions: pl.DataFrame, verdicts: pl.DataFrame) -> Self:
        turns, real = _turns(dialogs, submissions), _real(submissions, verdicts)
        return cls(
            turns.drop("turn").join(real.drop("assignment", "status", "tests"), on="submission_id"),
            turns.select(
                "dialog_id", start=pl.col("turn") + 1, before="real_code", before_grade="real_grade"
            ),
            real.select("assignment", signature=signature(), familiar=pl.lit(True)).unique(),
        )


def pair(
    rollouts: pl.DataFrame, dialogs: pl.DataFrame, submissions: pl.DataFrame, verdicts: pl.DataFrame
) -> pl.DataFrame:
    """STEPS of one or more methods' ROLLOUTS.

    Raises InputError where the rollouts are not of these dialogs, or the methods not of the same starts.
    """
    check_starts(rollouts.lazy())
    return pair_with(rollouts, RealWork.of(dialogs, submissions, verdicts))


def pair_with(rollouts: pl.DataFrame, real: RealWork) -> pl.DataFrame:
    """STEPS of some of the ROLLOUTS; raises InputError where they are of other dialogs than `real`."""
    steps = rollouts.join(real.turns, on=["dialog_id", "submission_id"]).join(
        real.before, on=["dialog_id", "start"]
    )
    if steps.height != rollouts.height:
        raise InputError("the rollouts are of other dialogs than these; run `tutee rollout` for every method")
    steps = (
        steps.with_columns(
            code=pl.when(outcome=Outcome.PROGRAM).then("code"),
            kind=_kind(pl.col("outcome")),
            failed=failed("name"),
            error=error(),
            proximity=1 - (pl.col("grade") - pl.col("real_grade")).abs() / 100,
            solves=_full_marks("grade"),
            real_solves=_full_marks("real_grade"),
            at_risk=(pl.col("outcome") != Outcome.ENDED) & ~pl.col("solved_before"),
        )
        .with_columns(signature=pl.when(pl.col("code").is_not_null() & ~pl.col("solves")).then(signature()))
        .join(real.failures, on=["assignment", "signature"], how="left")
        .with_columns(
            familiar=pl.when(pl.col("signature").is_not_null()).then(pl.col("familiar").fill_null(False))
        )
        .sort(ORDER)
    )
    return _with_similarity(steps).select(STEPS.names()).cast(STEPS)


def check_starts(rollouts: pl.LazyFrame) -> None:
    """Raises InputError where the methods are not of the same starts and steps.

    The number of samples may differ, since no score depends on it.
    """
    keys = ["dialog_id", "start", "step"]
    found = rollouts.select("method", *keys).unique().sort("method", *keys).collect()
    first: pl.DataFrame | None = None
    for (method,), group in found.group_by("method", maintain_order=True):
        starts = group.select(keys)
        if first is None:
            first, name = starts, method
        elif not starts.equals(first):
            raise InputError(
                f"the rollouts of {method} and {name} start or end at different places, so they cannot be "
                "compared; run `tutee rollout` for every method with the same parameters"
            )


def _turns(dialogs: pl.DataFrame, submissions: pl.DataFrame) -> pl.DataFrame:
    """The real submissions of the dialogs, each once, with its turn and what the student reached."""
    trajectory = ["dialog_id", "assignment"]
    return (
        dialogs.unique("dialog_id")
        .select("dialog_id", "student", "turns")
        .explode("turns")
        .unnest("turns")
        .rename({"grade": "real_grade"})
        .join(
            submissions.select("submission_id", "assignment", real_code="code"),
            on="submission_id",
            maintain_order="left",
        )
        .with_columns(
            turn=pl.int_range(1, pl.len() + 1).over("dialog_id"),
            changed=(pl.col("real_grade") != pl.col("real_grade").shift(1)).over(trajectory),
            real_solved=_full_marks("real_grade").any().over(trajectory),
            solved_before=_full_marks("real_grade").shift(1, fill_value=False).cum_max().over(trajectory),
        )
    )


def _real(submissions: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """The verdicts on the real submissions, also on those that are in no dialog."""
    return submissions.select("submission_id", "assignment").join(
        verdicts.select(
            "submission_id",
            "status",
            "tests",
            real_kind=_kind(pl.lit(str(Outcome.PROGRAM))),
            real_failed=failed("name"),
            real_error=error(),
            real_feedback="feedback",
        ),
        on="submission_id",
    )


def _full_marks(grade: str) -> pl.Expr:
    return (pl.col(grade) == 100).fill_null(False)


def _kind(outcome: pl.Expr) -> pl.Expr:
    """The kind of outcome, from a submission's outcome, grade and status; null where there is none."""
    first = failed("outcome").list.first()
    return (
        pl.when(outcome.is_in([GAVE_UP, UNREADABLE]))
        .then(outcome)
        .when(outcome == Outcome.ENDED)
        .then(None)
        .when(pl.col("grade") == 100)
        .then(pl.lit(SOLVED))
        .when(pl.col("status") != RAN)
        .then(pl.col("status"))
        .when(pl.col("grade") > 0)
        .then(pl.lit(SOME))
        .when(first == TestOutcome.FAILED)
        .then(pl.lit(NONE))
        .otherwise(first)
    )


def _with_similarity(steps: pl.DataFrame) -> pl.DataFrame:
    """Adds CodeBLEU of the likeliest turns; the real program is the reference.

    What is drawn is scored as a whole, in SCORES, and is most of the programs.
    """
    rows = steps.with_row_index("row").filter(pl.col("sample") == GREEDY, pl.col("code").is_not_null())
    found = compare(list(zip(rows["real_code"], rows["code"], strict=True)))
    values = pl.DataFrame(
        {
            "row": rows["row"],
            "codebleu": [pair.package for pair in found],
            "codebleu_corrected": [pair.corrected for pair in found],
        },
        schema={"row": pl.get_index_type(), "codebleu": pl.Float64, "codebleu_corrected": pl.Float64},
    )
    return steps.with_row_index("row").join(values, on="row", how="left", maintain_order="left").drop("row")
