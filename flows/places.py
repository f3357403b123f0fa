"""The paths of one course's files. The packages are given paths; only this file knows where things are."""

from dataclasses import dataclass, field
from pathlib import Path


def preset_file(name: str) -> Path:
    """The file of a preset, by its name."""
    return Path("presets") / f"{name}.yaml"


@dataclass(frozen=True)
class Places:
    """The files of one course below `root`, the folder the commands run in.

    What depends on the preset is kept for each preset apart. Where only the course's own files or those of
    all courses are asked for, `preset` and `course` may be empty.
    """

    course: str
    preset: str = ""
    root: Path = field(default_factory=Path)

    @property
    def data(self) -> Path:
        return self.root / "data" / self.course

    @property
    def source(self) -> Path:
        return self.data / "source"

    @property
    def inputs(self) -> Path:
        """Hashes of every file the course reads."""
        return self.source / "inputs.json"

    @property
    def watched(self) -> Path:
        """A hash of the inputs that a retrain was last started for, because they had changed."""
        return self.data / "watched"

    @property
    def simulated(self) -> Path:
        """The log that the course's simulator writes, where it has one."""
        return self.source / "submissions.csv"

    @property
    def submissions(self) -> Path:
        return self.data / "submissions.parquet"

    @property
    def quarantine(self) -> Path:
        return self.data / "quarantine.parquet"

    @property
    def demographics(self) -> Path:
        """Columns that describe people, where the course file asks for them by name."""
        return self.data / "demographics.parquet"

    @property
    def account(self) -> Path:
        """Where every row of the log went."""
        return self.data / "account.json"

    @property
    def verdicts(self) -> Path:
        return self.data / "verdicts.parquet"

    @property
    def partitions(self) -> Path:
        """Verdicts of finished partitions while others are graded, so that a killed run goes on."""
        return self.data / "grading"

    @property
    def of_preset(self) -> Path:
        """The tables of the course that depend on the preset."""
        return self.data / self.preset

    @property
    def dialogs(self) -> Path:
        return self.of_preset / "dialogs.parquet"

    @property
    def pairs(self) -> Path:
        return self.of_preset / "pairs.parquet"

    def checkpoints(self, method: str) -> Path:
        """What a killed training of `method` goes on from."""
        return self.of_preset / "training" / method

    @property
    def rollouts(self) -> Path:
        return self.of_preset / "rollouts"

    def rollout(self, method: str) -> Path:
        return self.rollouts / f"{method}.parquet"

    @property
    def compared(self) -> Path:
        """Rollouts of students that are no stage of the pipeline."""
        return self.of_preset / "compared"

    @property
    def rolling(self) -> Path:
        """Finished rollouts while others are made, so that a killed run goes on."""
        return self.of_preset / "rolling"

    def unfinished_rollouts(self, method: str, key: str) -> Path:
        """Those of a method; `key` changes with everything that they depend on."""
        return self.rolling / f"{method}-{key}"

    def played(self, key: str) -> Path:
        """What an artificial class has handed in so far, so that a killed run goes on; `key` is as above."""
        return self.of_preset / "playing" / key

    def exposures(self, method: str) -> Path:
        """How exposed the method is to the canaries; without rows where there are none."""
        return self.rollouts / f"{method}.exposures.parquet"

    def rollout_card(self, method: str) -> Path:
        """The card of the student that was rolled out; a baseline has none."""
        return self.rollouts / f"{method}.json"

    @property
    def models(self) -> Path:
        return self.root / "models" / self.course / self.preset

    def model(self, method: str) -> Path:
        return self.models / method

    @property
    def reports_of_course(self) -> Path:
        return self.root / "reports" / self.course

    @property
    def reports(self) -> Path:
        return self.reports_of_course / self.preset

    @property
    def retrain_lock(self) -> Path:
        """Locked while a retrain works in this folder, on whichever course."""
        return self.root / "data" / ".retrain.lock"

    @property
    def schedule_lock(self) -> Path:
        """Locked while a schedule is kept in this folder."""
        return self.root / "data" / ".schedule.lock"

    @property
    def log(self) -> Path:
        """What happened in this folder, a line of JSON each."""
        return self.root / "data" / "log.jsonl"

    @property
    def prefect(self) -> Path:
        """What Prefect remembers."""
        return self.root / "data" / ".prefect"

    @property
    def mlflow_database(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlruns" / self.course

    @property
    def mlflow_downloads(self) -> Path:
        """What was fetched from a server's artifacts, by run."""
        return self.root / "mlruns" / "downloads"

    @property
    def bentos(self) -> Path:
        return self.root / "bentos"

    @property
    def packed(self) -> Path:
        """Which Bento was built last of the course, and of what."""
        return self.bentos / "packed" / f"{self.course}.json"

    def service(self, port: int) -> Path:
        """What the service that listens on a port works with, while it runs: its catalog, BentoML's files."""
        return self.bentos / "services" / str(port)

    @property
    def data_docs(self) -> Path:
        return self.reports_of_course / "data_docs"

    @property
    def metrics(self) -> Path:
        return self.reports / "metrics.parquet"

    @property
    def report(self) -> Path:
        return self.reports / "report.html"

    @property
    def metrics_json(self) -> Path:
        """The figures over all steps, for `dvc metrics diff`."""
        return self.reports / "metrics.json"

    @property
    def solved(self) -> Path:
        """The share solved by each step, for `dvc plots show`."""
        return self.reports / "solved.csv"

    @property
    def tables(self) -> Path:
        """The figures as CSV, JSON and LaTeX."""
        return self.reports / "tables"

    @property
    def figures(self) -> Path:
        """The report's pictures as SVG and PNG."""
        return self.reports / "figures"

    @property
    def comparison(self) -> Path:
        """The report on students that were compared by name; not an output of the pipeline."""
        return self.reports / "comparison"

    @property
    def turing(self) -> Path:
        """The blinded test; not an output of the pipeline."""
        return self.reports / "turing.html"

    def experiment(self, name: str) -> Path:
        """The folder of what an experiment on an artificial class found; not an output of the pipeline."""
        return self.reports / "experiments" / name

    def responsiveness(self, student: str) -> Path:
        """How a student responds to feedback; not an output of the pipeline."""
        return self.reports / "responsiveness" / f"{student}.csv"

    def unfinished_experiment(self, name: str, key: str) -> Path:
        """Trajectories of an experiment while others are played; `key` is as in `unfinished_rollouts`."""
        return self.of_preset / "experiments" / f"{name}-{key}"

    @property
    def artificial_class(self) -> Path:
        """The artificial class to give away; not an output of the pipeline."""
        return self.reports / "class"

    @property
    def probing(self) -> Path:
        """What was probed from the models' hidden states; not an output of the pipeline."""
        return self.reports / "probing"

    @property
    def context(self) -> Path:
        """What a student's earlier assignments say of the next submission; not an output of the pipeline."""
        return self.reports / "context.csv"

    @property
    def learner_report(self) -> Path:
        """How a learner to teach answers, before and after its training; not an output of the pipeline."""
        return self.reports / "learner.json"

    @property
    def steering(self) -> Path:
        """Figures and programs of students who were led to a right program; no output of the pipeline."""
        return self.reports / "steering"

    @property
    def disagreements(self) -> Path:
        """The submissions on which the log and the grader disagree, with their programs."""
        return self.reports_of_course / "disagreements.csv"

    @property
    def verdict_cache(self) -> Path:
        """Verdicts by the content of program and assignment, of all courses, kept across runs."""
        return self.root / "data" / "verdicts.sqlite"

    @property
    def judgements(self) -> Path:
        """What judges have answered, of all courses, kept across runs: no question is paid for twice."""
        return self.root / "data" / "judgements.sqlite"

    @property
    def key(self) -> Path:
        """The key of the pseudonyms, one for all courses: a student keeps one pseudonym."""
        return self.root / "data" / "pseudonym.key"

    @property
    def api_keys(self) -> Path:
        """Hashes of the keys with which the service may be used."""
        return self.root / "data" / "keys.json"

    @property
    def accounts(self) -> list[Path]:
        """The row accounts of all courses that have been ingested here; each says which key it was under."""
        return sorted(self.key.parent.glob("*/account.json"))

    @property
    def forgotten(self) -> Path:
        """Pseudonyms of the students to leave out, one a line, for all courses."""
        return self.root / "data" / "forgotten.txt"

    @property
    def forgotten_lists(self) -> list[Path]:
        """`forgotten`, and what came with the tables of each course from a DVC remote."""
        return [self.forgotten, *sorted(self.key.parent.glob("*/forgotten.txt"))]

    @property
    def forgotten_noted(self) -> Path:
        """What `forgotten_lists` held when stage `source` ran: a change makes the tables out of date."""
        return self.data / "forgotten.txt"
