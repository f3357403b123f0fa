"""The results of an experiment for a terminal."""

import polars as pl

from tutee_evaluator.experiments.page import OUTCOMES, Results
from tutee_evaluator.report.figures import Figure
from tutee_evaluator.report.tables import align, signed, with_interval

_HEADINGS = {
    "solved": "solved",
    "steps": "submissions to solve",
    "area": "area",
    "gave_up": "gave up",
    "resubmissions": "same again",
    "unreadable": "unreadable",
}


def outcomes_table(figures: pl.DataFrame, primary: str) -> str:
    """FIGURES over the whole class, one line per policy."""
    results = Results(figures, primary)
    rows = [["policy", *(_HEADINGS[outcome] for outcome in OUTCOMES)]]
    for policy in results.policies:
        cells = [_plain(results.get(policy, outcome), share) for outcome, (_, share) in OUTCOMES.items()]
        rows.append([policy, *cells])
    return "\n".join(align(rows))


def differences_table(figures: pl.DataFrame, primary: str) -> str:
    """The paired differences of the primary outcome, with 95% intervals, the largest first."""
    rows = [["policy", "over", primary, "p (Holm)", "students per arm"]]
    for one in Results(figures, primary).differences():
        p = "-" if one.p_holm is None else f"{one.p_holm:.3f}"
        needed = "-" if one.needed is None else f"{one.needed:,}"
        shown = f"{one.found.value:+z.3f}" if one.found.low is None else signed(one.found)
        rows.append([one.policy, one.other, shown, p, needed])
    return "\n".join(align(rows))


def responses_table(responses: pl.DataFrame) -> str:
    """RESPONSES as lines of text."""
    rows = [["figure", "of", "and", "value"]]
    for row in responses.sort("figure", maintain_order=True).iter_rows(named=True):
        shown = with_interval(row["value"], row["low"], row["high"], ".3f")
        rows.append([row["figure"], row["kind"], row["other"] or "-", shown])
    return "\n".join(align(rows))


def _plain(figure: Figure | None, share: bool) -> str:
    if figure is None:
        return "-"
    return f"{figure.value:.3f}" if share else f"{figure.value:.2f}"
