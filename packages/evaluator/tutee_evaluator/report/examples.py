"""Rollouts shown in full beside the real student's work."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl


@dataclass(frozen=True)
class Line:
    """A line of a program; `mark` compares it with the previous program: same, added, removed."""

    mark: str
    text: str


def examples(steps: pl.DataFrame, method: str, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Up to `count` rollouts of `method`, drawn from STEPS.

    Each is of another student and, as far as possible, of another assignment. `steps` holds pairs of the
    method's and the real student's submission, None where there is none.
    """
    rollouts = steps.filter((pl.col("method") == method) & (pl.col("sample") == 0))
    second = (pl.col("step") == 2) & pl.col("code").is_not_null() & pl.col("real_code").is_not_null()
    starts = (
        rollouts.filter(second)
        .sample(fraction=1, shuffle=True, seed=seed)
        .unique("student", keep="first", maintain_order=True)
        .with_columns(turn=pl.int_range(pl.len()).over("assignment"))
        .sort("turn", maintain_order=True)
        .head(count)
    )
    for number, start in enumerate(starts.iter_rows(named=True), 1):
        key = [pl.col(name) == start[name] for name in ("dialog_id", "start")]
        rows = rollouts.filter(*key).sort("step")
        yield {
            "number": number,
            "assignment": start["assignment"],
            "start": start["start"],
            "before": start["before"],
            "steps": list(zip(_submissions(rows, ""), _submissions(rows, "real_"), strict=True)),
        }


def _submissions(rows: pl.DataFrame, prefix: str) -> Iterator[dict[str, Any] | None]:
    """The submissions in the columns with this prefix, each with its changes to the one before."""
    previous = rows["before"][0]
    for row in rows.iter_rows(named=True):
        code = row[f"{prefix}code"]
        if code is None and row[f"{prefix}kind"] is None:
            yield None
            continue
        yield {
            "kind": row[f"{prefix}kind"],
            "grade": row[f"{prefix}grade"],
            "feedback": row[f"{prefix}feedback"] or "",
            "lines": marked(previous, code) if code is not None else [],
        }
        previous = code if code is not None else previous


def marked(previous: str, code: str) -> list[Line]:
    """The lines of `code`, and those of `previous` that were removed, each with its mark."""
    old, new = previous.splitlines(), code.splitlines()
    lines: list[Line] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            lines += [Line("same", text) for text in new[c:d]]
        else:
            lines += [Line("removed", text) for text in old[a:b]] + [Line("added", text) for text in new[c:d]]
    return lines
