"""Probes students on the held-out trajectories of a course, and writes what comes out."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.probing.probes import Probed, probe
from tutee_evaluator.probing.results import draw_probes
from tutee_evaluator.probing.states import dialogs_at, read_states
from tutee_evaluator.probing.targets import find_targets
from tutee_evaluator.rollout.grading import known_verdicts
from tutee_grader.errors import InputError
from tutee_grader.files import atomic_dir


@dataclass(frozen=True)
class Counts:
    """How many submissions were probed at, of how many students; and what the models have not read.

    `too_long` submissions were left out, because the task and one attempt are longer than some model can
    read; `cut` counts those of which a model has not read the oldest turns, by student.
    """

    submissions: int
    students: int
    too_long: int
    cut: dict[str, int]


def probe_students(
    students: Mapping[str, Path],
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    folder: Path,
    progress: bool = False,
) -> tuple[Probed, Counts]:
    """Probes the students in these folders, by name; writes the table and the picture to `folder`.

    All are probed at the same submissions, those of held-out students, whom no model was trained on. Raises
    InputError where there are none, or a model can read none.
    """
    rows = find_targets(dialogs, submissions)
    if rows.is_empty():
        raise InputError(
            "no held-out student has a submission that did not solve the task, so there is nothing to probe; "
            "see `semesters: test` of the course file"
        )
    known = known_verdicts(submissions, verdicts)
    read = {}
    too_long: NDArray[np.bool_] = np.zeros(rows.height, dtype=bool)
    for name, model in students.items():
        student = Student.load(model)
        read[name] = read_states(student, dialogs_at(rows, dialogs, known, student), progress)
        too_long |= read[name].too_long
    kept = rows.filter(~pl.Series(too_long))
    if kept.is_empty():
        raise InputError(
            f"all of the {rows.height} submissions are longer, with their task, than a model can read; raise "
            "`dialog.max_length` of the preset and train again"
        )
    states = {
        (name, layer): array[~too_long] for name, found in read.items() for layer, array in found.of.items()
    }
    cut = {name: int(found.cut[~too_long].sum()) for name, found in read.items()}
    counts = Counts(kept.height, kept["student"].n_unique(), int(too_long.sum()), cut)
    probed = probe(kept, states, progress=progress)
    _write(probed, counts, folder)
    return probed, counts


def _write(probed: Probed, counts: Counts, folder: Path) -> None:
    """Writes `probes.csv`, `probes.json` and, where any target was probed, the picture."""
    results = {**asdict(counts), "not_probed": probed.not_probed, "probes": probed.table.to_dicts()}
    with atomic_dir(folder) as part:
        probed.table.write_csv(part / "probes.csv")
        (part / "probes.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        if probed.table.height:
            draw_probes(probed.table, part)
