"""The steps after the pipeline that change the world: register, promote, pack; each once per result."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from flows.errors import RefusedError
from flows.examination import examination_of, examine
from flows.parameters import Setup
from flows.pipeline import Pipeline
from flows.places import Places
from flows.promotion import Standing, decide, standing
from flows.registry import CHALLENGER, CHAMPION, EXAMINED_ON, LEARNT_FROM, Registry, Version
from tutee_grader.errors import InputError

GATE = "gate"
BENTOS = Path("bentos")


def register(
    setup: Setup, pipeline: Pipeline, registry: Registry, metrics: pl.DataFrame
) -> tuple[dict[str, Version], bool]:
    """The versions of the present results, by method, and whether they are new."""
    fingerprint = pipeline.fingerprint()
    if found := registry.find(fingerprint):
        return found, False
    preset = setup.preset.model_dump(mode="json")
    sections = setup.parameters.model_dump(mode="json", exclude={"courses", "preset"})
    overall = metrics.filter((pl.col("stratum") == "overall") & pl.col("metric").str.contains(r"^\w+$"))
    versions = registry.register(
        fingerprint,
        examination_of(setup, pipeline),
        params=dict(_flat({**sections, "preset": preset})),
        metrics={
            f"{row['method']}.{row['metric']}": row["value"]
            for row in overall.drop_nulls("value").iter_rows(named=True)
        },
        hashes=pipeline.hashes(),
        files=[pipeline.places.metrics, pipeline.places.report],
        students=_students(pipeline.places),
        synthetic=setup.course.synthetic,
    )
    return versions, True


def _students(places: Places) -> dict[str, list[str]]:
    dialogs = pl.read_parquet(places.dialogs, columns=["split", "student"]).unique()
    is_test = pl.col("split") == "test"
    return {
        LEARNT_FROM: dialogs.filter(~is_test)["student"].to_list(),
        EXAMINED_ON: dialogs.filter(is_test)["student"].to_list(),
    }


def promote(
    setup: Setup, pipeline: Pipeline, registry: Registry, metrics: pl.DataFrame, again: bool = False
) -> tuple[str, bool]:
    """Puts the best of the present results to the gate, and makes it champion where it passes.

    Returns what the gate said, and whether it was asked now: the same results are put to it once, or
    `again`. Raises InputError where the present results are not registered.
    """
    versions = registry.find(pipeline.fingerprint())
    if not versions:
        raise InputError(
            f"{registry.model}: the present results are not registered; "
            f"run `tutee retrain {setup.course.name}`"
        )
    before = next((version.tags[GATE] for version in versions.values() if GATE in version.tags), None)
    if before and not again:
        return before, False
    champion = registry.aliased(CHAMPION)
    if champion and champion.fingerprint == versions["sft"].fingerprint:
        return (
            f"version {champion.number} ({champion.method.upper()}) of these results is champion already",
            False,
        )
    decision = decide(metrics, setup.parameters.gate, _standing(champion, setup, pipeline, registry))
    challenger = versions[decision.challenger.method]
    registry.point(CHALLENGER, challenger)
    if decision.passed:
        registry.point(CHAMPION, challenger)
    # Written last: a run that was killed on the way comes back here.
    registry.tag(challenger, GATE, str(decision))
    if again and not decision.passed:
        raise RefusedError(str(decision))
    return str(decision), True


def pack(setup: Setup, registry: Registry) -> str:
    """Packs the champion with all that serving it takes, and builds its Bento; says what it made.

    What is there already, of the same version, assignments and code, is left as it is.
    """
    champion = registry.aliased(CHAMPION)
    if champion is None:
        return "there is no champion yet, so there is nothing to serve"
    root = registry.places.root
    # BentoML's own files stay in this folder too.
    os.environ["BENTOML_HOME"] = str((root / BENTOS).resolve())
    from serving.bundle import build_bento, code_hash, pack

    inputs = hashlib.sha256(registry.places.inputs.read_bytes()).hexdigest()
    contents = f"{champion.number} {inputs} {code_hash()}"
    note = student_folder(registry.places) / "packed.json"
    if note.exists():
        packed = json.loads(note.read_text(encoding="utf-8"))
        if packed["contents"] == contents and Path(packed["folder"]).is_dir():
            return f"Bento {packed['bento']}, built before"
    about = {"version": str(champion.number), "metrics": registry.metrics(champion)}
    bundle = pack(registry.folder(champion), setup.course, student_folder(registry.places), about)
    bento = build_bento(bundle.folder)
    note.write_text(
        json.dumps({"contents": contents, "bento": bento.tag, "folder": str(bento.folder)}), encoding="utf-8"
    )
    return (
        f"{registry.describe(champion)} -> {bundle.folder} and Bento {bento.tag}, {bento.size / 1e6:.0f} MB"
    )


def student_folder(places: Places) -> Path:
    """The champion as it is served: adapter, base, assignments."""
    return places.root / BENTOS / "students" / places.course


def _standing(
    champion: Version | None, setup: Setup, pipeline: Pipeline, registry: Registry
) -> Standing | None:
    """How the champion does on the present test set: as noted when it was registered, or examined anew.

    None where nothing has to be beaten: no champion, or one that must go because of whom it learnt from.
    """
    if champion is None or champion.forgotten:
        return None
    folder = registry.folder(champion)
    if champion.examination == examination_of(setup, pipeline):
        metrics = pl.read_parquet(folder.parent / pipeline.places.metrics.name)
    else:
        metrics = examine(folder, setup, pipeline.places)
    return standing(metrics, champion.method, setup.parameters.gate)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
