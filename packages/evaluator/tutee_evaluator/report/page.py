"""Writes the report: one HTML page that needs no other file and links only to its own sections."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tutee_evaluator.memorisation.figures import LONG
from tutee_evaluator.metrics import ReportConfig, outcomes
from tutee_evaluator.metrics.outcomes import REAL, SHARE
from tutee_evaluator.metrics.paper import DEGRADATION, POOLED, SKILL
from tutee_evaluator.metrics.proper import SKILL_OVER
from tutee_evaluator.metrics.strata import ASSIGNMENT, CHANGED, OVERALL, SOLVED, START, STEP, UNSOLVED
from tutee_evaluator.report.answer import answer
from tutee_evaluator.report.browser import trajectories
from tutee_evaluator.report.figures import Figures
from tutee_evaluator.report.sections import columns, sections
from tutee_evaluator.schemas import BASELINE_METHODS, COPY
from tutee_grader.files import atomic_file

if TYPE_CHECKING:
    from tutee_serializer.card import StudentCard
    from tutee_serializer.course import Course

PACKAGES = (
    *("tutee-grader", "tutee-serializer", "tutee-trainer", "tutee-evaluator"),
    *("torch", "transformers", "trl", "peft", "codebleu", "polars"),
)
# The names of methods, metrics and strata that the template uses.
_NAMES = {
    "COPY": COPY,
    "LONG": LONG,
    "REAL": REAL,
    "OVERALL": OVERALL,
    "CHANGED": CHANGED,
    "ASSIGNMENT": ASSIGNMENT,
    "STEP": STEP,
    "SHARE": SHARE,
    "SKILL": SKILL,
    "SKILL_OVER": SKILL_OVER,
    "POOLED": POOLED,
    "DEGRADATION": DEGRADATION,
    "START": START,
    "SOLVED": SOLVED,
    "UNSOLVED": UNSOLVED,
}


def write_report(
    course: "Course",
    steps: pl.DataFrame,
    metrics: pl.DataFrame,
    config: ReportConfig,
    account: Mapping[str, Any],
    cards: Sequence["StudentCard"],
    parameters: Mapping[str, Any],
    descriptions: Mapping[str, str],
    page: Path,
) -> None:
    """Writes the page to the file `page`, whole or not at all.

    `steps` are STEPS and `metrics` METRICS. `account` is the account of the log's rows, `cards` are the
    students' cards; `parameters` (section -> values) appear on the page as they are. Methods come in the
    order of `descriptions` (name -> sentence), without those that have no figures. Raises UnavailableError
    where the page cannot be written.
    """
    figures = Figures(metrics)
    methods = figures.measured(list(descriptions))
    best = figures.best(methods)
    shown = columns(figures, methods)
    html = _rendered(
        **_NAMES,
        **shown,
        sections=list(sections(shown)),
        course=course,
        methods=methods,
        descriptions=descriptions,
        best=best,
        opponent=figures.opponent,
        answer=answer(figures, best),
        figures=figures,
        figure=figures.get,
        kinds=figures.kinds(),
        numbers=figures.steps,
        by_assignment=[(name, ASSIGNMENT + name) for name in figures.assignments],
        rows_by=[
            *((f"start {name}", START + name) for name in figures.starts),
            ("student solves it", SOLVED),
            ("student does not", UNSOLVED),
        ],
        # The strongest comes first: on a phone, only the first columns are seen without scrolling.
        baselines=sorted(
            (name for name in BASELINE_METHODS if name in methods), key=lambda name: name != figures.opponent
        ),
        solved_axis=figures.solved_axis(),
        size=_size(steps),
        repairs={method: _repairs(steps, method) for method in methods},
        trajectories=trajectories(steps, methods, config.seed),
        account=account,
        quarantine=[step for step in account.get("flow", []) if step["kind"] == "quarantine"],
        cards=cards,
        parameters={"report": config.model_dump(), **parameters},
        versions=dict(_versions()),
    )
    with atomic_file(page) as part:
        part.write_text(html, encoding="utf-8")


def _rendered(**values: Any) -> str:
    """The page; its policy lets a browser run this script and load nothing."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (folder / "browser.js").read_text(encoding="utf-8")
    values |= {
        "style": (folder / "style.css").read_text(encoding="utf-8"),
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    values["show"] = environment.get_template("macros.html").make_module(values)
    return environment.get_template("report.html").render(values)


def _size(steps: pl.DataFrame) -> dict[str, int]:
    """The size of the test set; it is the same for every method."""
    real = steps.filter(pl.col("method") == steps["method"].first())
    return {
        "students": real["student"].n_unique(),
        "assignments": real["assignment"].n_unique(),
        "starts": real.select("dialog_id", "start").n_unique(),
        "submissions": real.select("dialog_id", "start", "step").n_unique(),
        "samples": steps.select(pl.max("sample")).item(),
    }


def _repairs(steps: pl.DataFrame, method: str, count: int = 3) -> list[tuple[str, int]]:
    """The most frequent repairs of the turns that outcomes are of, each with its number of turns."""
    named = outcomes.rows(steps, steps).filter(method=method)["repair"].drop_nulls().str.split(", ").explode()
    return named.value_counts().sort("count", "repair", descending=[True, False]).head(count).rows()


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
