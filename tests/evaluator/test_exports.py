"""The figures of the report for other programs."""

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from tutee_evaluator.metrics import METRICS
from tutee_evaluator.report.exports import write_figures, write_metrics, write_solved, write_tables

ROWS = [
    ("mix", "coverage", "overall", 1.0, 1.0, 1.0, 9),
    ("mix", "energy", "overall", 0.2, 0.1, 0.3, 9),
    ("mix", "energy_skill_over_mix", "overall", 0.0, 0.0, 0.0, 9),
    ("a_b", "coverage", "overall", 0.5, 0.4, 0.6, 9),
    ("a_b", "energy", "overall", 0.25, 0.2, 0.3, 9),
    ("a_b", "energy_skill_over_mix", "overall", -0.25, -0.5, 0.125, 9),
    ("a_b", "nats", "overall", None, None, None, 9),
    ("a_b", "solved", "step=1", 0.1, 0.0, 0.2, 9),
    ("a_b", "real_solved", "step=1", 0.4, 0.3, 0.5, 9),
    ("a_b", "solved", "step=2", 0.2, 0.1, 0.3, 7),
    ("a_b", "coverage", "changed", 0.75, 0.7, 0.8, 4),
]


@pytest.fixture
def metrics() -> pl.DataFrame:
    return pl.DataFrame(ROWS, schema=METRICS, orient="row")


def test_the_metrics_have_every_figure_over_all_steps(metrics: pl.DataFrame, tmp_path: Path) -> None:
    write_metrics(metrics, tmp_path / "metrics.json")

    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "mix": {"coverage": 1.0, "energy": 0.2, "energy_skill_over_mix": 0.0},
        "a_b": {"coverage": 0.5, "energy": 0.25, "energy_skill_over_mix": -0.25},
    }


def test_the_plot_has_each_method_beside_its_students(metrics: pl.DataFrame, tmp_path: Path) -> None:
    write_solved(metrics, ["mix", "a_b"], tmp_path / "solved.csv")

    with (tmp_path / "solved.csv").open() as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert rows == [("1", "A_B", "0.1"), ("2", "A_B", "0.2"), ("1", "students beside A_B", "0.4")]


def test_tables_hold_all_figures(metrics: pl.DataFrame, tmp_path: Path) -> None:
    write_tables(metrics, ["mix", "a_b"], tmp_path / "tables")

    assert pl.read_csv(tmp_path / "tables" / "metrics.csv").height == len(ROWS)
    assert len(json.loads((tmp_path / "tables" / "metrics.json").read_text())) == len(ROWS)


def test_the_latex_table_has_a_row_per_method_and_the_same_cells_in_each(
    metrics: pl.DataFrame, tmp_path: Path
) -> None:
    write_tables(metrics, ["mix", "absent", "a_b"], tmp_path / "tables")

    lines = (tmp_path / "tables" / "results.tex").read_text().splitlines()
    header, *rows = [line.removesuffix(r" \\").split(" & ") for line in lines if "&" in line]
    assert header[:4] == ["method", "Energy", "skill over MIX", "CRPS"]
    assert [row[0] for row in rows] == ["MIX", r"A\_B"]
    assert rows[1][1:4] == ["0.250", "$-0.25$ [$-0.50$, $+0.12$]", "--"]
    assert {len(row) for row in rows} == {len(header)}
    assert lines[0] == r"\begin{tabular}{l" + "r" * (len(header) - 1) + "}"


def test_a_name_with_signs_of_latex_is_written_as_it_is(metrics: pl.DataFrame, tmp_path: Path) -> None:
    named = metrics.with_columns(pl.col("method").replace("a_b", "50%_of_#1 & 2"))
    write_tables(named, ["50%_of_#1 & 2"], tmp_path / "tables")

    assert r"50\%\_OF\_\#1 \& 2 & 0.250" in (tmp_path / "tables" / "results.tex").read_text()


def test_pictures_are_the_same_every_time(metrics: pl.DataFrame, tmp_path: Path) -> None:
    parts = [
        ("a_b", f"{real}{name}={part}", "overall", 0.5, 0.4, 0.6, 9)
        for real in ("", "real_")
        for name in ("transition", "edit_lines")
        for part in ("1", "3-4")
    ]
    metrics = pl.concat([metrics, pl.DataFrame(parts, schema=METRICS, orient="row")])
    for name in ("one", "other"):
        write_figures(metrics, ["mix", "a_b"], tmp_path / name)

    names = {file.name for file in (tmp_path / "one").iterdir()}
    pictures = ("solved", "skill", "transitions", "edits")
    assert names == {f"{picture}.{kind}" for picture in pictures for kind in ("svg", "png")}
    for name in names:
        content = (tmp_path / "one" / name).read_bytes()
        assert content.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")
        assert content == (tmp_path / "other" / name).read_bytes()


def test_there_are_pictures_of_what_there_are_figures_of_alone(metrics: pl.DataFrame, tmp_path: Path) -> None:
    part = pl.DataFrame([("a_b", "edit_tree=2", "overall", 0.5, 0.4, 0.6, 9)], schema=METRICS, orient="row")
    for name, own in (("without", metrics), ("with", pl.concat([metrics, part]))):
        write_figures(own, ["mix", "a_b"], tmp_path / name)

    assert {file.stem for file in (tmp_path / "without").iterdir()} == {"solved", "skill"}
    assert {file.stem for file in (tmp_path / "with").iterdir()} == {"solved", "skill", "edits"}


def test_a_panel_of_the_share_solved_has_both_sides(
    metrics: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = []
    plot = Axes.plot

    def drawn(axes: Axes, steps: Any, values: Any, form: str, **rest: Any) -> Any:
        lines.append((steps, values, form))
        return plot(axes, steps, values, form, **rest)

    monkeypatch.setattr(Axes, "plot", drawn)
    write_figures(metrics, ["a_b"], tmp_path / "figures")

    assert lines == [((1, 2), (0.1, 0.2), "o-"), ((1,), (0.4,), "o--")]


def test_the_lowest_panel_of_each_column_has_the_steps_below(
    metrics: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["m1", "m2", "m3", "m4", "m5"]
    rows = [
        (name, metric, stratum, 0.5, 0.4, 0.6, 9)
        for name in names
        for metric, stratum in (("coverage", "overall"), ("solved", "step=1"))
    ]
    pictures = []
    savefig = Picture.savefig

    def saved(picture: Picture, *arguments: Any, **options: Any) -> None:
        pictures.append(picture)
        savefig(picture, *arguments, **options)

    monkeypatch.setattr(Picture, "savefig", saved)
    write_figures(pl.DataFrame(rows, schema=METRICS, orient="row"), names, tmp_path / "figures")

    labelled = [axes.get_title() for axes in pictures[0].axes if axes.xaxis.get_tick_params()["labelbottom"]]
    assert labelled == ["M3", "M4", "M5"]


def test_edits_show_each_share_of_both_sides_as_a_bar(
    metrics: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = []
    barh = Axes.barh

    def drawn(axes: Axes, place: float, width: float, *more: Any, **rest: Any) -> Any:
        bars.append((round(place), place % 1 < 0.5, width, rest["xerr"]))
        return barh(axes, place, width, *more, **rest)

    monkeypatch.setattr(Axes, "barh", drawn)
    parts = [
        ("a_b", "edit_tokens=0", "overall", 0.5, 0.25, 0.625, 9),
        ("a_b", "real_edit_tokens=0", "overall", 0.25, 0.125, 0.5, 9),
        ("a_b", "real_edit_tokens=17+", "overall", 0.75, 0.5, 1.0, 9),
    ]
    write_figures(
        pl.concat([metrics, pl.DataFrame(parts, schema=METRICS, orient="row")]), ["a_b"], tmp_path / "figures"
    )
    assert bars == [
        (0, False, 0.5, [[0.25], [0.125]]),
        (0, True, 0.25, [[0.125], [0.25]]),
        (1, True, 0.75, [[0.25], [0.25]]),
    ]
