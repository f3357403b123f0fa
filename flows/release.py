"""The steps after the pipeline that change the world: register, promote, pack; each once per result."""

import hashlib
import json
import os
from pathlib import Path

import polars as pl

from flows.comparison import evaluate_together
from flows.errors import RefusedError
from flows.gate import BASE, Decision, choose, decide
from flows.model_card import model_card
from flows.parameters import Setup
from flows.pipeline import Pipeline
from flows.places import Places
from flows.registry import CHALLENGER, CHAMPION, TEST_STUDENTS, TRAIN_STUDENTS, Registry, Version
from flows.tracking import flat
from tutee_evaluator.schemas import COPY
from tutee_grader.errors import InputError
from tutee_grader.files import read_table
from tutee_trainer.method import load_methods

GATE = "gate"


def register(
    setup: Setup, pipeline: Pipeline, registry: Registry, metrics: pl.DataFrame
) -> tuple[dict[str, Version], bool]:
    """The versions of the present results, by method, and whether they are new."""
    parameters = setup.parameters
    fingerprint = pipeline.fingerprint(parameters.methods)
    if found := registry.find(fingerprint, parameters.adapters):
        return found, False
    sections = parameters.model_dump(mode="json", exclude={"courses", "presets", "preset"})
    overall = metrics.filter((pl.col("stratum") == "overall") & pl.col("metric").str.contains(r"^\w+$"))
    versions = registry.register(
        fingerprint,
        parameters.adapters,
        params=flat({**sections, "preset": setup.preset.model_dump(mode="json")}),
        metrics={
            f"{row['method']}.{row['metric']}": row["value"]
            for row in overall.drop_nulls("value").iter_rows(named=True)
        },
        hashes=pipeline.hashes(parameters.methods),
        files=[
            *(pipeline.places.metrics, pipeline.places.report, pipeline.places.metrics_json),
            *(pipeline.places.tables, pipeline.places.figures),
        ],
        cards={name: model_card(setup, pipeline.places, name, metrics) for name in parameters.adapters},
        students=_students(pipeline.places),
        synthetic=setup.course.synthetic,
    )
    return versions, True


def _students(places: Places) -> dict[str, list[str]]:
    dialogs = read_table(places.dialogs, "serialize").select("split", "student").unique()
    is_test = pl.col("split") == "test"
    return {
        TRAIN_STUDENTS: dialogs.filter(~is_test)["student"].to_list(),
        TEST_STUDENTS: dialogs.filter(is_test)["student"].to_list(),
    }


def promote(
    setup: Setup, pipeline: Pipeline, registry: Registry, metrics: pl.DataFrame, again: bool = False
) -> tuple[str, bool]:
    """Puts the best of the present results to the gate, and makes it champion where it passes.

    Returns the gate's decision in words, and whether it was made now: the same results are put to it once,
    or `again`. Raises InputError where the present results are not registered.
    """
    parameters = setup.parameters
    fingerprint = pipeline.fingerprint(parameters.methods)
    versions = registry.find(fingerprint, parameters.adapters)
    if not versions:
        raise InputError(
            f"{registry.model}: the present results are not registered; "
            f"run `tutee retrain {setup.course.name}`"
        )
    before = next((version.tags[GATE] for version in versions.values() if GATE in version.tags), None)
    if before and not again:
        return before, False
    champion = registry.get_by_alias(CHAMPION)
    if champion and champion.fingerprint == fingerprint:
        return (
            f"version {champion.number} ({champion.method.upper()}) of these results is champion already",
            False,
        )
    methods = load_methods()
    candidates = parameters.gate.candidates or [name for name in versions if methods[name].candidate]
    present = [name for name in candidates if name in versions]
    if not present:
        raise InputError(
            f"params.yaml: `gate.candidates`: none of {', '.join(candidates)} was trained; "
            f"trained are {', '.join(versions)}"
        )
    decision = _decide(choose(metrics, present), setup, registry, champion)
    challenger = versions[decision.challenger]
    registry.set_alias(CHALLENGER, challenger)
    if decision.passed:
        registry.set_alias(CHAMPION, challenger)
    # Written last: a run that was killed before this comes back here.
    registry.tag(challenger, GATE, str(decision))
    if again and not decision.passed:
        raise RefusedError(str(decision))
    return str(decision), True


def _decide(challenger: str, setup: Setup, registry: Registry, champion: Version | None) -> Decision:
    """The gate's decision on a method of the present results, against the champion on the same starts.

    A champion that was trained on students since forgotten need not be beaten.
    """
    named = [challenger, BASE, COPY]
    if champion is None or champion.forgotten:
        *_, metrics = evaluate_together(named, setup, reference=challenger)
        return decide(metrics, challenger, setup.parameters.gate, None)
    source = f"models:/{registry.model}/{champion.number}"
    rows, _, metrics = evaluate_together([*named, source], setup, reference=challenger)
    to_beat = (rows[source].name, registry.describe(champion))
    return decide(metrics, challenger, setup.parameters.gate, to_beat)


def pack(setup: Setup, registry: Registry) -> str:
    """Packs the champion with all that serving it takes, and builds its Bento; returns what it made.

    What is there already, of the same version, assignments and code, is left as it is.
    """
    champion = registry.get_by_alias(CHAMPION)
    if champion is None:
        return "there is no champion yet, so there is nothing to serve"
    places = registry.places
    # BentoML's own files stay in this folder too.
    os.environ["BENTOML_HOME"] = str(places.bentos.resolve())
    from serving.bundle import build_bento, code_hash, pack

    inputs = hashlib.sha256(places.inputs.read_bytes()).hexdigest()
    contents = f"{champion.number} {inputs} {code_hash()}"
    note = places.student / "packed.json"
    if note.exists():
        packed = json.loads(note.read_text(encoding="utf-8"))
        if packed["contents"] == contents and Path(packed["folder"]).is_dir():
            return f"Bento {packed['bento']}, built before"
    about = {"version": str(champion.number), "metrics": registry.metrics(champion)}
    bundle = pack(registry.folder(champion), setup.course, places.student, about)
    bento = build_bento(bundle.folder)
    note.write_text(
        json.dumps({"contents": contents, "bento": bento.tag, "folder": str(bento.folder)}), encoding="utf-8"
    )
    return (
        f"{registry.describe(champion)} -> {bundle.folder} and Bento {bento.tag}, {bento.size / 1e6:.0f} MB"
    )
