"""Writes the report of an experiment: one HTML page that needs no other file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tutee_evaluator.experiments.comparison import FEWEST, LEVEL
from tutee_evaluator.experiments.config import ExperimentConfig
from tutee_evaluator.experiments.outcomes import ERROR, LEVELS, SOLVED_BY
from tutee_evaluator.experiments.play import KEY
from tutee_evaluator.metrics.strata import ASSIGNMENT, OVERALL
from tutee_evaluator.report.figures import Figure
from tutee_evaluator.schemas import StopReason
from tutee_evaluator.turing.changes import Line, marked
from tutee_grader.files import atomic_file

REPORT = Path(__file__).parent.parent / "report"
SHOWN = 8  # starts whose trajectories are on the page

# The outcomes of the first table, each with its heading and whether it is a share.
OUTCOMES = {
    "solved": ("Solved", True),
    "steps": ("Submissions to solve, of those that do", False),
    "area": ("Area under the grade curve", True),
    "gave_up": ("Gave up", True),
    "resubmissions": ("The same program again", True),
    "unreadable": ("Unreadable turn", True),
}


@dataclass(frozen=True)
class Difference:
    """A difference of two policies in the primary outcome, with what it would take to find it."""

    policy: str
    other: str
    found: Figure
    p_holm: float | None
    needed: int | None
    needed_for_effect: int | None


@dataclass(frozen=True)
class Attempt:
    """A submission as the page shows it; `outcome` says what is no grade: no program, or giving up."""

    step: int
    grade: float | None
    outcome: str
    lines: Sequence[Line]
    feedback: str | None


class Results:
    """The figures of an experiment, looked up."""

    def __init__(self, figures: pl.DataFrame, primary: str) -> None:
        rows = figures.drop_nulls("value").rows(named=True)
        self._found = {(row["policy"], row["other"], row["outcome"], row["stratum"]): row for row in rows}
        self.policies: list[str] = figures["policy"].unique(maintain_order=True).to_list()
        self.primary = primary

    def get(self, policy: str, outcome: str, stratum: str = OVERALL, other: str | None = None) -> Any:
        """The figure, or None where it is not defined; without an interval, both ends are None."""
        row = self._found.get((policy, other, outcome, stratum))
        return Figure(row["value"], row["low"], row["high"], row["n"]) if row else None

    def differences(self) -> list[Difference]:
        """Of the primary outcome, each with the better policy first; the largest first."""
        found = []
        for (policy, other, outcome, stratum), row in self._found.items():
            if other is None or outcome != self.primary or stratum != OVERALL:
                continue
            value, low, high = row["value"], row["low"], row["high"]
            if value < 0:
                policy, other = other, policy
                value, low, high = -value, _minus(high), _minus(low)
            figure = Figure(value, low, high, row["n"])
            more = row["p_holm"], row["needed"], row["needed_for_effect"]
            found.append(Difference(policy, other, figure, *more))
        return sorted(found, key=lambda one: -one.found.value)

    def strata(self, prefix: str) -> list[tuple[str, str]]:
        """The strata of a kind, each with its name."""
        names = {stratum for _, _, _, stratum in self._found if stratum.startswith(prefix)}
        order = {f"{LEVEL}{level}": at for at, level in enumerate(LEVELS)}
        ordered = sorted(names, key=lambda name: (order.get(name, 0), name))
        return [(name.removeprefix(prefix), name) for name in ordered]

    def kinds(self) -> list[str]:
        """The kinds of error, the commonest first."""
        sizes: dict[str, float] = {}
        for (_, other, outcome, stratum), row in self._found.items():
            if outcome.startswith(ERROR) and other is None and stratum == OVERALL:
                sizes[outcome] = max(sizes.get(outcome, 0.0), row["value"])
        return sorted(sizes, key=lambda kind: -sizes[kind])


def answer(results: Results) -> list[str]:
    """Which policy, by how much, how sure."""
    differences = results.differences()
    if not differences:
        return ["The outcome is defined under no two policies."]
    if differences[0].found.low is None:
        return [
            f"This class is too small to say anything: it has fewer than {FEWEST} students, too few for an "
            "interval."
        ]
    what = {"solved": "of the tasks solved", "area": "of the area under the grade curve"}[results.primary]
    most, sentences = differences[0], []
    size = _points(most.found.value)
    interval = f"(95% interval {_points(most.found.low)} to {_points(most.found.high)})"
    if most.found.low > 0:
        sentences.append(f"Under {most.policy} it is {size} more {what} than under {most.other} {interval}.")
    else:
        sentences.append(
            f"No difference that is more than chance: the largest, of {most.policy} over {most.other}, is "
            f"{size} {what} {interval}."
        )
    if len(differences) > 1:
        sure = sum((one.p_holm or 1.0) < 0.05 for one in differences)
        sentences.append(
            f"Of {len(differences)} pairs of policies {sure} differ after Holm's correction for that number "
            "of comparisons (p < 0.05)."
        )
    return sentences


def write_page(
    config: ExperimentConfig,
    name: str,
    synthetic: bool,
    played: pl.DataFrame,
    figures: pl.DataFrame,
    versions: Mapping[str, str],
    page: Path,
) -> None:
    """Writes the page to the file `page`, whole or not at all.

    `played` is PLAYED and `figures` FIGURES. Raises UnavailableError where the page cannot be written.
    """
    results = Results(figures, config.primary)
    students = played["student"].n_unique()
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, REPORT]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("experiment.html").render(
        style=(REPORT / "style.css").read_text(encoding="utf-8"),
        question=config.question or "Which feedback policy helps this class most?",
        answer=answer(results),
        config=config,
        name=name,
        synthetic=synthetic,
        results=results,
        outcomes=OUTCOMES,
        primary=OUTCOMES[config.primary][0],
        differences=results.differences(),
        solved_by=[f"{SOLVED_BY}{step}" for step in range(1, config.steps + 1)],
        assignments=results.strata(ASSIGNMENT),
        levels=results.strata(LEVEL),
        kinds=[(kind.removeprefix(ERROR), kind) for kind in results.kinds()[:12]],
        size={
            "students": students,
            "assignments": played["assignment"].n_unique(),
            "starts": played.select("student", "assignment").n_unique(),
            "trajectories": played.select(KEY).n_unique(),
        },
        notes=_notes(played),
        shown=_shown(played, results.policies, config.seed),
        parameters=config.model_dump(mode="json", by_alias=True),
        versions=versions,
    )
    with atomic_file(page) as part:
        part.write_text(html, encoding="utf-8")


def _notes(played: pl.DataFrame) -> list[tuple[str, str, int, int]]:
    """What was wrong with a policy's words: policy, note, how often, of how many answers."""
    answered = played.drop_nulls("feedback").group_by("policy").agg(answers=pl.len())
    notes = played.drop_nulls("note").group_by("policy", "note").len("times").join(answered, on="policy")
    return (
        notes.sort("policy", "times", descending=[False, True])
        .select("policy", "note", "times", "answers")
        .rows()
    )


def _shown(played: pl.DataFrame, policies: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Trajectories of the first sample of some starts, drawn by `seed`, under each policy."""
    first = played.filter(sample=1)
    starts = first.select("student", "assignment").unique().sort("student", "assignment")
    drawn = starts.sample(min(SHOWN, starts.height), seed=seed).sort("student", "assignment")
    found = []
    for student, assignment in drawn.rows():
        mine = first.filter(student=student, assignment=assignment).sort("step")
        tracks = {policy: _attempts(mine.filter(policy=policy)) for policy in policies}
        found.append({"student": student, "assignment": assignment, "tracks": tracks})
    return found


def _attempts(rows: pl.DataFrame) -> list[Attempt]:
    previous, last = "", rows["step"].max()
    attempts = []
    for row in rows.iter_rows(named=True):
        code = row["code"] or ""
        lines = (
            marked(previous, code)
            if previous and code
            else [Line("same", text) for text in code.splitlines()]
        )
        said = row["status"] if row["code"] is None else row["outcome"] if row["grade"] is None else ""
        if row["grade"] is not None and row["step"] == last and row["stop_reason"] == StopReason.GAVE_UP:
            said = "then gave up"
        attempts.append(Attempt(row["step"], row["grade"], said or "", lines, row["feedback"]))
        previous = code or previous
    return attempts


def _minus(value: float | None) -> Any:
    return None if value is None else -value


def _points(share: float) -> str:
    return f"{100 * share:z.1f} points"
