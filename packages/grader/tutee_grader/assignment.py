"""An assignment: its task, its tests and its limits, loaded from a folder."""

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tutee_grader.errors import AssignmentError
from tutee_grader.forms import FORMS
from tutee_grader.forms.instructor import defined_names
from tutee_grader.forms.reading import TestsYaml, read_text
from tutee_grader.forms.scoring import Leniency, Test
from tutee_grader.sandbox.inside.scratch import FILE_BYTES
from tutee_grader.sandbox.inside.words import ordered_repr

MAX_OUTPUT_KB = FILE_BYTES >> 10


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    `seconds`: one test may take this long, and the program as a whole twice as long. `memory_mb`: address
    space on top of the interpreter's own. `output_kb`: what it may print, per test.
    """

    seconds: float = 1.0
    memory_mb: int = 256
    output_kb: int = 256


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task and how programs for it are graded.

    `form` is a key of FORMS. `fingerprint` changes with everything that can change a verdict.
    """

    name: str
    task: str
    form: str
    tests: tuple[Test, ...]
    solution: str | None = None
    limits: Limits = Limits()
    leniency: Leniency = field(default_factory=Leniency)
    test_source: str | None = None  # of the instructor's own test code
    max_score: float = 100.0  # what a FalconCode test case returns at best
    fingerprint: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        tests = [[type(test).__name__, *_values(test)] for test in self.tests]
        # An instructor's own tests mean other names where the reference solution defines others.
        meant = () if self.test_source is None else defined_names(self.solution)
        parts = (self.form, tests, self.limits, self.leniency, self.test_source, meant, self.max_score)
        # Not `repr`: it writes the elements of a set in another order in every run.
        object.__setattr__(self, "fingerprint", hashlib.sha256(ordered_repr(parts).encode()).hexdigest())

    # Expected values may be dicts or lists, which have no hash of their own.
    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @staticmethod
    def load(folder: Path | str, tests: str | None = None) -> "Assignment":
        """Read an assignment's folder.

        `tests` names the form where the folder itself does not say (`asserts`: the file `test.py`).
        Raises AssignmentError naming the file and the line.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise AssignmentError(f"{folder}: there is no such folder of an assignment")
        task = _read_first(folder, ("task.md", "description.txt")) or ""
        solution = _read_first(folder, ("solution.py",))
        settings = TestsYaml(folder / "tests.yaml", FORMS, default_form=tests or "asserts")
        limits = settings.section("limits", Limits, may_be_zero=False)
        if limits.output_kb > MAX_OUTPUT_KB:
            words = f"output_kb has value {limits.output_kb}. It must be at most {MAX_OUTPUT_KB}"
            raise settings.error(words, "limits")
        given = FORMS[settings.form](settings)
        return Assignment(folder.name, task.strip(), settings.form, solution=solution, limits=limits, **given)


def _values(test: Test) -> list[Any]:
    return [getattr(test, field.name) for field in fields(test)]  # type: ignore[arg-type]


def _read_first(folder: Path, names: tuple[str, ...]) -> str | None:
    for name in names:
        if (folder / name).exists():
            return read_text(folder / name)
    return None
