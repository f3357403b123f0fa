"""Which submissions become turns of dialogs, and which split each dialog belongs to.

The rules are those of Koutcheme et al. (arXiv 2604.10720), each a named step that can be switched off
and that counts what it drops.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from tutee_grader.config import Section
from tutee_grader.errors import TuteeError
from tutee_serializer.dialogs.trees import same_tree
from tutee_serializer.errors import CourseError
from tutee_serializer.schemas import TRAJECTORY
from tutee_serializer.semesters import Roles, resolve

if TYPE_CHECKING:
    from tutee_serializer.course import Course


class SerializeConfig(Section):
    """Section `serialize` of params.yaml, and of a course file, whose keys go before those of params.yaml.

    The defaults suit short trajectories; courses/falcon/course.yaml has the published work's. Among dialogs
    of two or three turns its z-score would call a dialog of nine an outlier.
    """

    scope: Literal["assignment", "course"] = "assignment"
    # What the test split holds back: what section `semesters` of the course file says, or some of the
    # assignments; `both`: either, and the last work of some of the students who learn.
    split: Literal["student", "assignment", "both"] = "student"
    seed: int = 0
    # Shares: of the students who learn, to validate; of the assignments where `split` is `assignment` or
    # `both`, where it is also the share of the students who learn whose last work is held out.
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    # A submission with the syntax tree of the one before; whatever follows the first grade of 100.
    skip_unchanged: bool = True
    stop_at_full_marks: bool = True
    # Submissions a trajectory has in the log, submissions its dialog has, the grade it ends at.
    min_logged: Annotated[int, Field(ge=1)] = 1
    min_turns: Annotated[int, Field(ge=1)] = 2
    min_final_grade: Annotated[float, Field(ge=0, le=100)] = 0
    # Modified z-score of a dialog's number of turns among the dialogs of its assignment.
    max_length_z: Annotated[float, Field(gt=0)] | None = None
    # What tutors and others wrote to the student, as further user turns.
    messages: bool = True
    # Made-up students with secrets among those who learn, so that it can be measured what models memorise
    # (canaries.py); 0: none.
    canaries: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _assignments_can_be_held_out(self) -> Self:
        if self.split == "assignment" and self.scope == "course":
            raise ValueError(
                "split: assignment needs scope: assignment, for a dialog of the scope course spans all; "
                "with scope: course, split: both holds out assignments and students"
            )
        return self


@dataclass(frozen=True)
class SelectionCounts:
    """Where the submissions went: `rows_in` = `rows_out` + all of `dropped`, a count per step."""

    rows_in: int
    rows_out: int
    dropped: dict[str, int]
    dialogs: dict[str, int] = field(default_factory=dict)  # per split

    def __post_init__(self) -> None:
        if self.rows_in != self.rows_out + sum(self.dropped.values()):
            raise TuteeError(
                f"{self.rows_in} submissions went in, {self.rows_out} came out and {self.dropped} were "
                "dropped: that does not add up, and is a fault of this program"
            )


def graded_rows(
    submissions: pl.LazyFrame, verdicts: pl.LazyFrame, assignments: Iterable[str]
) -> pl.DataFrame:
    """What of each submission and its verdict says whether it becomes a turn: all but the texts.

    `submissions` are in the order of TRAJECTORY and `order`, in which `row` counts them from 0; `verdict` is
    the place of the verdict in its table. `grade` is null where there is no verdict or the assignment is not
    among `assignments`. `learner` and `trajectory` number the students of each semester and their work.
    """
    grades = verdicts.select("submission_id", "grade").with_row_index("verdict")
    names = pl.col(TRAJECTORY).cast(pl.Categorical)
    return (
        submissions.select("submission_id", names, "submitted_at", "source_row")
        .with_row_index("row")
        .join(grades, on="submission_id", how="left", maintain_order="left")
        .drop("submission_id")
        .with_columns(
            pl.when(pl.col("assignment").is_in(list(assignments))).then("grade"),
            learner=pl.struct("semester", "student").rle_id(),
            trajectory=pl.struct(TRAJECTORY).rle_id(),
        )
        .collect(engine="streaming")
    )


def select(
    graded: pl.DataFrame, changed: pl.Series, course: "Course", config: SerializeConfig
) -> tuple[pl.DataFrame, SelectionCounts]:
    """Of `graded_rows` those that become turns, in order, with columns `dialog`, `turn` and `split`.

    `changed` says of each row whether it is kept by the rule `skip_unchanged`; null: it has no verdict.
    `dialog` numbers the dialogs and `turn` their submissions, both from 0. Where only some work of a student
    is held out and `scope` is `course`, the rest is there twice: to learn from, and before what is held out.
    """
    check_split(course, config)
    roles = resolve(course.semesters, graded)
    work, dialog = "trajectory", "trajectory" if config.scope == "assignment" else "learner"
    rows = graded.with_columns(changed=changed, begun=pl.col("submitted_at").min().over(work))
    dropped: dict[str, int] = {}

    def keep(step: str, condition: pl.Expr | pl.Series) -> None:
        nonlocal rows
        kept = rows.filter(condition)
        dropped[step] = rows.height - kept.height
        rows = kept

    keep("no verdict", pl.col("grade").is_not_null())
    rows = rows.with_columns(logged=pl.len().over(work))
    if config.skip_unchanged:
        keep("unchanged", pl.col("changed"))
    if config.stop_at_full_marks:
        full = (pl.col("grade") >= 100).cast(pl.Int64)
        keep("after full marks", full.cum_sum().over(work) - full == 0)
    rows = rows.with_columns(split=_split(rows, roles, config))
    if roles.cut is not None:
        keep("after the cut", (pl.col("split") == "test") | (pl.col("submitted_at") < roles.cut))
    if config.split != "assignment":
        # A student who takes an assignment again in a test semester is tested on it, not trained on.
        test = rows.filter(split="test").select("student", "assignment").unique().with_columns(again=True)
        rows = rows.join(test, on=["student", "assignment"], how="left", maintain_order="left")
        keep("taken again in a test semester", (pl.col("split") == "test") | pl.col("again").is_null())
    keep("too few logged", pl.col("logged") >= config.min_logged)
    keep("low final grade", pl.col("grade").last().over(work) >= config.min_final_grade)
    rows = rows.with_columns(length=pl.len().over(dialog))
    keep("too short", pl.col("length") >= config.min_turns)
    if config.max_length_z is not None:
        keep("length outlier", _modified_z(rows, dialog) <= config.max_length_z)
    selected = rows.height
    if config.scope == "course":
        rows = _with_context(rows.with_columns(start=_clock(rows).min().over("trajectory")))
    key = [dialog, "split"]
    rows = rows.with_columns(dialog=pl.struct(key).rle_id(), turn=pl.int_range(pl.len()).over(key))
    dialogs = rows.group_by("split").agg(pl.col("dialog").n_unique()).sort("split").rows()
    return rows, SelectionCounts(graded.height, selected, dropped, dict(dialogs))


def find_changed(graded: pl.DataFrame, codes: pl.Series) -> pl.Series:
    """Whether each of the `graded_rows`, with its program, is the first of its trajectory with a verdict or
    has another tree than the one before; null where it has no verdict."""
    rows = graded.select("row", "trajectory", "grade", codes.alias("code")).drop_nulls("grade")
    first = rows["trajectory"] != rows["trajectory"].shift(1)
    changed = [old is None or not same_tree(old, new) for old, new in steps(rows["code"], first)]
    found = rows.select("row", changed=pl.Series(changed, dtype=pl.Boolean))
    return graded.select("row").join(found, on="row", how="left", maintain_order="left")["changed"]


def steps(codes: pl.Series, first: pl.Series) -> Iterator[tuple[str | None, str]]:
    """Each program with the one before it, None where it is the `first` of its kind (or `first` is null)."""
    before = None
    for is_first, code in zip(first.to_list(), codes.to_list(), strict=True):
        yield (before if is_first is False else None), code
        before = code


def check_split(course: "Course", config: SerializeConfig) -> None:
    """Raises CourseError where section `semesters` of the course file contradicts `config`."""
    split = course.semesters.split
    if split and config.split == "assignment":
        raise CourseError(
            f"{course.file}: `semesters.split: {split}` and `split: assignment` of section `serialize` both "
            "say what is held out; remove one of them"
        )
    if split == "time" and config.scope == "course":
        raise CourseError(
            f"{course.file}: `semesters.split: time` needs `scope: assignment` in section `serialize`, for a "
            "dialog of the scope course goes on through the semester"
        )
    if split == "time" and config.split == "both":
        raise CourseError(
            f"{course.file}: `semesters.split: time` holds out no students, so `split: both` of section "
            "`serialize` has no new ones; name test semesters, or write `split: students`"
        )


def assign_splits(rows: pl.DataFrame, course: "Course", config: SerializeConfig) -> pl.Series:
    """The split of each submission: train, validation or test; `begun` says when its trajectory began."""
    check_split(course, config)
    return _split(rows, resolve(course.semesters, rows), config)


def _split(rows: pl.DataFrame, roles: Roles, config: SerializeConfig) -> pl.Series:
    asked = roles.asked
    if config.split == "assignment":
        test = pl.col("assignment").is_in(_draw(rows["assignment"], config.held_out, config.seed))
    elif asked.split == "students" and isinstance(asked.test, float):
        test = pl.col("student").is_in(_draw(rows["student"], asked.test, config.seed))
    elif asked.split == "time":
        test = pl.col("begun") >= roles.cut
    else:
        test = pl.col("semester").is_in(roles.test)
    learners = rows.filter(~test | (config.split == "assignment"))
    validation = _draw(learners["student"], config.validation, config.seed)
    if config.split == "both":
        new = pl.col("assignment").is_in(_draw(rows["assignment"], config.held_out, config.seed))
        learnt = learners.filter(~new & ~pl.col("student").is_in(validation))
        last = _last_work(learnt, config).with_columns(last=True)
        rows = rows.join(last, on=["student", "assignment"], how="left", maintain_order="left")
        test = test | new | pl.col("last").is_not_null()
    held = pl.when(pl.col("student").is_in(validation)).then(pl.lit("validation")).otherwise(pl.lit("train"))
    return rows.select(pl.when(test).then(pl.lit("test")).otherwise(held).cast(pl.Categorical)).to_series()


def _last_work(learnt: pl.DataFrame, config: SerializeConfig) -> pl.DataFrame:
    """The assignment begun last, `student` and `assignment`, of a share of those who worked on several."""
    begun = learnt.group_by("student", "assignment").agg(start=_clock(learnt).min())
    several = begun.filter(pl.len().over("student") > 1)
    drawn = several.filter(pl.col("student").is_in(_draw(several["student"], config.held_out, config.seed)))
    latest = drawn.sort("student", "start", "assignment").group_by("student", maintain_order=True).last()
    return latest.select("student", "assignment")


def _with_context(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows by learner and split, in the order in which a learner's assignments were begun.

    Before the held-out work of a learner the work comes once more that is not held out, as part of `test`.
    """
    is_test = pl.col("split") == "test"
    context = rows.filter(~is_test, is_test.any().over("learner"))
    context = context.with_columns(split=pl.lit("test").cast(pl.Categorical))
    return pl.concat([rows, context]).sort("learner", "split", "start", "assignment", "row")


def _draw(names: pl.Series, share: float, seed: int) -> list[str]:
    """A share of the distinct names, at least one and not all where there are two; who is drawn hardly
    changes when names join or leave."""
    distinct = names.unique().to_list()
    distinct.sort(key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    count = round(share * len(distinct))
    return distinct[: min(max(count, 1), len(distinct) - 1) if share and len(distinct) > 1 else 0]


def _modified_z(rows: pl.DataFrame, dialog: str) -> pl.Series:
    """0.6745 |x - median| / MAD of a dialog's length, among the dialogs of its assignment (of the course,
    where a dialog spans it); 0 where half of them have the same length, for the score says nothing there."""
    peers = pl.col("assignment") if dialog == "trajectory" else pl.lit(0)
    lengths = rows.group_by(dialog).agg(pl.col("assignment", "length").first())
    far = (pl.col("length") - pl.col("length").median().over(peers)).abs()
    lengths = lengths.with_columns(far=far)
    spread = pl.col("far").median().over(peers)
    lengths = lengths.with_columns(z=pl.when(spread > 0).then(0.6745 * pl.col("far") / spread).otherwise(0.0))
    return rows.select(dialog).join(lengths, on=dialog, how="left", maintain_order="left")["z"]


def _clock(rows: pl.DataFrame) -> pl.Expr:
    """When each was submitted: by the clock where the log has times, else by its place there."""
    timed = rows["submitted_at"].null_count() == 0
    return pl.col("submitted_at").dt.timestamp("us") if timed else pl.col("source_row")
