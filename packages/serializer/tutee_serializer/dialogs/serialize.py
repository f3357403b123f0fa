"""Graded submissions in, dialogs out: a small table at once, a file of any size block by block."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from tutee_grader.errors import InputError
from tutee_grader.files import atomic_file, scan_tables, scratch_dir
from tutee_grader.processes import start_processes, usable_cores
from tutee_grader.verdict import VERDICTS
from tutee_serializer.dialogs.blocks import (
    ARROW,
    Block,
    Source,
    cut,
    dialogs_of,
    find_changed_in,
    make_blocks,
    write_block,
)
from tutee_serializer.dialogs.formats import Format
from tutee_serializer.dialogs.levels import BY_ARM, Feedback
from tutee_serializer.dialogs.selection import SelectionCounts, SerializeConfig, graded_rows, select
from tutee_serializer.schemas import DIALOGS, SUBMISSIONS, TRAJECTORY

if TYPE_CHECKING:
    from tutee_serializer.course import Course

BLOCK = 100_000  # submissions whose texts a process has in memory at once
_SCHEMA = pl.DataFrame(schema=DIALOGS).to_arrow(compat_level=ARROW).schema

Map = Callable[..., Iterator[Any]]  # as `map` of Python


def serialize(
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    course: "Course",
    config: SerializeConfig,
    format: Format | str,
    feedback: Feedback = "summary",
) -> tuple[pl.DataFrame, SelectionCounts]:
    """Dialogs (DIALOGS) of the feedback level `feedback` and of level "none", untruncated.

    A dialog of both levels has one `dialog_id`: with `feedback` it names a row. Messages are system,
    user (task), assistant (first program), user (feedback), assistant, ... and end with an assistant's.
    The dialogs of `config.canaries` made-up students are among them, and in no count.
    Raises InputError where no dialog is left.
    """
    ordered = submissions.sort(*TRAJECTORY, "order").lazy()
    source = _source(ordered, verdicts.lazy(), course, config, format, feedback)
    (block,), counts = _select(source, course, max(submissions.height, 1), map)
    return dialogs_of(source, block), counts


def write_dialogs(
    submissions: Path,
    verdicts: Path,
    course: "Course",
    config: SerializeConfig,
    format: Format | str,
    feedback: Feedback,
    output: Path,
    block: int = BLOCK,
) -> SelectionCounts:
    """Writes to `output` what `serialize` gives of the tables that `ingest` and `grade` wrote.

    Texts are in memory for `block` submissions and the rest of a student's at a time, in a process for
    each core. The dialogs of a block are together, those with `feedback` before those without. Verdicts
    should be in the order of their submissions; in another, each block reads more of them than its own.
    Raises BrokenProcessPool where a process was killed.
    """
    tables = scan_tables({submissions: "ingest"}, SUBMISSIONS), scan_tables({verdicts: "grade"}, VERDICTS)
    source = _source(*tables, course, config, format, feedback)
    height = source.submissions.select(pl.len()).collect().item()
    with _processes(-(-height // block)) as each:
        blocks, counts = _select(source, course, block, each)
        with atomic_file(output) as whole, scratch_dir(output.with_name(f".{output.name}.blocks")) as folder:
            parts = [folder / f"{number}.arrow" for number in range(len(blocks))]
            written = each(partial(write_block, source), blocks, parts)
            with pq.ParquetWriter(whole, _SCHEMA, compression="zstd") as table:
                for part in _shown("writing turns", [one.turns for one in blocks], written):
                    with pa.ipc.open_file(part) as dialogs:
                        table.write_table(dialogs.read_all())
                    part.unlink()
    return counts


def _source(
    submissions: pl.LazyFrame,
    verdicts: pl.LazyFrame,
    course: "Course",
    config: SerializeConfig,
    format: Format | str,
    feedback: Feedback,
) -> Source:
    tasks = {name: assignment.task for name, assignment in course.load_assignments()[0].items()}
    if feedback == BY_ARM and not course.arms:
        raise InputError(
            f"{course.file}: `arms` is missing, and the preset's `dialog.feedback: {BY_ARM}` needs it: what "
            "the grader told the students of each arm"
        )
    return Source(submissions, verdicts, course.name, tasks, config, Format(format), feedback, course.arms)


@contextmanager
def _processes(most: int) -> Iterator[Map]:
    """A process for each core, but at most `most`; where that is one, the process that asks."""
    count = min(most, usable_cores())
    if count < 2:
        yield map
        return
    with start_processes(count) as pool:
        yield pool.map


def _select(source: Source, course: "Course", size: int, each: Map) -> tuple[list[Block], SelectionCounts]:
    """The submissions that become turns, in blocks of some `size` submissions of the log."""
    graded = graded_rows(source.submissions, source.verdicts, source.tasks)
    pieces = cut(graded, size)
    found = each(partial(find_changed_in, source), pieces)
    changed = pl.concat(_shown("comparing attempts", pieces, found))
    rows, counts = select(graded, changed, course, source.config)
    if rows.is_empty():
        left_out = ", ".join(f"{step}: {count}" for step, count in counts.dropped.items() if count)
        raise InputError(
            f"{course.file}: not one dialog is left of {counts.rows_in} submissions ({left_out}); "
            "loosen the rules in section `serialize` of params.yaml or the course file, or bring a longer log"
        )
    return make_blocks(pieces, changed, rows), counts


def _shown(what: str, pieces: list[pl.DataFrame], done: Iterator[Any]) -> Iterator[Any]:
    """Shows how many rows are done while what is done with each piece comes in."""
    with tqdm(desc=what, total=sum(piece.height for piece in pieces), disable=None, leave=False) as bar:
        for piece, result in zip(pieces, done, strict=True):
            bar.update(piece.height)
            yield result
