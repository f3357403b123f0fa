"""The figures of the report for other programs: tables as CSV, JSON and LaTeX, pictures as SVG and PNG."""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from tutee_evaluator.metrics.strata import OVERALL, STEP
from tutee_evaluator.report.figures import Figure, Figures
from tutee_evaluator.report.sections import EDITS, TRANSITIONS
from tutee_grader.files import atomic_dir, atomic_file

# The columns of the LaTeX table: heading, metric, and the form of its value. A score has its skill beside it.
_LATEX = (
    ("Energy", "energy", ".3f"),
    ("CRPS", "crps", ".3f"),
    ("nats", "nats", ".1f"),
    ("Cov", "coverage", ".3f"),
    ("GP", "grade_proximity", ".3f"),
    ("CodeBLEU", "codebleu", ".3f"),
)


def write_metrics(metrics: pl.DataFrame, file: Path) -> None:
    """METRICS over all steps as JSON, method -> metric -> value, for `dvc metrics diff`."""
    overall = metrics.filter(stratum=OVERALL).drop_nulls("value").sort("method", "metric")
    values: dict[str, dict[str, float]] = {}
    for method, metric, value in overall.select("method", "metric", "value").iter_rows():
        values.setdefault(method, {})[metric] = round(value, 6)
    with atomic_file(file) as part:
        part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def write_solved(metrics: pl.DataFrame, methods: Sequence[str], file: Path) -> None:
    """The share solved by each step as CSV, for `dvc plots show`: of each method, and of the students."""
    figures = Figures(metrics)
    rows = [
        {"step": step, "who": who, "solved": figure.value}
        for method in figures.measured(methods)
        for who, metric in ((method.upper(), "solved"), (f"students beside {method.upper()}", "real_solved"))
        for step in figures.steps
        if (figure := figures.get(method, metric, f"{STEP}{step}"))
    ]
    table = pl.DataFrame(rows, schema={"step": pl.Int64, "who": pl.String, "solved": pl.Float64})
    with atomic_file(file) as part:
        table.write_csv(part)


def write_tables(metrics: pl.DataFrame, methods: Sequence[str], folder: Path) -> None:
    """METRICS as `metrics.csv` and `metrics.json`, and the table of results as `results.tex`."""
    figures = Figures(metrics)
    with atomic_dir(folder) as part:
        metrics.write_csv(part / "metrics.csv")
        metrics.write_json(part / "metrics.json")
        latex = "\n".join(_latex(figures, figures.measured(methods)))
        (part / "results.tex").write_text(latex + "\n", encoding="utf-8")


def write_figures(metrics: pl.DataFrame, methods: Sequence[str], folder: Path) -> None:
    """The pictures `solved`, `skill` and, where there are figures, `transitions` and `edits`: SVG and PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Picture

    figures = Figures(metrics)
    shown = figures.measured(methods)
    pictures: dict[str, Callable[[Any, Figures, Sequence[str]], None]] = {
        "solved": _draw_solved,
        "skill": _draw_skill,
    }
    for name, wholes in (("transitions", TRANSITIONS), ("edits", EDITS)):
        if any(figures.has_parts(method, whole) for method in shown for whole, _ in wholes):
            pictures[name] = partial(_draw_pairs, wholes=wholes)
    with atomic_dir(folder) as part:
        for name, draw in pictures.items():
            picture = Picture(figsize=(7, 4), layout="constrained")
            draw(picture, figures, shown)
            for suffix in ("svg", "png"):
                # Without the date and with fixed ids the same figures give the same file.
                kind: dict[str, Any] = {"metadata": {"Date": None}} if suffix == "svg" else {"dpi": 150}
                with rc_context({"svg.hashsalt": "tutee"}):
                    picture.savefig(part / f"{name}.{suffix}", **kind)
                picture.set_layout_engine("none")  # the second file has the first one's layout


def _latex(figures: Figures, methods: Sequence[str]) -> Iterator[str]:
    """A table of the package booktabs; skills are over the strongest baseline, with 95% intervals."""
    names = [metric for _, metric, _ in _LATEX]
    skilled = [name for name in names if any(figures.get(one, figures.skill(name)) for one in methods)]
    heads = []
    for heading, metric, _ in _LATEX:
        heads += (
            [heading, f"skill over {_latex_text(figures.opponent.upper())}"]
            if metric in skilled
            else [heading]
        )
    yield rf"\begin{{tabular}}{{l{'r' * len(heads)}}}"
    yield r"\toprule"
    yield " & ".join(["method", *heads]) + r" \\"
    yield r"\midrule"
    for method in methods:
        cells = []
        for _, metric, form in _LATEX:
            found = figures.get(method, metric)
            cells.append(format(found.value, form) if found else "--")
            if metric in skilled:
                cells.append(_latex_skill(figures.get(method, figures.skill(metric))))
        yield " & ".join([_latex_text(method.upper()), *cells]) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _latex_text(text: str) -> str:
    return re.sub(r"[&%$#_{}]", r"\\\g<0>", text)


def _latex_skill(found: Figure | None) -> str:
    return f"${found.value:+.2f}$ [${found.low:+.2f}$, ${found.high:+.2f}$]" if found else "--"


def _draw_solved(picture: Any, figures: Figures, methods: Sequence[str]) -> None:
    """The share solved by each step, a panel a method, beside the students'; bands are 95% intervals."""
    columns = min(3, len(methods))
    lines = math.ceil(len(methods) / columns)
    picture.set_size_inches(1 + 2.2 * columns, 0.8 + 1.6 * lines)
    panels = picture.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
    panels[0].set(ylim=(0, figures.solved_axis()), xticks=figures.steps)  # and so all panels
    for axes, method in zip(panels, methods, strict=False):
        for number, metric in enumerate(("solved", "real_solved")):
            found = [(step, figures.get(method, metric, f"{STEP}{step}")) for step in figures.steps]
            points = [(step, one.value, one.low, one.high) for step, one in found if one]
            if points:
                steps, values, lows, highs = zip(*points, strict=True)
                axes.plot(steps, values, ("o-", "o--")[number], color=f"C{number}", markersize=3)
                axes.fill_between(steps, lows, highs, color=f"C{number}", alpha=0.2, linewidth=0)
        axes.set_title(method.upper(), fontsize="small", parse_math=False)
    for axes in panels[len(methods) :]:
        axes.remove()
    for axes in panels[len(methods) - columns : len(methods)]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
    picture.supxlabel("step (blue: the method, orange and dashed: the students)", fontsize="small")
    picture.supylabel("share solved", fontsize="small")


def _draw_skill(picture: Any, figures: Figures, methods: Sequence[str]) -> None:
    """The skill of both scores over the strongest baseline, with 95% intervals."""
    panels = picture.subplots(1, 2, sharey=True)
    for axes, (score, words) in zip(panels, (("energy", "energy score"), ("crps", "CRPS")), strict=True):
        for place, method in enumerate(methods):
            if found := figures.get(method, figures.skill(score)):
                reach = [[found.value - found.low], [found.high - found.value]]
                axes.errorbar(found.value, place, xerr=reach, fmt="o", color="C0", capsize=3)
        axes.axvline(0, color="0.6", linewidth=1)
        axes.set(xlabel=f"skill of the {words} over {figures.opponent.upper()}")
        axes.set_yticks(range(len(methods)), [method.upper() for method in methods])
    panels[0].invert_yaxis()


def _draw_pairs(
    picture: Any, figures: Figures, methods: Sequence[str], wholes: Sequence[tuple[str, str]]
) -> None:
    """The shares of the parts of each whole, a row, of each method, a column; beside them, the students'."""
    rows = [(name, words) for name, words in wholes if figures.parts(name)]
    columns = [method for method in methods if any(figures.has_parts(method, name) for name, _ in rows)]
    heights = [len(figures.parts(name)) for name, _ in rows]
    picture.set_size_inches(2 + 2 * len(columns), 1.2 + 0.35 * sum(heights))
    panels = picture.subplots(
        len(rows), len(columns), squeeze=False, sharey="row", sharex=True, height_ratios=heights
    )
    for (name, words), line in zip(rows, panels, strict=True):
        parts = figures.parts(name)
        for method, axes in zip(columns, line, strict=True):
            for place, part in enumerate(parts):
                for number, found in enumerate(figures.pair(method, name, part)):
                    if found:
                        reach = [[found.value - found.low], [found.high - found.value]]
                        at, look = place + (-0.2, 0.2)[number], {"color": f"C{number}", "ecolor": "0.3"}
                        axes.barh(at, found.value, 0.4, xerr=reach, **look)
            axes.set_yticks(range(len(parts)), parts, fontsize="small", parse_math=False)
        line[0].set_ylabel(words)
        line[0].invert_yaxis()
    for method, axes in zip(columns, panels[0], strict=True):
        axes.set_title(method.upper(), fontsize="small", parse_math=False)
    picture.supxlabel("share (blue: the method, orange: the students)", fontsize="small")
