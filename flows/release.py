"""The steps after the pipeline that change the world: register, promote, pack; each once per result."""

import hashlib
import json
import os

import polars as pl

from flows import event_log, registration
from flows.event_log import logged
from flows.model_card import model_card
from flows.parameters import Setup, load
from flows.pipeline import Pipeline
from flows.promotion import Released, promote
from flows.provenance import package_versions
from flows.registration import Results
from flows.registry import (
    CHAMPION,
    TEST_STUDENTS,
    TESTED_ON,
    TRAIN_STUDENTS,
    TRAINED_ON,
    Registry,
    Version,
)
from flows.serving_catalog import course_entry, version_entry
from flows.tracking import MODEL, flat
from tutee_evaluator.metrics import METRICS
from tutee_grader.files import atomic_file, read_table
from tutee_serializer.dialogs.canaries import CANARY
from tutee_serializer.schemas import DIALOGS

# The champion's, and the one of the champion before it.
KEPT_BENTOS = 2


def register(
    setup: Setup, pipeline: Pipeline, registry: Registry, metrics: pl.DataFrame
) -> tuple[dict[str, Version], bool]:
    """The versions of the present results, by method, and whether they are new."""
    parameters, places = setup.parameters, pipeline.places
    fingerprint = pipeline.fingerprint(parameters.methods)
    if found := registry.find(fingerprint, parameters.adapters):
        return found, False
    sections = parameters.model_dump(mode="json", exclude={"courses", "presets", "preset"})
    overall = metrics.filter((pl.col("stratum") == "overall") & pl.col("metric").str.contains(r"^\w+$"))
    dialogs = read_table(places.dialogs, DIALOGS, "serialize").select("split", "student", "semester").unique()
    dialogs = dialogs.filter(pl.col("split") != CANARY)
    results = Results(
        fingerprint,
        parameters.adapters,
        params=flat({**sections, "preset": setup.preset.model_dump(mode="json")}),
        metrics={
            f"{row['method']}.{row['metric']}": row["value"]
            for row in overall.drop_nulls("value").iter_rows(named=True)
        },
        hashes={
            **pipeline.hashes(parameters.methods),
            **{str(path): pipeline.hash_of(path) for path in (places.submissions, places.dialogs)},
        },
        files=[places.metrics, places.report, places.metrics_json, places.tables, places.figures],
        cards={name: model_card(setup, places, name, metrics) for name in parameters.adapters},
        students={
            TRAIN_STUDENTS: names_in(dialogs, "student", test=False),
            TEST_STUDENTS: names_in(dialogs, "student", test=True),
        },
        about={
            "synthetic": str(setup.course.synthetic).lower(),
            TRAINED_ON: ", ".join(names_in(dialogs, "semester", test=False)),
            TESTED_ON: ", ".join(names_in(dialogs, "semester", test=True)),
            **package_versions(),
        },
    )
    return registration.register(registry, results), True


def names_in(dialogs: pl.DataFrame, column: str, test: bool) -> list[str]:
    """The students or semesters of the test split, or of the others, sorted."""
    is_test = pl.col("split") == "test"
    return dialogs.filter(is_test if test else ~is_test)[column].unique().sort().to_list()


def promote_again(course: str, preset: str | None, because: str | None) -> tuple[Released, str | None]:
    """Puts the present results to the gate again, as `promote` does, and packs a new champion.

    Returns what the gate said, and what was packed: None where it refused. Called with the lock held.
    """
    setup = load(course, preset, logs=False)
    registry, pipeline = Registry(setup.places), Pipeline.of(setup.places)
    metrics = read_table(setup.places.metrics, METRICS, "report")
    with logged(setup.places, "promote", forced=bool(because)) as line:
        released = promote(setup, pipeline, registry, metrics, again=True, because=because)
        if not released.passed:
            line["outcome"] = event_log.REFUSED
    return released, pack(setup, registry) if released.passed or because else None


def roll_back(course: str, because: str) -> tuple[str, str]:
    """Makes the champion before champion again and packs it; returns both in words. The lock must be held."""
    setup = load(course, logs=False)
    registry = Registry(setup.places)
    with logged(setup.places, "rollback") as line:
        old, new = registry.roll_back(because)
        line |= {"from": old.number, "to": new.number}
    return f"{registry.describe(new)} again, no longer version {old.number}", pack(setup, registry)


def pack(setup: Setup, registry: Registry) -> str:
    """Builds the champion's Bento, of all that serving it takes; returns what it made.

    One that is there already, of the same model, assignments and code, is left as it is.
    """
    champion = registry.get_by_alias(CHAMPION)
    if champion is None:
        return "there is no champion yet, so there is nothing to serve"
    places = registry.places
    # BentoML's own files stay in this folder too.
    os.environ["BENTOML_HOME"] = str(places.bentos.resolve())
    from serving.bundle import build_bento, code_hash, delete_bentos

    inputs = hashlib.sha256(places.inputs.read_bytes()).hexdigest()
    engine = setup.parameters.engine
    contents = f"{champion.number} {champion.tags.get(MODEL)} {inputs} {engine} {code_hash()}"
    if places.packed.exists():
        packed = json.loads(places.packed.read_text(encoding="utf-8"))
        if packed["contents"] == contents and (places.bentos / packed["folder"]).is_dir():
            return f"Bento {packed['bento']}, built before"
    course, _ = course_entry(setup.course)
    numbers = {"champion": champion.number, "versions": {champion.number: version_entry(registry, champion)}}
    store = places.bentos / "bentos"
    bento = build_bento(setup.course.name, course.model_copy(update=numbers), engine, store)
    # Relative: the folder of Bentos may be moved.
    folder = bento.folder.relative_to(places.bentos)
    with atomic_file(places.packed) as part:
        packed = {"contents": contents, "bento": bento.tag, "folder": str(folder)}
        part.write_text(json.dumps(packed), encoding="utf-8")
    delete_bentos(store, bento.tag, KEPT_BENTOS)
    return f"{registry.describe(champion)} -> Bento {bento.tag}, {bento.size / 1e6:.0f} MB"
