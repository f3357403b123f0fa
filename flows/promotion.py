"""Puts the present results to the gate, and makes the best of them champion where it passes."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import polars as pl

from flows.checks import incomplete, unsafe
from flows.comparison import evaluate_together
from flows.gate import BASE, Decision, Ledger, Step, better_step, choose, safe_step, sane_step
from flows.parameters import Setup
from flows.pipeline import Pipeline
from flows.registry import CHAMPION, PROMOTED, ROLLED_BACK, Registry, Version
from flows.tracking import MODEL
from tutee_evaluator.schemas import COPY
from tutee_grader.errors import InputError
from tutee_trainer.method import load_methods

# Tags of a version: the gate's last decision on it in words, and how it ended.
GATE, OUTCOME = "gate", "gate.outcome"
PASSED, REFUSED = "passed", "refused"


@dataclass(frozen=True)
class Released:
    """What became of the present results at the gate: its words, whether they pass, whether it spoke now."""

    decision: str
    passed: bool
    new: bool


def promote(
    setup: Setup,
    pipeline: Pipeline,
    registry: Registry,
    metrics: pl.DataFrame,
    again: bool = False,
    because: str | None = None,
) -> Released:
    """Puts the best of the present results to the gate, and makes it champion where it passes.

    The same results are put to it once, or `again`. Where `because` says why, the challenger becomes champion
    even if it is refused. Raises InputError where the present results are not registered.
    """
    parameters = setup.parameters
    fingerprint = pipeline.fingerprint(parameters.methods)
    versions = registry.find(fingerprint, parameters.adapters)
    if not versions:
        raise InputError(
            f"{registry.model}: the present results are not registered; "
            f"run `tutee retrain {setup.course.name}`"
        )
    decided = next((version for version in versions.values() if GATE in version.tags), None)
    if decided and not again:
        return _as_decided(decided, registry)
    champion = registry.get_by_alias(CHAMPION)
    if champion and champion.fingerprint == fingerprint:
        words = f"version {champion.number} ({champion.method.upper()}) of these results is champion already"
        return Released(words, passed=True, new=False)
    challenger = versions[_choose(setup, versions, metrics)]
    decision = _decide(challenger, metrics, setup, registry, champion)
    registry.set_challenger(challenger)
    registry.tag(challenger, OUTCOME, PASSED if decision.passed else REFUSED)
    registry.record(challenger, f"gate: {decision}")
    # Last of the record: a run that was killed before this decides again.
    registry.tag(challenger, GATE, str(decision))
    if decision.passed:
        registry.make_champion(challenger, "passed the gate")
    elif because:
        registry.make_champion(challenger, f"refused by the gate, and promoted by force: {because}")
    return Released(str(decision), decision.passed, new=True)


def _as_decided(version: Version, registry: Registry) -> Released:
    """What the gate said before; a promotion that was killed is brought to its end."""
    passed = version.tags[OUTCOME] == PASSED
    if passed and not {PROMOTED, ROLLED_BACK} & version.tags.keys():
        registry.make_champion(version, "passed the gate")
    return Released(version.tags[GATE], passed, new=False)


def _choose(setup: Setup, versions: Collection[str], metrics: pl.DataFrame) -> str:
    methods, gate = load_methods(), setup.parameters.gate
    candidates = gate.candidates or [name for name in versions if methods[name].candidate]
    present = [name for name in candidates if name in versions]
    if not present:
        raise InputError(
            f"params.yaml: `gate.candidates`: none of {', '.join(candidates)} was trained; "
            f"trained are {', '.join(versions)}"
        )
    return choose(metrics, present)


def _decide(
    challenger: Version, metrics: pl.DataFrame, setup: Setup, registry: Registry, champion: Version | None
) -> Decision:
    """The gate's decision on a version of the present results, step by step until one refuses it."""
    steps: list[Step] = []
    for step in _checks(challenger, metrics, setup, registry):
        steps.append(step)
        if step.reasons:
            return Decision(challenger.method, tuple(steps))
    better, ledger = _compare(challenger.method, setup, registry, champion)
    return Decision(challenger.method, (*steps, better), ledger)


def _checks(challenger: Version, metrics: pl.DataFrame, setup: Setup, registry: Registry) -> Iterator[Step]:
    before = registry.rolled_back(challenger.tags[MODEL])
    if before:
        why = before.tags[ROLLED_BACK]
        reason = f"its weights are those of version {before.number}, which was rolled back ({why})"
        yield Step("new", reason, (reason,))
    else:
        yield Step("new", "no version of these weights was rolled back")
    folder = registry.folder(challenger)
    yield Step(
        "complete",
        "all files, as registered; the weights load and are finite",
        tuple(incomplete(folder, challenger.tags[MODEL])),
    )
    yield safe_step(unsafe(folder), metrics, challenger.method, setup.parameters.gate)
    yield sane_step(metrics, challenger.method, setup.parameters.gate)


def _compare(
    challenger: str, setup: Setup, registry: Registry, champion: Version | None
) -> tuple[Step, Ledger]:
    """The step `better`, on the starts of the present test students.

    A champion that was trained on students since forgotten need not be beaten.
    """
    named = [challenger, BASE, COPY]
    if champion is None or champion.forgotten:
        *_, metrics = evaluate_together(named, setup, reference=challenger)
        return better_step(metrics, challenger, setup.parameters.gate, None)
    source = f"models:/{registry.model}/{champion.number}"
    rows, _, metrics = evaluate_together([*named, source], setup, reference=challenger)
    to_beat = (rows[source].name, registry.describe(champion))
    return better_step(metrics, challenger, setup.parameters.gate, to_beat)
