"""`tutee clean` on four semesters of results: what it deletes, and what still works afterwards."""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow.entities import ViewType

from flows import mlflow_client
from flows.environment import LOCK_VARIABLE, exclusive_lock
from flows.named import NamedStudent
from flows.parameters import Parameters
from flows.registry import ROLLED_BACK, TRAINED_IN, Registry, Version
from flows.repository import open_repository
from flows.retention import why_needed
from tutee_serializer.card import FILE as CARD

from .conftest import Project
from .results import PLACES, TRAINED, git, make_results, start_git

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
REPORT = "report@small-tiny"
# With one semester to keep, all but the first: the champion before, the champion, the present results.
GONE, BEFORE, CHAMPION, PRESENT = SEMESTERS = ("one", "two", "three", "four")


def push(all_tags: bool = False) -> None:
    with open_repository(Path()) as repo:
        repo.push(targets=[REPORT], with_deps=True, all_tags=all_tags)


def compared(version: Version) -> Path:
    """Where rollouts of a version may lie that the gate compared."""
    return PLACES.compared / f"tutee-small-{version.number}-{'0' * 16}.parquet"


@dataclass(frozen=True)
class Semesters:
    """A project, and the versions of each semester by method."""

    project: Project
    versions: dict[str, dict[str, Version]]

    def runs(self, semester: str) -> set[str]:
        """The run of the results, and that of SFT's training."""
        version = self.versions[semester]["sft"]
        return {version.run_id, version.tags[TRAINED_IN]}


@pytest.fixture(scope="module")
def semesters(reported: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Semesters]:
    """A project with four semesters of results, each with its tag in git, and a remote without them."""
    with contextlib.chdir(reported.folder):
        start_git(tmp_path_factory.mktemp("remote"))
        push()  # what is there before the first tag
        made = {semester: make_results(reported, semester) for semester in SEMESTERS}
        registry = Registry(PLACES)
        for semester in (BEFORE, CHAMPION):
            registry.make_champion(made[semester]["sft"], "better")
        registry.set_challenger(made[PRESENT]["dpo"])
        for of in made.values():
            compared(of["sft"]).parent.mkdir(exist_ok=True)
            compared(of["sft"]).touch()
        # What a killed training left that has been made since, and one that can go on.
        for method in ("sft", "dpo"):
            PLACES.checkpoints(method).mkdir(parents=True)
        os.utime(PLACES.checkpoints("sft"), (0, 0))
        # What a clean left that was killed: a run that is deleted, but not for good.
        registry.client.delete_run(made[GONE]["sft"].tags[TRAINED_IN])
        yield Semesters(reported, made)


@pytest.fixture(scope="module")
def shown(semesters: Semesters) -> str:
    """What it would delete."""
    done = semesters.project.tutee("clean", "--keep", "1")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cleaned(semesters: Semesters, shown: str) -> str:
    """What it said as it deleted, after everything was pushed to the remote."""
    push(all_tags=True)
    done = semesters.project.tutee("clean", "--keep", "1", "--yes")
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(versions: dict[str, Version]) -> str:
    return ", ".join(str(version.number) for version in versions.values())


def test_it_shows_what_it_would_delete_and_deletes_nothing(semesters: Semesters, shown: str) -> None:
    assert f"to delete   MLflow: tutee-small: versions {numbers(semesters.versions[GONE])} (one)" in shown
    assert re.search(r"\d+ are not in the remote: `dvc push` first", shown)
    assert re.search(r"^clean: \d+\.\d MB can be freed; `--yes` deletes it$", shown, re.MULTILINE)
    assert len(Registry(PLACES).versions()) == sum(map(len, semesters.versions.values()))
    assert compared(semesters.versions[GONE]["sft"]).exists()


@pytest.mark.parametrize(
    ("semester", "reason"),
    [(BEFORE, "the champion before"), (CHAMPION, "is champion"), (PRESENT, "the present results; tested on")],
)
def test_it_says_why_something_stays(semesters: Semesters, shown: str, semester: str, reason: str) -> None:
    (line,) = (line for line in shown.splitlines() if numbers(semesters.versions[semester]) in line)
    assert line.startswith("stays")
    assert reason in line


def test_what_params_yaml_names_and_what_was_rolled_back_stays(semesters: Semesters) -> None:
    gone, registry = semesters.versions[GONE]["sft"], Registry(PLACES)
    parameters = Parameters.load()
    named = NamedStudent(source=f"models:/tutee-small/{gone.number}")

    def why(**update: object) -> list[str]:
        return why_needed(registry, 1, parameters.model_copy(update=update))[gone.run_id]

    assert why() == []
    assert why(warm_start=gone.number) == [f"version {gone.number} is `warm_start` of params.yaml"]
    assert why(students={"old": named}) == [f"version {gone.number} is `students.old` of params.yaml"]
    registry.tag(gone, ROLLED_BACK, "students complain")
    assert len(why()) == 1
    registry.client.delete_model_version_tag(registry.model, str(gone.number), ROLLED_BACK)


def test_the_latest_semesters_are_those_of_the_newest_versions(semesters: Semesters) -> None:
    for keep, first in ((1, BEFORE), (3, BEFORE), (4, GONE), (9, GONE)):
        why = why_needed(Registry(PLACES), keep, Parameters.load())
        kept = [semester for semester in SEMESTERS if why[semesters.versions[semester]["sft"].run_id]]
        assert kept == list(SEMESTERS[SEMESTERS.index(first) :])


def test_of_a_single_course_it_deletes_nothing_that_others_may_need(semesters: Semesters) -> None:
    parameters = semesters.project.folder / "params.yaml"
    before = parameters.read_text()
    other = semesters.project.add_course("other")
    try:
        small, of_other, unknown = (
            semesters.project.tutee("clean", course, "--keep", "1")
            for course in ("small", str(other), "nowhere")
        )
    finally:
        parameters.write_text(before)
    assert f"MLflow: tutee-small: versions {numbers(semesters.versions[GONE])} (one)" in small.stdout
    for done in (small, of_other):
        assert done.returncode == 0, done.stderr
        assert "left alone  DVC's cache" in done.stdout
        assert "to delete   DVC's cache" not in done.stdout
    assert "clean: 0.0 MB can be freed" in of_other.stdout
    assert unknown.returncode == 2
    assert "(courses in params.yaml: other, small, none)" in unknown.stderr


def test_it_does_not_work_beside_a_retrain(semesters: Semesters) -> None:
    with exclusive_lock(PLACES.retrain_lock), pytest.MonkeyPatch.context() as environment:
        environment.delenv(LOCK_VARIABLE)
        done = semesters.project.tutee("clean", "--yes")
        environment.undo()
    assert done.returncode == 3
    assert f"process {os.getpid()} is at work here" in done.stderr


def test_mlflow_keeps_what_is_needed_and_nothing_else(semesters: Semesters, cleaned: str) -> None:
    registry = Registry(PLACES)
    kept = {version.number for of in SEMESTERS[1:] for version in semesters.versions[of].values()}
    assert {version.number for version in registry.versions()} == kept
    experiment = mlflow_client.experiment_id(registry.client, PLACES)
    runs = registry.client.search_runs([experiment], run_view_type=ViewType.ALL)
    there = {run.info.run_id for run in runs}
    assert set().union(*(semesters.runs(of) for of in SEMESTERS[1:])) < there
    assert len(there) == 3 * (1 + len(TRAINED))  # with the trainings of the base models
    files = (path for path in PLACES.mlflow_artifacts.rglob("*") if path.is_file())
    assert {file.relative_to(PLACES.mlflow_artifacts).parts[0] for file in files} == there


def test_git_tags_of_what_is_needed_come_back_from_the_cache(semesters: Semesters, cleaned: str) -> None:
    for semester in SEMESTERS[1:]:
        git("checkout", "--force", semester)
        with open_repository(Path()) as repo:
            repo.checkout(targets=[REPORT], with_deps=True, force=True)
        assert semesters.project.weights(PLACES.model("sft")) == f"sft of {semester}"


def test_others_come_back_from_the_remote_alone(semesters: Semesters, cleaned: str) -> None:
    from dvc.exceptions import CheckoutError

    assert "the remote has them all: `dvc pull` brings them back" in cleaned
    git("checkout", "--force", GONE)
    with open_repository(Path()) as repo:
        with pytest.raises(CheckoutError):
            repo.checkout(targets=[REPORT], with_deps=True, force=True)
        repo.pull(targets=[REPORT], with_deps=True, force=True)
    assert semesters.project.weights(PLACES.model("sft")) == f"sft of {GONE}"
    git("checkout", "--force", PRESENT)
    with open_repository(Path()) as repo:
        repo.checkout(targets=[REPORT], with_deps=True, force=True)


def test_files_that_save_no_work_any_more_are_gone(semesters: Semesters, cleaned: str) -> None:
    there = [semester for semester in SEMESTERS if compared(semesters.versions[semester]["sft"]).exists()]
    assert there == list(SEMESTERS[1:])
    assert not PLACES.checkpoints("sft").exists()
    assert PLACES.checkpoints("dpo").exists()


def test_make_clean_leaves_what_cannot_be_made_again(tmp_path: Path) -> None:
    kept = [
        "dvc.lock",
        "data/keys.json",
        "data/pseudonym.key",
        "reports/small/tiny/metrics.json",
        "reports/small/tiny/solved.csv",
    ]
    for name in [*kept, "data/small/account.json", "reports/small/tiny/report.html", "models/small/weights"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    command = ["make", "--silent", "--file", str(REPOSITORY / "Makefile"), "clean"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert sorted(kept) == sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    )


def test_rollback_still_works(semesters: Semesters, cleaned: str) -> None:
    registry = Registry(PLACES)
    _, champion = registry.roll_back("students complain")
    assert semesters.project.weights(registry.folder(champion)) == f"sft of {BEFORE}"
    assert (registry.fetch(champion, "base") / CARD).exists()
