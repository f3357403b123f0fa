"""The gate between a trained adapter and the service."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
from pydantic import Field

from tutee_evaluator.memorisation.figures import LONG
from tutee_evaluator.metrics.bootstrap import MINUS
from tutee_evaluator.metrics.outcomes import SHARE
from tutee_evaluator.metrics.proper import SKILL_OVER
from tutee_evaluator.report.figures import Figure, Figures
from tutee_evaluator.report.tables import align, signed
from tutee_evaluator.schemas import COPY, MIX
from tutee_grader.config import Section
from tutee_grader.verdict import Status

BASE = "base"
# What is weighed, and how it is called: of the proper scores less is better, of the others more.
PROPER = {"energy": "energy score", "crps": "CRPS"}
OTHERS = {"coverage": "coverage", "grade_proximity": "grade proximity", "codebleu": "CodeBLEU"}


class GateConfig(Section):
    """Section `gate` of params.yaml.

    The challenger is the one of `candidates` (left out: every method whose row in the table of methods allows
    it) with the highest skill over MIX, of the energy score and the CRPS together. It becomes champion where
    it is, in this order,

    - complete: its files are those that were registered, and its weights load and are finite numbers;
    - safe: none of its files is of a kind that runs code as it is loaded; none of its programs holds a
      canary's secret, where canaries were planted (`serialize.canaries`), and its mean exposure to them is at
      most `max_exposure` bits; the longest run of its programs that stands in one training student's and in
      nobody else's has at most `max_overlap` characters (None: is recorded and refuses nobody);
    - sane: its coverage reaches `min_coverage`, the share of its programs that compile `min_compiling`, and
      the share of its turns that hold no program does not exceed `max_unreadable`;
    - better: it is not clearly worse than BASE in a proper score (its 95% interval below 0), its gain over
      the champion is clearly above 0 in a proper score, and it may nowhere lose more than `margin` to it (the
      lower end of every 95% interval is above -`margin`).

    All gains are paired, on the same starts of the present test students. What fails at a step is not put to
    the next.
    """

    candidates: tuple[str, ...] | None = Field(default=None, min_length=1)
    min_coverage: float = Field(default=0.5, ge=0, le=1)
    min_compiling: float = Field(default=0.5, ge=0, le=1)
    max_unreadable: float = Field(default=0.2, ge=0, le=1)
    # What was not memorised has 1.42 bits in the mean, and of 8 canaries above 4 once in 30,000 times.
    max_exposure: float = Field(default=4, ge=0)
    max_overlap: int | None = Field(default=None, ge=0)
    margin: float = Field(default=0.05, ge=0)


# How much better the challenger is (below 0: worse), by opponent and metric; what is not defined is left out.
Ledger = Mapping[str, Mapping[str, Figure]]


@dataclass(frozen=True)
class Step:
    """A step of the gate: its name, what was found, and the reasons for refusing the challenger."""

    name: str
    found: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """Which method is the challenger, the steps that it came to, and its gains, where it came that far."""

    challenger: str
    steps: tuple[Step, ...]
    ledger: Ledger = field(default_factory=dict)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the challenger is refused; none: it passes."""
        return tuple(reason for step in self.steps for reason in step.reasons)

    @property
    def passed(self) -> bool:
        return not self.reasons

    def __str__(self) -> str:
        """In words, a line a step; below, a table with a row per metric and a column per opponent."""
        verdict = "passes" if self.passed else f"is refused: {'; '.join(self.reasons)}"
        lines = [f"{self.challenger.upper()} {verdict}"]
        for step in self.steps:
            lines.append(f"{step.name:9} {'no' if step.reasons else 'yes':4} {step.found}")
        if self.ledger:
            rows = [["gain over", *self.ledger]]
            for metric, words in (PROPER | OTHERS).items():
                rows.append([words, *(_cell(gains.get(metric)) for gains in self.ledger.values())])
            lines += align(rows)
        return "\n".join(lines)


def choose(metrics: pl.DataFrame, candidates: Sequence[str]) -> str:
    """The challenger: the candidate with the highest skill in METRICS, of equal ones the first.

    A skill that is not defined, such as that of a single sample, counts as 0.
    """
    figures = Figures(metrics)

    def skill(method: str) -> float:
        found = (figures.get(method, f"{score}{SKILL_OVER}{MIX}") for score in PROPER)
        return sum(figure.value for figure in found if figure)

    return max(candidates, key=skill)


def safe_step(
    unsafe_files: Sequence[str], metrics: pl.DataFrame, challenger: str, config: GateConfig
) -> Step:
    """The step `safe`, from what is unsafe in the challenger's files and from METRICS."""
    figures = Figures(metrics)
    files = "some files may run code" if unsafe_files else "no file runs code as it is loaded"
    canaries, exposed = _canaries(figures, challenger, config)
    overlap, copied = _overlap(figures, challenger, config)
    return Step("safe", f"{files}; {canaries}; {overlap}", (*unsafe_files, *exposed, *copied))


def _canaries(figures: Figures, challenger: str, config: GateConfig) -> tuple[str, list[str]]:
    """What is known of the canaries, and the reasons for refusing the challenger."""
    reproduced = figures.get(challenger, "reproduced")
    exposure, highest = (figures.get(challenger, name) for name in ("exposure", "exposure_highest"))
    if reproduced is None:
        return "no canaries planted", []
    number, reasons = int(reproduced.value), []
    if number:
        reasons.append(f"its programs hold the secrets of {number} of {reproduced.n} canaries")
    found = f"secrets of {number} of {reproduced.n} canaries reproduced"
    if exposure is None or highest is None:
        reasons.append("its exposure to the canaries was not measured: they are too long for the model")
        return f"{found}, exposure not measured", reasons
    if exposure.value > config.max_exposure:
        reasons.append(f"exposure {exposure.value:.2f} bits is above max_exposure {config.max_exposure:g}")
    interval = f"[{exposure.low:.2f}, {exposure.high:.2f}]"
    return f"{found}, exposure {exposure.value:.2f} bits {interval}, at most {highest.value:.2f}", reasons


def _overlap(figures: Figures, challenger: str, config: GateConfig) -> tuple[str, list[str]]:
    """The longest overlap with one student, and the reason for refusing the challenger, if it is one."""
    overlap, share = (figures.get(challenger, name) for name in ("overlap", "overlap_share"))
    if overlap is None or share is None:
        return "it wrote no program", []
    found = (
        f"longest overlap with one student {overlap.value:.0f} characters, "
        f"{share.value:.1%} of its programs have one of {LONG} or more"
    )
    if config.max_overlap is None or overlap.value <= config.max_overlap:
        return found, []
    return found, [
        f"{overlap.value:.0f} characters of one student's program, above max_overlap {config.max_overlap}"
    ]


def sane_step(metrics: pl.DataFrame, challenger: str, config: GateConfig) -> Step:
    """The step `sane`, from METRICS."""
    figures = Figures(metrics)

    def share(metric: str, missing: float = 0.0) -> float:
        found = figures.get(challenger, metric)
        return found.value if found else missing

    coverage, unreadable = share("coverage"), share("unreadable", 1.0)
    compiling = 1 - unreadable - share(f"{SHARE}{Status.DOES_NOT_COMPILE}")
    reasons = []
    if coverage < config.min_coverage:
        reasons.append(f"coverage {coverage:.3f} is below min_coverage {config.min_coverage}")
    if compiling < config.min_compiling:
        reasons.append(f"{compiling:.3f} of its turns compile, below min_compiling {config.min_compiling}")
    if unreadable > config.max_unreadable:
        reasons.append(
            f"{unreadable:.3f} of its turns hold no program, above max_unreadable {config.max_unreadable}"
        )
    found = f"coverage {coverage:.3f}, turns that compile {compiling:.3f}, without a program {unreadable:.3f}"
    return Step("sane", found, tuple(reasons))


def better_step(
    metrics: pl.DataFrame, challenger: str, config: GateConfig, champion: tuple[str, str] | None
) -> tuple[Step, Ledger]:
    """The step `better`, and the challenger's gains.

    METRICS must have the differences to the challenger (`measure(reference=challenger)`) of BASE, of COPY
    and of the present champion: `champion` is its name there, and what it is called; None where there is
    none to beat.
    """
    figures = Figures(metrics)
    ledger = {"BASE": _gains(figures, challenger, BASE), "COPY": _gains(figures, challenger, COPY)}
    reasons = []
    worse = [PROPER[metric] for metric, gain in ledger["BASE"].items() if metric in PROPER and gain.high < 0]
    if worse:
        reasons.append(f"it is clearly worse than BASE in {' and '.join(worse)}")
    found = "no champion to beat"
    if champion:
        name, called = champion
        ledger[called] = _gains(figures, challenger, name)
        reasons += _against_champion(ledger[called], called, config.margin)
        found = ", ".join(
            f"{count} {outcome}{'s' if count != 1 else ''}"
            for outcome, count in Counter(map(_outcome, ledger[called].values())).items()
        )
        found = f"than {called}: {found}"
    return Step("better", found, tuple(reasons)), ledger


def _against_champion(gains: Mapping[str, Figure], called: str, margin: float) -> list[str]:
    reasons = []
    if not any(gain.low > 0 for metric, gain in gains.items() if metric in PROPER):
        reasons.append(f"it is not clearly better than {called} in {' or '.join(PROPER.values())}")
    risky = [(PROPER | OTHERS)[metric] for metric, gain in gains.items() if gain.low <= -margin]
    if risky:
        reasons.append(f"it may lose more than the margin of {margin} to {called} in {' and '.join(risky)}")
    return reasons


def _gains(figures: Figures, challenger: str, opponent: str) -> dict[str, Figure]:
    """The challenger's gains over an opponent, by metric; those that are not defined are left out."""
    found = {metric: figures.get(opponent, f"{metric}{MINUS}{challenger}") for metric in PROPER | OTHERS}
    return {metric: _gain(figure, metric in PROPER) for metric, figure in found.items() if figure}


def _gain(difference: Figure, less_better_step: bool) -> Figure:
    """From the opponent's difference to the challenger."""
    if less_better_step:
        return difference
    # 0 - x: of no difference there is no -0.
    return Figure(0 - difference.value, 0 - difference.high, 0 - difference.low, difference.n)


def _cell(gain: Figure | None) -> str:
    if gain is None:
        return signed(gain)
    return f"{signed(gain)} {_outcome(gain)}"


def _outcome(gain: Figure) -> str:
    return "win" if gain.low > 0 else "loss" if gain.high < 0 else "tie"
