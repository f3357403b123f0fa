"""How many starts were led to a right program, how large the changes are, and how much style they keep."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tutee_evaluator.metrics import METRICS, ReportConfig
from tutee_evaluator.metrics.bootstrap import Array, Estimate, divide, resample
from tutee_evaluator.metrics.strata import OVERALL
from tutee_evaluator.report.figures import Figure, Figures
from tutee_evaluator.report.tables import align, with_interval
from tutee_evaluator.steering.candidates import Candidate
from tutee_evaluator.steering.search import Led
from tutee_grader.files import atomic_dir

UNGUIDED = "weight 0, as many"  # candidates as at all weights together
BASE, REFERENCE, SAME_STARTS = "BASE's repair", "reference", "reference, same starts"
# Over the starts that were led to a right program, each a field of Candidate, with its form in a terminal.
SIZES = {"tokens": ".1f", "lines": ".1f", "style": ".3f", "names_kept": ".3f"}
SHARE = "right"


@dataclass(frozen=True)
class Outcomes:
    """What became of each start: steered, and beside it the reference solution where there is one.

    `unguided` and `base`, BASE's repair, had as many candidates as the steered ones at all weights together.
    """

    steered: Sequence[Led]
    unguided: Sequence[Led]
    base: Sequence[Led]
    references: Sequence[Candidate | None]


def measure(outcomes: Outcomes, weights: Sequence[float], config: ReportConfig) -> pl.DataFrame:
    """METRICS of each way to a right program, as the method; intervals are bootstraps over students."""
    ways = dict(_ways(outcomes, sorted(weights)))
    owners = [led.start.student for led in outcomes.steered]
    students = sorted(set(owners))
    place = [students.index(owner) for owner in owners]
    resamples = resample(len(students), config.resamples, config.seed)

    def sums(values: Mapping[str, Sequence[float]]) -> Array:
        """The sums of a number per start, [resample, way, stratum]."""
        by_student = [np.bincount(place, numbers, minlength=len(students)) for numbers in values.values()]
        return (resamples @ np.stack(by_student, axis=1))[:, :, None]

    def estimate(metric: str, values: Mapping[str, Sequence[float | None]]) -> Estimate:
        over = sums({way: [value or 0.0 for value in numbers] for way, numbers in values.items()})
        under = sums({way: [value is not None for value in numbers] for way, numbers in values.items()})
        return Estimate(metric, list(ways), [OVERALL], divide(over, under), under[0])

    estimates = [
        estimate(
            SHARE, {way: [None if one is None else one.is_right for one in of] for way, of in ways.items()}
        )
    ]
    for size in SIZES:
        values = {
            way: [getattr(one, size) if one and one.is_right else None for one in of]
            for way, of in ways.items()
        }
        estimates.append(estimate(size, values))
    return pl.concat(one.table() for one in estimates).filter(pl.col("n") > 0).cast(METRICS)


def figures_table(metrics: pl.DataFrame) -> str:
    """METRICS of `measure` as lines of text, one per way."""
    figures = Figures(metrics)
    rows = [["way", SHARE, *(name.replace("_", " ") for name in SIZES)]]
    for way in metrics["method"].unique(maintain_order=True):
        cells = [_cell(figures.get(way, SHARE), ".2f")]
        rows.append([way, *cells, *(_cell(figures.get(way, name), form) for name, form in SIZES.items())])
    return "\n".join(align(rows))


def write(metrics: pl.DataFrame, outcomes: Outcomes, folder: Path) -> None:
    """Writes `figures.csv`, `figures.json` and, with every program, `starts.json` into `folder`."""
    starts = [
        {
            "student": led.start.student,
            "assignment": led.start.assignment,
            "program": led.start.program,
            "grade": led.start.grade,
            "weight": led.weight,
            "steps": [asdict(one) for one in led.programs],
            "unguided": [asdict(one) for one in unguided.programs],
            "base": [asdict(one) for one in base.programs],
            "reference": reference and asdict(reference),
        }
        for led, unguided, base, reference in zip(
            outcomes.steered, outcomes.unguided, outcomes.base, outcomes.references, strict=True
        )
    ]
    with atomic_dir(folder) as part:
        metrics.write_csv(part / "figures.csv")
        metrics.write_json(part / "figures.json")
        (part / "starts.json").write_text(json.dumps(starts, indent=1) + "\n", encoding="utf-8")


def _ways(outcomes: Outcomes, weights: Sequence[float]) -> Iterator[tuple[str, list[Candidate | None]]]:
    """Each way's name with its last program for each start; None: the start is not among the way's."""
    for weight in weights:
        name = f"{'up to ' if weight > weights[0] else ''}weight {weight:g}"
        yield name, [_reached(led, weight) for led in outcomes.steered]
    for name, led in ((UNGUIDED, outcomes.unguided), (BASE, outcomes.base)):
        yield name, [_reached(one, one.weight) for one in led]
    yield REFERENCE, list(outcomes.references)
    paired = zip(outcomes.steered, outcomes.references, strict=True)
    yield SAME_STARTS, [reference if led.is_right else None for led, reference in paired]


def _reached(led: Led, weight: float) -> Candidate:
    """The last program up to a weight of guidance; where it was led nowhere, or by more, its own one."""
    if led.programs and led.weight <= weight:
        return led.programs[-1]
    return Candidate(led.start.program, led.start.grade, 0, 0, 0.0, 0.0, 1.0)


def _cell(figure: Figure | None, form: str) -> str:
    return "-" if figure is None else with_interval(figure.value, figure.low, figure.high, form)
