"""What was probed, as lines of text and as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tutee_evaluator.probing.probes import AUC, COUNTS_NAME, SKILL
from tutee_evaluator.probing.states import LAYERS
from tutee_evaluator.probing.targets import TARGETS
from tutee_evaluator.report.figures import Figure
from tutee_evaluator.report.tables import align, signed

_AXIS_FROM = -0.3  # what lies below is drawn at the edge of the picture


def probes_table(probes: pl.DataFrame) -> str:
    """PROBES as lines of text: per target the counts, then each student's last layer and the middle one."""
    heads = ["target", "features", "skill", "over counts", "AUC", "middle layer", "shuffled"]
    lines = [heads]
    for target in TARGETS:
        words = target.words
        for student in _students(probes, target.name):
            layer = None if student == COUNTS_NAME else LAYERS[-1]
            found = _find(probes, target.name, student, layer, SKILL)
            middle = _find(probes, target.name, student, LAYERS[0], SKILL)
            shuffled = _find(probes, target.name, student, layer, SKILL, labels="shuffled")
            area = _find(probes, target.name, student, layer, AUC)
            lines.append(
                [
                    words,
                    student if student == COUNTS_NAME else student.upper(),
                    signed(_figure(found, "value", "low", "high")),
                    signed(_figure(found, "over_counts", "over_counts_low", "over_counts_high")),
                    "-" if area is None or area["value"] is None else f"{area['value']:.3f}",
                    signed(_figure(middle, "value", "low", "high")),
                    "-" if shuffled is None else f"{shuffled['value']:+.3f}",
                ]
            )
            words = ""
    return "\n".join(align(lines))


def draw_probes(probes: pl.DataFrame, folder: Path) -> None:
    """The skill of each target's probes with 95% intervals, as `probes.png` and `probes.svg` in `folder`."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Picture

    targets = [target for target in TARGETS if _students(probes, target.name)]
    picture = Picture(figsize=(8, 1.4 + 0.75 * len(targets)), layout="constrained")
    axes = picture.subplots()
    names = list(dict.fromkeys(student for target in targets for student in _students(probes, target.name)))
    kinds = [(name, layer) for name in names for layer in ([None] if name == COUNTS_NAME else LAYERS)]
    for place, target in enumerate(targets):
        for number, (student, layer) in enumerate(kinds):
            at = place + 0.8 * ((number + 0.5) / len(kinds) - 0.5)
            color = "0.4" if layer is None else f"C{names.index(student)}"
            filled = color if layer != LAYERS[0] else "white"
            if found := _find(probes, target.name, student, layer, SKILL):
                value, low, high = (max(found[end], _AXIS_FROM) for end in ("value", "low", "high"))
                label = student if layer is None else f"{student.upper()}, {layer} layer"
                axes.errorbar(
                    value, at, xerr=[[value - low], [high - value]], fmt="o", color=color, mfc=filled,
                    markersize=5, capsize=2, label=None if place else label,
                )  # fmt: skip
            if found := _find(probes, target.name, student, layer, SKILL, labels="shuffled"):
                axes.plot(max(found["value"], _AXIS_FROM), at, "x", color="0.7", markersize=4, zorder=0)
    axes.axvline(0, color="0.6", linewidth=1)
    axes.set_yticks(range(len(targets)), [target.words for target in targets])
    axes.set(xlabel="skill over the mean (crosses: with shuffled labels)")
    axes.invert_yaxis()
    picture.legend(loc="outside upper center", ncols=4, fontsize="small", frameon=False)
    for suffix in ("svg", "png"):
        # Without the date and with fixed ids the same figures give the same file.
        kind: dict[str, Any] = {"metadata": {"Date": None}} if suffix == "svg" else {"dpi": 150}
        with rc_context({"svg.hashsalt": "tutee"}):
            picture.savefig(folder / f"probes.{suffix}", **kind)
        picture.set_layout_engine("none")  # the second file has the first one's layout


def _students(probes: pl.DataFrame, target: str) -> Sequence[str]:
    return probes.filter(target=target)["student"].unique(maintain_order=True).to_list()


def _find(
    probes: pl.DataFrame, target: str, student: str, layer: str | None, score: str, labels: str = "real"
) -> dict[str, Any] | None:
    found = probes.filter(
        pl.col("layer").eq_missing(pl.lit(layer, pl.String)),
        target=target,
        student=student,
        score=score,
        labels=labels,
    )
    return found.row(0, named=True) if found.height else None


def _figure(row: dict[str, Any] | None, value: str, low: str, high: str) -> Figure | None:
    if row is None or row[value] is None:
        return None
    return Figure(row[value], row[low], row[high], row["submissions"])
