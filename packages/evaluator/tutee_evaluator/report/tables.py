"""The table of results for a terminal."""

from collections.abc import Sequence

import polars as pl

from tutee_evaluator.report.figures import Figure, Figures

_SKILLS = {"energy": "energy", "crps": "CRPS"}
_PLAIN = {
    "nats": ("nats", "{:.1f}"),
    "Cov": ("coverage", "{:.3f}"),
    "GP": ("grade_proximity", "{:.3f}"),
    "CB": ("codebleu", "{:.3f}"),
}


def results_table(metrics: pl.DataFrame, methods: Sequence[str]) -> str:
    """METRICS over all steps as lines of text, at most 100 columns wide but for methods with long names.

    First the skill of the energy score and of the CRPS over the strongest baseline, with 95% intervals; then
    the log score and the published three. One line per method that has figures, in the order of `methods`.
    """
    figures = Figures(metrics)
    over = figures.opponent.upper()
    skills = {f"{words} skill over {over}": figures.skill(score) for score, words in _SKILLS.items()}
    rows = [["method", *skills, *_PLAIN]]
    for method in figures.measured(methods):
        cells = [signed(figures.get(method, metric)) for metric in skills.values()]
        cells += [_plain(figures.get(method, metric), form) for metric, form in _PLAIN.values()]
        rows.append([method.upper(), *cells])
    return "\n".join(align(rows))


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines of text, its columns aligned; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return [line.rstrip() for line in lines]


def signed(figure: Figure | None) -> str:
    """A figure that may be above or below 0, with its interval; a dash where there is none."""
    return "-" if figure is None else with_interval(figure.value, figure.low, figure.high, "+z.3f")


def with_interval(value: float, low: float, high: float, form: str) -> str:
    """A value and its interval, each written by the format specification `form`."""
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _plain(figure: Figure | None, form: str) -> str:
    return "-" if figure is None else form.format(figure.value)
