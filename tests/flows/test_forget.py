"""A student who is to be forgotten: nothing stays but a pseudonym on the list of those left out."""

import base64
import contextlib
import re
import subprocess
import zlib
from pathlib import Path

import polars as pl
import pytest

from flows import promotion, release
from flows.parameters import load
from flows.pipeline import Pipeline
from flows.places import Places
from flows.registry import Registry
from flows.tracking import MODEL
from tutee_evaluator.engines.baselines.revisions import FILE as REVISIONS
from tutee_evaluator.engines.baselines.revisions import read_revisions, save_revisions
from tutee_grader.files import folder_hash
from tutee_serializer.card import MODEL_CARD
from tutee_serializer.ingest.privacy import load_key, pseudonym

pytestmark = pytest.mark.slow

KEPT = ("data", "models", "reports", "mlruns", "bentos", ".dvc/cache")


@pytest.fixture(scope="module")
def number(reported) -> int:
    """Of one whose programs the report and the look-ups of a model show. The two students with it, one of the
    training semester and one of the test semester, wrote `by hand NUMBER` into every program, and nobody else
    did. Which students of the training semester are held out for validation depends on the project's key."""
    places = Places("small", "tiny", reported.folder)
    report, dialogs = unpacked(places.report.read_text()), pl.read_parquet(places.dialogs)
    trained_on = set(dialogs.filter(split="train")["student"])
    key = load_key(places.key, ())
    return next(
        number
        for number in range(8)
        if f"by hand {number}" in report and pseudonym(students(number)[0], key) in trained_on
    )


@pytest.fixture(scope="module")
def before(reported, number):
    """Where traces of the students are when the project's results have been registered and promoted."""
    with contextlib.chdir(reported.folder):
        setup, places = load("small"), Places("small", "tiny")
        registry, pipeline = Registry(places), Pipeline.of(places)
        # A student that looks up what training students wrote, among those to be registered, and as served.
        revisions = read_revisions(pl.read_parquet(places.dialogs), "train")
        for folder in (places.model("sft"), places.bentos / "bentos/tutee-small/one/src/student/model"):
            folder.mkdir(parents=True, exist_ok=True)
            save_revisions(revisions, folder)
        metrics = pl.read_parquet(places.metrics)
        release.register(setup, pipeline, registry, metrics)
        promotion.promote(setup, pipeline, registry, metrics)
        places.disagreements.write_text(f'"code"\n"# by hand {number}"\n')
    return traces(reported.folder, number)


@pytest.fixture(scope="module")
def refusals(reported, before) -> list[tuple["subprocess.CompletedProcess[str]", bool]]:
    """What `tutee forget` said of an unknown id, with another key, and with none; and if a file changed."""
    key = Places("small", "tiny", reported.folder).key
    away = key.with_suffix(".away")
    attempts = []
    for student, environment, moved in (
        ("smallone99", {}, False),
        ("smallone0", {"TUTEE_KEY": "a key of another machine"}, False),
        ("smallone0", {}, True),
    ):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            if moved:
                key.rename(away)
            files = contents(reported.folder)
            run = reported.tutee("forget", student)
            attempts.append((run, files != contents(reported.folder)))
            if moved:
                away.rename(key)
    return attempts


def contents(folder: Path) -> dict[Path, bytes]:
    files = (path for kept in KEPT for path in (folder / kept).rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if path.name not in (".retrain.lock", "log.jsonl")}


@pytest.fixture(scope="module")
def said(reported, number, before, refusals) -> str:
    """What `tutee forget` said of both."""
    runs = [reported.tutee("forget", student) for student in students(number)]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    return "".join(run.stdout for run in runs)


def students(number: int) -> tuple[str, str]:
    return f"smallone{number}", f"smalltwo{number}"


def unpacked(text: str) -> str:
    """The text, and what a report in it has packed: the programs that it shows."""
    packed = re.findall(r'id="trajectories-data">([^<]+)<', text)
    return "".join([text, *(zlib.decompress(base64.b64decode(one)).decode() for one in packed)])


def traces(folder: Path, number: int) -> set[str]:
    """Files that hold a pseudonym of the students, or a program of theirs."""
    key = load_key(Places("small", "tiny", folder).key, ())
    secrets = [*(pseudonym(student, key) for student in students(number)), f"by hand {number}"]
    noted = Places("small", "tiny", folder).forgotten
    forgotten = noted.read_bytes() if noted.exists() else None
    found = set()
    for kept in KEPT:
        for path in (path for path in (folder / kept).rglob("*") if path.is_file()):
            content = path.read_bytes()
            is_table = content[:4] == b"PAR1"
            text = str(pl.read_parquet(path).rows()) if is_table else unpacked(content.decode("latin-1"))
            if content != forgotten and any(secret in text for secret in secrets):
                found.add(str(path.relative_to(folder)))
    return found


def test_no_table_report_or_copy_of_one_holds_them(reported, number, before, said) -> None:
    kinds = (
        "data/small/tiny/dialogs",
        "reports/small/tiny/report.html",
        "reports/small/disagreements.csv",
        "models/small/tiny/sft/revisions.parquet",
        "bentos/bentos/tutee-small/one/src/student/model/revisions.parquet",
        "mlruns/",
        ".dvc/cache/",
    )
    assert all(any(path.startswith(kind) for path in before) for kind in kinds), before
    assert traces(reported.folder, number) == set()


def test_an_id_that_nobody_has_is_refused(refusals) -> None:
    run, changed = refusals[0]
    assert (run.returncode, changed) == (2, False)
    assert "'smallone99': no table and no log holds this id" in run.stderr


@pytest.mark.parametrize("attempt", [1, 2])
def test_without_the_key_of_the_tables_nobody_is_forgotten(refusals, attempt: int) -> None:
    run, changed = refusals[attempt]
    assert (run.returncode, changed) == (2, False)
    assert "copy data/pseudonym.key" in run.stderr


def test_who_is_in_a_log_alone_is_left_out_of_the_next_run(project) -> None:
    """Before the first run there are no tables, so the log has the only trace."""
    assert project.tutee("forget", " smalltwo3").returncode == 0
    places = Places("small", "tiny", project.folder)
    assert places.forgotten.read_text().split() == [pseudonym("smalltwo3", load_key(places.key, ()))]


def test_it_says_what_it_removed_and_what_comes_next(said) -> None:
    assert "data/small/submissions.parquet: 3 rows removed" in said
    assert "reports/small/tiny/report.html: removed" in said
    assert "tutee retrain small" in said


def test_models_trained_on_them_are_marked_once_for_each(reported, number, said) -> None:
    with contextlib.chdir(reported.folder):
        registry = Registry(Places("small", "tiny"))
        assert {version.forgotten for version in registry.versions()} == {1}
        again = reported.tutee("forget", students(number)[0])
        assert again.returncode == 0
        assert "no table holds a row of theirs any more" in again.stdout
        assert "was forgotten before" in again.stdout
        assert {version.forgotten for version in registry.versions()} == {1}
        assert "trained on 1 since forgotten" in reported.tutee("status", "small").stdout


def test_a_model_without_their_rows_counts_as_registered_that_way(reported, said) -> None:
    """Otherwise the service would take it for one that somebody has altered."""
    registry = Registry(Places("small", "tiny", reported.folder))
    (version,) = (version for version in registry.versions() if version.method == "sft")
    folder = registry.folder(version)
    assert (folder / REVISIONS).exists()
    assert folder_hash(folder, but=MODEL_CARD) == version.tags[MODEL]


def test_the_next_run_leaves_them_out(reported, number, said) -> None:
    with contextlib.chdir(reported.folder):
        pipeline = Pipeline.of(Places("small", "tiny"))
        assert [stage for stage in ("source", "ingest", "grade") if pipeline.run(f"{stage}@small")] == [
            *("source", "ingest", "grade")
        ]
        submissions = pl.read_parquet(Places("small", "tiny").submissions)
    assert submissions["student"].n_unique() == 14
    assert traces(reported.folder, number) == set()
