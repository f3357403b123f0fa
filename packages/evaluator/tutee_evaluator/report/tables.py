"""The table of results for a terminal."""

from collections.abc import Sequence

import polars as pl

from tutee_evaluator.report.figures import Figure, Figures

_COLUMNS = {
    "Cov": "coverage",
    "GP": "grade_proximity",
    "CB": "codebleu",
    "GP skill": "grade_proximity_skill",
    "CB skill": "codebleu_skill",
}


def results_table(metrics: pl.DataFrame, methods: Sequence[str]) -> str:
    """METRICS over all steps as lines of text: figures, intervals and skill over COPY.

    One line per method that has figures, in the order of `methods`.
    """
    figures = Figures(metrics)
    rows = [["method", *_COLUMNS]]
    for method in figures.measured(methods):
        cells = (_cell(figures.get(method, metric)) for metric in _COLUMNS.values())
        rows.append([method.upper(), *cells])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _cell(figure: Figure | None) -> str:
    return "-" if figure is None else f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
