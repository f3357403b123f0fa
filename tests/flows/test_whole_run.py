"""`tutee retrain` with nothing left out, on a model of a few thousand weights. Everyone here is synthetic."""

import contextlib
import gzip
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import psutil
import pytest

from flows.places import Places
from flows.promotion import GATE
from flows.registry import CHALLENGER, TRAINED_IN, Registry
from tutee_serializer.dialogs.canaries import secret_of

pytestmark = pytest.mark.slow

NAME, ADDRESS, PHONE = "Tuulikki Merivaara", "tuulikki.m@kurssi.example", "+358 40 123 4567"
NUMBER = "k20481632"
COURSE = """\
name: small
synthetic: true
logs: {path: log.csv, kinds: {hand-in: submission, note: message}}
columns:
  {student: who, assignment: assignment, code: code, semester: semester, timestamp: at, kind: kind,
   feedback: text, author: author}
assignments: {path: assignments}
semesters: {train: [one], test: [two]}
"""
PROGRAMS = (
    f"# Author: {NAME}\ndef double(n):\n    return n\n",
    f"# {{who}}\ndef double(n):\n    print('{ADDRESS}')\n    {{who}} = n + 2\n    return {{who}}\n",
    f"# Author: {NAME}, {PHONE}\n# Student number: {NUMBER}\ndef double(n):\n    return n * 2\n",
)
NOTE = f"Call {PHONE} or write to {ADDRESS}, {{who}}. What is double(3)?"


def students() -> list[str]:
    return [f"mara{semester}{number}" for semester in ("one", "two") for number in range(6)]


def log() -> pl.DataFrame:
    rows = []
    for who in students():
        semester = who.removeprefix("mara")[:3]
        common = {"who": who, "assignment": "double", "semester": semester, "author": "tutor"}
        for hour, program in enumerate(PROGRAMS, 9):
            at = f"2024-05-06T{hour:02}:00:00Z"
            rows.append({**common, "at": at, "kind": "hand-in", "code": program.format(who=who), "text": ""})
        rows.append(
            {**common, "at": "2024-05-06T09:30:00Z", "kind": "note", "code": "", "text": NOTE.format(who=who)}
        )
        rows.append({**common, "at": "yesterday", "kind": "hand-in", "code": NOTE, "text": who})
    return pl.DataFrame(rows)


class Killer(threading.Thread):
    """Kills the first process of a stage that it sees at work in a folder, as a lack of memory would."""

    def __init__(self, stage: str, folder: Path) -> None:
        super().__init__(daemon=True)
        self.stage, self.folder = stage, folder
        self.killed: list[list[str]] = []

    def run(self) -> None:
        while not self.killed:
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    command = process.cmdline()
                    if self.stage in command and Path(process.cwd()) == self.folder:
                        process.kill()
                        self.killed.append(command)
            time.sleep(0.2)  # a stage imports for seconds


@pytest.fixture(scope="module")
def killer(tmp_path_factory) -> Killer:
    return Killer("pairs", tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def first(killer, make):
    """The project after its first run, in which one stage was killed once, and what that run said."""
    project = make(killer.folder)
    folder = project.add_course("small").parent
    (folder / "course.yaml").write_text(COURSE)
    log().write_csv(folder / "log.csv")
    project.take_few_weights()
    project.edit("params.yaml", "dapo]", "dapo, calibrated]")
    project.edit("params.yaml", "ingest: {}", "ingest: {max_quarantined: 0.5}")
    project.edit("params.yaml", "serialize: {}", "serialize: {canaries: 2}")
    project.edit(
        "params.yaml",
        "gate: {}",
        "gate: {min_coverage: 0, min_compiling: 0, max_unreadable: 1, max_exposure: 8}",
    )
    killer.start()
    run = project.tutee("retrain", "small")
    assert run.returncode == 0, run.stdout + run.stderr
    return project, run.stdout + run.stderr


def written(path: Path) -> str:
    """All that a file says, tables, databases and archives unpacked."""
    content = path.read_bytes()
    if content[:4] == b"PAR1":
        return str(pl.read_parquet(path).rows())
    if content[:6] == b"SQLite":
        with closing(sqlite3.connect(path)) as database:
            said = "\n".join(database.iterdump())
        # A blob is written in hexadecimal.
        return said + "".join(bytes.fromhex(blob).decode("latin-1") for blob in re.findall("X'(\\w+)'", said))
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            content = b"\n".join(map(archive.read, archive.namelist()))
    return content.decode("latin-1")


@pytest.fixture(scope="module")
def texts(first) -> dict[str, str]:
    """All that is in the project beside its code and the log, and what the first run said."""
    project, said = first
    log = project.folder / "courses/small/log.csv"
    files = [path for path in project.folder.rglob("*") if path.is_file() and path != log]
    files = [path for path in files if not path.name.endswith(("-wal", "-shm"))]  # a dump holds them
    code = project.folder / "packages"
    found = {str(path): written(path) for path in files if code not in path.parents}
    kinds = (
        *("/dialogs.parquet", "/verdicts.parquet", "/revisions.parquet", "/verdicts.sqlite"),
        *("/model.safetensors", "/adapter_model.safetensors", "/tokenizer.json"),
        *(
            "/report.html",
            "/data_docs/index.html",
            "/prefect.db",
            "/mlflow.db",
            "/packed/small.json",
            "/dvc.lock",
        ),
    )
    assert [kind for kind in kinds if not any(path.endswith(kind) for path in found)] == []
    prefect = next(text for path, text in found.items() if path.endswith("/prefect.db"))
    assert "60 rows -> 48 kept" in prefect  # what the stages said
    return found | {"said": said}


def test_a_stage_that_is_killed_from_outside_is_tried_again(first, killer) -> None:
    assert len(killer.killed) == 1
    assert killer.killed[0][-4:] == ["pairs", "small", "--preset", "few"]


def test_nothing_that_names_a_student_leaves_the_log(first, texts) -> None:
    project, _ = first
    named = [*NAME.split(), ADDRESS.partition("@")[0], PHONE, NUMBER, NUMBER[1:], *students()]
    log = (project.folder / "courses/small/log.csv").read_text()
    assert all(one in log for one in named)
    secrets = re.compile("|".join(map(re.escape, named)), re.IGNORECASE)
    assert {path: found[0] for path, text in texts.items() if (found := secrets.search(text))} == {}


def test_canaries_are_in_the_dialogs_alone(first, texts) -> None:
    project, _ = first
    dialogs = project.folder / "data/small/few/dialogs.parquet"
    canaries = pl.read_parquet(dialogs).filter(split="canary")
    names = {*canaries["student"], *(secret_of(row)[1] for row in canaries.iter_rows(named=True))}
    assert len(names) == 4
    found = re.compile("|".join(names))
    holders = {path for path, text in texts.items() if found.search(text)}
    assert {texts[path] for path in holders} == {texts[str(dialogs)]}  # and DVC's copy


def test_the_gate_has_the_exposure_to_the_canaries_on_record(first) -> None:
    project, said = first
    places = Places("small", "few", project.folder)
    for method in ("base", "sft", "para", "dpo", "dapo", "calibrated"):
        assert pl.read_parquet(places.exposures(method))["rank"].is_between(1, 256).sum() == 2
    (line,) = re.findall("^safe .*", said, re.MULTILINE)
    assert re.search(r"secrets of 0 of 2 canaries reproduced, exposure \d\.\d\d bits \[", line)
    assert re.search(r"longest overlap with one student \d+ characters", line)
    challenger = Registry(places).get_by_alias(CHALLENGER)
    assert line in challenger.tags[GATE]
    assert "Memorisation" in places.report.read_text()


def test_what_was_masked_stays_in_its_place(first) -> None:
    project, _ = first
    dialogs = pl.read_parquet(project.folder / "data/small/few/dialogs.parquet")
    said = str(dialogs["messages"].to_list())
    assert "<name-" in said
    assert re.search(r"Call <phone-\w+> or write to <e-mail-\w+>", said)
    assert "What is double(3)?" in said


def test_the_account_of_the_rows_adds_up(first) -> None:
    _, said = first
    assert "60 rows -> 48 kept + 12 quarantined + 0 left out by named filters" in said


TRAINED_AGAIN = ("base", "sft", "dapo", "calibrated")
# In one process: the libraries take as long to import as such a small model takes to train.
TRAIN = """
import sys
from flows.cli import main
for method in sys.argv[1:]:
    sys.argv = ["tutee", "train", method, "small"]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture(scope="module")
def again(first) -> dict[str, tuple[dict[str, bytes], dict[str, bytes]]]:
    """The files of each model of TRAINED_AGAIN, before and after it was trained once more."""
    project, _ = first
    places = Places("small", "few", project.folder)

    def files() -> dict[str, dict[str, bytes]]:
        models = {method: places.model(method) for method in TRAINED_AGAIN}
        return {name: {path.name: path.read_bytes() for path in at.iterdir()} for name, at in models.items()}

    before, folders = files(), {method: places.model(method).stat().st_ino for method in TRAINED_AGAIN}
    seed = {**os.environ, "PYTHONHASHSEED": "7"}  # sets have another order
    command = [sys.executable, "-c", TRAIN, *TRAINED_AGAIN]
    done = subprocess.run(command, cwd=project.folder, env=seed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(places.model(method).stat().st_ino != number for method, number in folders.items())
    after = files()
    return {method: (before[method], after[method]) for method in TRAINED_AGAIN}


@pytest.mark.parametrize("method", TRAINED_AGAIN)
def test_equal_trainings_write_equal_folders(again, method: str) -> None:
    before, after = again[method]
    assert after == before


def test_every_training_is_a_run_that_its_version_names(first) -> None:
    project, _ = first
    registry = Registry(Places("small", "few", project.folder))
    for version in registry.versions():
        training = registry.client.get_run(version.tags[TRAINED_IN])
        assert (training.info.status, training.info.run_name) == ("FINISHED", version.method)
        assert training.data.metrics["total_seconds"] > 0
    sft = next(version for version in registry.versions() if version.method == "sft")
    assert registry.client.get_metric_history(sft.tags[TRAINED_IN], "loss")[0].step == 1


def test_the_second_run_has_nothing_to_do(first) -> None:
    project, _ = first
    run = project.tutee("retrain", "small")
    assert run.returncode == 0, run.stderr
    stages = [line for line in run.stdout.splitlines() if ": up to date" in line]
    assert len(stages) == 21
    assert "registered before" in run.stdout


class Copying(BaseHTTPRequestHandler):
    """An endpoint, scripted for this test, that answers with the last program of the dialog."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"]
        turn = next(one["content"] for one in reversed(asked) if one["role"] == "assistant")
        message = {"role": "assistant", "content": turn}
        body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def compared(first):
    """METRICS of students of every origin: a folder, PRESET/METHOD, a version, an endpoint, a prompt."""
    project, _ = first
    server = ThreadingHTTPServer(("127.0.0.1", 0), Copying)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    rows = f"{{cloud: {{endpoint: {{url: '{url}', model: big}}}}, icl: {{source: base, examples: 1}}}}"
    project.edit("params.yaml", "report: {}\n", f"report: {{}}\nstudents: {rows}\n")
    named = ["models/small/few/dpo", "few/sft", "models:/tutee-small/1", "cloud", "icl", "sft"]
    run = project.tutee("compare", "small", *named)
    server.shutdown()
    server.server_close()
    thread.join()
    assert run.returncode == 0, run.stdout + run.stderr
    metrics = Places("small", "few", project.folder).comparison / "metrics.parquet"
    return project, pl.read_parquet(metrics), run


def figures(metrics: pl.DataFrame, method: str) -> dict[str, float | None]:
    mine = metrics.filter(method=method, stratum="overall")
    return dict(mine.select("metric", "value").iter_rows())


def test_students_of_every_origin_are_compared(compared) -> None:
    _, metrics, run = compared
    names = {"models-small-few-dpo", "few-sft", "tutee-small-1", "cloud", "icl", "sft"}
    assert names | {"copy", "nearest", "transition", "mix", "real"} == set(metrics["method"])
    assert all(any(line.startswith(name.upper()) for line in run.stdout.splitlines()) for name in names)


def test_a_student_that_is_rolled_out_by_name_does_what_it_does_in_the_pipeline(compared) -> None:
    _, metrics, _ = compared
    assert figures(metrics, "few-sft") == figures(metrics, "sft")


def test_an_endpoint_that_copies_scores_as_copy_does(compared) -> None:
    _, metrics, _ = compared
    of_cloud, of_copy = figures(metrics, "cloud"), figures(metrics, "copy")
    for metric in ("coverage", "grade_proximity", "codebleu", "energy", "crps"):
        assert of_cloud[metric] == of_copy[metric]


def test_who_was_rolled_out_before_is_not_again(compared) -> None:
    project, _, _ = compared
    folder = Places("small", "few", project.folder).compared
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    run = project.tutee("compare", "small", "cloud", "few/sft")  # the endpoint is away
    assert run.returncode == 0, run.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_trained_student_is_steered_beside_the_reference(first) -> None:
    project, _ = first
    asked = ["--limit", "2", "--candidates", "2", "--steps", "1", "--weights", "0,1"]
    run = project.tutee("steer", "small", "sft", *asked)
    assert run.returncode == 0, run.stdout + run.stderr
    folder = Places("small", "few", project.folder).steering
    starts = json.loads((folder / "starts.json").read_text())
    assert len(starts) == 2 and all(start["grade"] < 100 for start in starts)
    held_out = pl.read_parquet(Places("small", "few", project.folder).dialogs).filter(split="test")
    assert {start["student"] for start in starts} <= set(held_out["student"])
    figures = pl.read_csv(folder / "figures.csv").filter(metric="right")
    right = dict(figures.select("method", "value").iter_rows())
    assert right["reference"] == 1
    ways = {"weight 0", "up to weight 1", "weight 0, as many", "BASE's repair"}
    assert ways < set(right) and all(0 <= right[way] <= 1 for way in ways)
    assert all(f"\n{way} " in run.stdout for way in right)
