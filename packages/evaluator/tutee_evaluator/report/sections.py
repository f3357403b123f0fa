"""The sections of the page, and which figures they show: pairs of a metric and its heading."""

from collections.abc import Iterator, Sequence
from typing import Any

from tutee_evaluator.metrics.bootstrap import MINUS
from tutee_evaluator.report.figures import Figures

# The proper scores, each with its skill over the baselines.
SCORES = (
    ("energy", "Energy score of the code"),
    ("crps", "CRPS of the grade"),
    ("energy_tokens", "Energy score, by tokens"),
)
LOG_SCORE = (("nats", "Log score, nats"),)
# What is compared with a reference, and whether more of it is better.
DIFFERENCES = (
    ("energy", "Energy score", False),
    ("crps", "CRPS", False),
    ("nats", "Nats", False),
    ("coverage", "Coverage", True),
    ("grade_proximity", "Grade proximity", True),
    ("codebleu", "CodeBLEU", True),
)
# The columns of the published tables.
PUBLISHED = (
    ("coverage", "Coverage"),
    ("grade_proximity", "Grade proximity"),
    ("codebleu", "CodeBLEU"),
    ("codebleu_corrected", "CodeBLEU, corrected"),
)
# Wholes with shares of their parts, and words for them: of EDITS, what an edit is counted in.
TRANSITIONS = (("transition", "transitions"),)
EDITS = (
    ("edit_lines", "lines"),
    ("edit_tokens", "tokens"),
    ("edit_tree", "nodes of the syntax tree"),
)
DISTANCES = (
    ("transition_distance", "Transitions"),
    ("edit_lines_distance", "Edits, lines"),
    ("edit_tokens_distance", "Edits, tokens"),
    ("edit_tree_distance", "Edits, tree"),
    ("attempts_distance", "Attempts"),
)
HABITS = (
    ("resubmission", "Resubmission"),
    ("real_resubmission", "of the students"),
    ("backtracking", "Backtracking"),
    ("real_backtracking", "of the students"),
)
ERRORS = (
    ("error_iou", "IoU"),
    ("error_overlap", "Overlap"),
    ("error_chi2", "χ²"),
    ("error_distance", "Distance"),
)
TRAITS = (
    ("style_lines", "Lines"),
    ("style_comments", "Comments"),
    ("style_pep8", "PEP 8"),
    ("style_names_kept", "Names kept"),
)
DIVERSITY = (
    ("self_bleu", "Self-BLEU"),
    ("distinct", "Distinct, of a start"),
    ("distinct_students", "Distinct, of all students"),
    ("real_distinct_students", "the students themselves"),
)
CALIBRATION = (
    ("grade_hit", "Samples with the real grade"),
    ("grade_among", "Real grade among the samples"),
)

# A heading, and how a figure is written.
MEMORISATION = (
    ("exposure", "Exposure, bits", "{:.2f}"),
    ("exposure_highest", "Highest exposure, bits", "{:.2f}"),
    ("reproduced", "Secrets reproduced", "{:.0f}"),
    ("overlap", "Longest overlap, characters", "{:.0f}"),
    ("overlap_share", "Programs with a long one", "{:.1%}"),
)


def columns(figures: Figures, methods: Sequence[str]) -> dict[str, Any]:
    """The columns of each table that there are figures of, by the names that the templates use."""
    tables = {
        "scores": SCORES,
        "log_score": LOG_SCORE,
        "columns": PUBLISHED,
        "distances": DISTANCES,
        "habits": HABITS,
        "errors": ERRORS,
        "traits": TRAITS,
        "diversity": DIVERSITY,
        "calibration": CALIBRATION,
    }
    shown: dict[str, Any] = {name: figures.shown(table, methods) for name, table in tables.items()}
    of = figures.reference
    shown["differences"] = [
        (f"{metric}{MINUS}{of}", heading, more)
        for metric, heading, more in DIFFERENCES
        if any(figures.get(method, f"{metric}{MINUS}{of}") for method in methods)
    ]
    shown["memorisation"] = [
        column for column in MEMORISATION if any(figures.get(method, column[0]) for method in methods)
    ]
    return shown | {"edits": [(name, words) for name, words in EDITS if figures.parts(name)]}


def sections(shown: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Of each section with figures: its template, its id and its title. `shown` are those of `columns`."""
    yield "scores.html", "scores", "Scores of the distribution"
    yield "trajectories.html", "trajectories", "Trajectories"
    yield "published.html", "published", "The published figures"
    yield "errors.html", "errors", "Outcomes and errors"
    if shown["traits"] or shown["diversity"] or shown["calibration"]:
        yield "style.html", "style", "Style, diversity, calibration"
    if shown["memorisation"]:
        yield "memorisation.html", "memorisation", "Memorisation"
    yield "browser.html", "browser", "Trajectories in full"
