"""How far the artificial students are like the real ones: one HTML page, and a table for a terminal."""

import difflib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from flows.places import Places
from tutee_evaluator import metrics as names
from tutee_evaluator.metrics import ReportConfig, measure
from tutee_evaluator.pairing import NONE, SOLVED, SOME, UNREADABLE, pair
from tutee_evaluator.rollout import COPY, METHODS
from tutee_grader.errors import InputError, UnavailableError
from tutee_grader.files import read_table
from tutee_serializer.card import FILE, StudentCard
from tutee_serializer.course import Course

PACKAGES = (
    *("tutee-grader", "tutee-serializer", "tutee-trainer", "tutee-evaluator"),
    *("torch", "transformers", "trl", "peft", "codebleu", "polars"),
)
# The columns of the results table: metric, heading, whether more is better.
COLUMNS = (
    ("coverage", "Coverage"),
    ("grade_proximity", "GradeConfig proximity"),
    ("codebleu", "CodeBLEU"),
    ("codebleu_corrected", "CodeBLEU, corrected"),
)


@dataclass(frozen=True)
class Figure:
    """A value of METRICS with its 95% interval and the steps it rests on."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Line:
    """A line of a program; `mark` says how it came from the program before: same, added, removed."""

    mark: str
    text: str


def run(
    course: Course,
    config: ReportConfig,
    places: Places,
    parameters: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> pl.DataFrame:
    """Stage report: measures every method rolled out, writes METRICS and the page; returns METRICS.

    `parameters` are shown on the page as they are (section -> values).
    """
    found = [method for method in METHODS if places.rollout(method).exists()]
    if not found:
        raise InputError(f"{places.rollouts}: no rollouts; run `tutee rollout` first")
    steps = pair(
        pl.concat([read_table(places.rollout(method), "rollout") for method in found]),
        read_table(places.dialogs, "serialize"),
        read_table(places.submissions, "ingest"),
        read_table(places.verdicts, "grade"),
        progress,
    )
    measured = measure(steps, config)
    cards = [
        StudentCard.load(places.model(method)) for method in found if (places.model(method) / FILE).exists()
    ]
    page = render(course, steps, measured, config, _account(places), cards, parameters or {})
    try:
        places.reports.mkdir(parents=True, exist_ok=True)
        measured.write_parquet(places.metrics)
        places.report.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"{places.reports}: cannot be written: {error.strerror or error}") from error
    return measured


def render(
    course: Course,
    steps: pl.DataFrame,
    measured: pl.DataFrame,
    config: ReportConfig,
    account: Mapping[str, Any],
    cards: list[StudentCard],
    parameters: Mapping[str, Any],
) -> str:
    """The page: one file that needs no other, and holds no address but those of its own sections."""
    figures = _figures(measured)
    methods = [method for method in METHODS if (method, "coverage", names.OVERALL) in figures]
    strata = measured["stratum"].unique().to_list()
    best = _best(figures, methods)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        course=course,
        methods=methods,
        best=best,
        columns=COLUMNS,
        figure=lambda method, metric, stratum=names.OVERALL: figures.get((method, metric, stratum)),
        names=names,
        copy=COPY,
        kinds=_kinds(measured),
        numbers=sorted(int(name.removeprefix(names.STEP)) for name in strata if name.startswith(names.STEP)),
        assignments=sorted(
            name.removeprefix(names.ASSIGNMENT) for name in strata if name.startswith(names.ASSIGNMENT)
        ),
        size=_size(steps),
        top=_top(figures),
        examples=list(_examples(steps, best, config)),
        account=account,
        quarantine=[step for step in account.get("flow", []) if step["kind"] == "quarantine"],
        cards=cards,
        parameters={"report": config.model_dump(), **parameters},
        versions=dict(_versions()),
    )


def results_table(measured: pl.DataFrame) -> str:
    """METRICS over all steps as lines of text: each method's figures, intervals and skill over COPY."""
    figures = _figures(measured)
    methods = [method for method in METHODS if (method, "coverage", names.OVERALL) in figures]
    rows = [["method", "Cov", "GP", "CB", "GP skill", "CB skill"]]
    columns = ("coverage", "grade_proximity", "codebleu", "grade_proximity_skill", "codebleu_skill")
    for method in methods:
        found = [figures.get((method, column, names.OVERALL)) for column in columns]
        rows.append([method.upper(), *(_plain(figure) for figure in found)])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _plain(figure: Figure | None) -> str:
    return "-" if figure is None else f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _figures(measured: pl.DataFrame) -> dict[tuple[str, str, str], Figure]:
    rows = measured.filter(pl.col("value").is_not_null())
    return {
        (row["method"], row["metric"], row["stratum"]): Figure(
            row["value"], row["low"], row["high"], row["n"]
        )
        for row in rows.iter_rows(named=True)
    }


def _best(figures: Mapping[tuple[str, str, str], Figure], methods: list[str]) -> str:
    """The method whose examples are shown: the highest grade proximity times coverage where the real grade
    changed, so that one which changes nothing is not chosen for it. COPY stands apart."""

    def score(method: str) -> float:
        found = [figures.get((method, metric, names.CHANGED)) for metric in ("grade_proximity", "coverage")]
        return math.prod(figure.value if figure else 0.0 for figure in found)

    return max([method for method in methods if method != COPY] or methods, key=score)


def _top(figures: Mapping[tuple[str, str, str], Figure]) -> float:
    """Where the axis of the shares solved ends: the next quarter above all of them."""
    highs = [
        figure.high
        for (_, metric, stratum), figure in figures.items()
        if metric == "solved" and stratum.startswith(names.STEP)
    ]
    return max(0.25, math.ceil(min(1.0, max(highs, default=1.0)) * 4) / 4)


def _kinds(measured: pl.DataFrame) -> list[str]:
    """What can become of a submission, from best to worst."""
    shares = measured.filter(pl.col("metric").str.starts_with(names.SHARE) & (pl.col("value") > 0))
    found = {metric.removeprefix(names.SHARE) for metric in shares["metric"].unique()}
    order = [SOLVED, SOME, NONE, *sorted(found - {SOLVED, SOME, NONE, UNREADABLE}), UNREADABLE]
    return [kind for kind in order if kind in found]


def _size(steps: pl.DataFrame) -> dict[str, int]:
    real = steps.filter(pl.col("method") == steps["method"].first())
    return {
        "students": real["student"].n_unique(),
        "assignments": real["assignment"].n_unique(),
        "starts": real.select("student", "assignment", "start").n_unique(),
        "submissions": int(real["real_code"].is_not_null().sum()),
    }


def _examples(steps: pl.DataFrame, method: str, config: ReportConfig) -> Iterator[dict[str, Any]]:
    """Rollouts of `method`, drawn, each of another student and as far as possible another assignment."""
    mine = steps.filter((pl.col("method") == method) & (pl.col("sample") == 0))
    starts = (
        mine.filter((pl.col("step") == 2) & pl.col("code").is_not_null() & pl.col("real_code").is_not_null())
        .sample(fraction=1, shuffle=True, seed=config.seed)
        .unique("student", keep="first", maintain_order=True)
        .with_columns(turn=pl.int_range(pl.len()).over("assignment"))
        .sort("turn", maintain_order=True)
        .head(config.examples)
    )
    for number, start in enumerate(starts.iter_rows(named=True), 1):
        key = [pl.col(name) == start[name] for name in ("student", "assignment", "start")]
        rows = mine.filter(*key).sort("step")
        yield {
            "number": number,
            "assignment": start["assignment"],
            "start": start["start"],
            "before": start["before"],
            "steps": list(zip(_told(rows, ""), _told(rows, "real_"), strict=True)),
        }


def _told(rows: pl.DataFrame, whose: str) -> Iterator[dict[str, Any] | None]:
    """The programs of one side of an example, each with what changed since the one before."""
    previous = rows["before"][0]
    for row in rows.iter_rows(named=True):
        code = row[f"{whose}code"]
        if code is None and row[f"{whose}kind"] is None:
            yield None
            continue
        yield {
            "kind": row[f"{whose}kind"],
            "grade": row[f"{whose}grade"],
            "feedback": row[f"{whose}feedback"] or "",
            "lines": marked(previous, code) if code is not None else [],
        }
        previous = code if code is not None else previous


def marked(previous: str, code: str) -> list[Line]:
    """The lines of `code`, and those of `previous` that went, each with its mark."""
    old, new = previous.splitlines(), code.splitlines()
    lines: list[Line] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            lines += [Line("same", text) for text in new[c:d]]
        else:
            lines += [Line("removed", text) for text in old[a:b]] + [Line("added", text) for text in new[c:d]]
    return lines


def _account(places: Places) -> dict[str, Any]:
    try:
        return json.loads(places.account.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{places.account}: no account of the rows ({error}); run `tutee ingest`") from error


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
