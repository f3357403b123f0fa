"""The style of programs beside that of the real students' ones: length, comments, PEP 8, names kept.

All over the steps at which the method has a program, of the samples that were drawn, or of the likeliest
turns where there are none. A feature is the same number in a program's text whoever wrote it.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pycodestyle

from tutee_evaluator.distance import tokens
from tutee_evaluator.metrics import outcomes
from tutee_evaluator.metrics.bootstrap import Estimate, Sums
from tutee_evaluator.metrics.strata import COVERED
from tutee_serializer.programs import parse


def _grid(*parts: tuple[float, float, int]) -> list[float]:
    """The edges of bins, from parts (start, end, bins), each of which starts where the last one ends."""
    edges = np.concatenate([np.linspace(start, end, bins + 1)[:-1] for start, end, bins in parts])
    return [*edges.round(6).tolist(), float(parts[-1][1])]


# The features, each with the bins in which its distributions are compared: narrow where most programs are,
# wide behind. A value beyond the last edge counts as that edge.
GRIDS: dict[str, list[float]] = {
    "lines": _grid((0, 30, 30), (30, 100, 7)),  # that are not blank
    "comments": _grid((0, 1, 20)),  # per line
    "pep8": _grid((0, 1, 20), (1, 3, 4)),  # violations per line
    "names_kept": _grid((0, 1, 20)),  # share of the names it defines that the program before the start has
}

_FEATURES: dict[str, Any] = {
    "program": pl.String,
    "lines": pl.Float64,
    "comments": pl.Float64,
    "pep8": pl.Float64,
    "defined": pl.List(pl.String),
}
_IGNORED = (
    *pycodestyle.DEFAULT_IGNORE.split(","),  # what PEP 8 leaves open
    "E402",  # whose check raises IndexError at a line that is only `b`, `r` or `u`
    "W391",  # blank lines at the end, which the platform may have added
)
# In text that is no Python: a string, or else a comment, which has the group.
_COMMENT = re.compile(r""""[^"\n]*"|'[^'\n]*'|(#)""")


def rows(steps: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """The covered rows of STEPS with each feature of GRIDS, and of the real program as `real_` FEATURE."""
    covered = outcomes.rows(steps, scores).filter(COVERED)
    programs = pl.concat([covered["code"], covered["real_code"]]).drop_nulls().unique(maintain_order=True)
    found = pl.DataFrame([features(program) for program in programs], schema=_FEATURES)
    before = covered["before"].drop_nulls().unique(maintain_order=True)
    known = pl.DataFrame(
        {"before": before, "known": [tokens(program) for program in before]},
        schema={"before": pl.String, "known": pl.List(pl.String)},
    )
    covered = covered.join(known, on="before", how="left", maintain_order="left")
    for whose in ("", "real_"):
        columns = found.select(pl.all().name.prefix(whose))
        names = pl.col(f"{whose}defined")
        kept = names.list.set_intersection("known").list.len() / names.list.len()
        covered = (
            covered.join(
                columns, left_on=f"{whose}code", right_on=f"{whose}program", how="left", maintain_order="left"
            )
            .with_columns(kept.fill_nan(None).alias(f"{whose}names_kept"))
            .drop(f"{whose}defined")
        )
    return covered


def columns(steps: pl.DataFrame) -> Mapping[str, pl.Expr]:
    found: dict[str, pl.Expr] = {}
    for feature, edges in GRIDS.items():
        difference = (pl.col(feature) - pl.col(f"real_{feature}")).abs()
        found |= {f"{feature} difference": difference, f"{feature} both": difference.is_not_null()}
        for name in (feature, f"real_{feature}"):
            value = pl.col(name)
            found |= {name: value, f"{name} known": value.is_not_null()}
            # How much of the bin lies above the value: summed, the integral of the distribution function.
            found |= {f"{name} < {end}": (end - value).clip(0, end - start) for start, end in pairwise(edges)}
    return found


def metrics(sums: Sums) -> Iterator[Estimate]:
    for feature in GRIDS:
        yield sums.estimate(f"style_{feature}", feature, f"{feature} known")
        yield sums.estimate(f"real_style_{feature}", f"real_{feature}", f"real_{feature} known")
        yield sums.estimate(f"style_{feature}_distance", f"{feature} difference", f"{feature} both")
        yield _earth_mover(sums, feature)


def _earth_mover(sums: Sums, feature: str) -> Estimate:
    """The earth mover's (Wasserstein-1) distance of the method's distribution to the students'.

    It is the area between the two distribution functions, here the sum over bins of the difference of their
    integrals: exact unless the functions cross within a bin, else less, by no more than a bin's width.
    """
    distance = np.zeros_like(sums.of(f"{feature} known"))
    for end in GRIDS[feature][1:]:
        mine = sums.ratio(f"{feature} < {end}", f"{feature} known")
        real = sums.ratio(f"real_{feature} < {end}", f"real_{feature} known")
        distance = distance + np.abs(mine - real)
    return sums.estimated(f"style_{feature}_emd", distance, f"{feature} known")


def features(program: str) -> dict[str, Any]:
    """The features of a program by itself, and `defined`, the names that it assigns or defines.

    `comments` and `pep8` are null without a line, `pep8` also where Python's tokenizer does not take the
    program, since then not all of it can be checked; `defined` is null where it does not parse.
    """
    lines = io.StringIO(f"{program}\n", newline=None).readlines()
    written = sum(not line.isspace() for line in lines)
    read = _read(lines)
    comments = violations = None
    if written:
        comments = _comments(lines, read) / written
        violations = None if read is None else _violations(lines) / written
    return {
        "program": program,
        "lines": written,
        "comments": comments,
        "pep8": violations,
        "defined": _defined(program),
    }


def _read(lines: Sequence[str]) -> list[tokenize.TokenInfo] | None:
    """The program's tokens; None where Python's tokenizer does not take all of it."""
    try:
        found = list(tokenize.generate_tokens(iter([*lines, ""]).__next__))
    except (tokenize.TokenError, SyntaxError, ValueError):
        return None
    return None if any(token.type == tokenize.ERRORTOKEN for token in found) else found


def _comments(lines: Sequence[str], read: Sequence[tokenize.TokenInfo] | None) -> int:
    """How many comments there are; in text that is no Python, how many lines have a # outside of a string."""
    if read is None:
        return sum(any(_COMMENT.findall(line)) for line in lines)
    return sum(token.type == tokenize.COMMENT for token in read)


def _violations(lines: Sequence[str]) -> int:
    """How many violations of PEP 8 `pycodestyle` finds."""
    options = _options()
    checker = pycodestyle.Checker(lines=list(lines), options=options, report=pycodestyle.BaseReport(options))
    return int(checker.check_all())


@cache
def _options() -> Any:
    """The default options, whatever a file of the user's or a folder's says."""
    return pycodestyle.StyleGuide(
        quiet=2,
        verbose=0,
        select=(),
        ignore=_IGNORED,
        max_line_length=pycodestyle.MAX_LINE_LENGTH,
        max_doc_length=None,
        indent_size=pycodestyle.INDENT_SIZE,
        hang_closing=False,
    ).options


def _defined(program: str) -> list[str] | None:
    """The names that a program assigns or defines, each once; None where it does not parse."""
    tree = parse(program)
    if tree is None:
        return None
    return list(dict.fromkeys(name for node in ast.walk(tree) if (name := _definition(node))))


def _definition(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return name
        case (
            ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.ExceptHandler() | ast.MatchAs()
        ):
            return node.name
        case ast.arg(arg=name) | ast.alias(asname=name):
            return name
    return None
