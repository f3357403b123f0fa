"""The card of an artificial student: a file in the model's folder that says how to use it."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tutee_grader.errors import InputError
from tutee_serializer.dialogs.levels import Feedback

FILE = "student.json"
# The card of the model for people; it comes into the folder after the hash of that was taken.
MODEL_CARD = "README.md"


@dataclass(frozen=True)
class StudentCard:
    """How an artificial student was trained, and so how to prompt it.

    `base` is a path, relative to the card's own folder or absolute, or a name on the hub, there at
    `revision`. `max_length` and `max_new_tokens` count tokens.
    """

    method: str
    course: str
    base: str
    format: str
    feedback: Feedback
    max_length: int
    max_new_tokens: int
    preset: str
    revision: str | None = None

    def save(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "StudentCard":
        """Reads the card in a model's folder; raises InputError where there is none that fits."""
        return cls.read(folder / FILE)

    @classmethod
    def read(cls, path: Path) -> "StudentCard":
        """Reads a card from a file; raises InputError where it is missing or holds other fields."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(
                f"{path}: missing, so {path.parent} is not a student's folder; train it first"
            ) from None
        except ValueError as error:
            raise InputError(f"{path}: not JSON ({error}); train the student again") from error
        names = {field.name for field in fields(cls)}
        # Cards of earlier versions have no revision.
        if not isinstance(values, dict) or {"revision", *values} != names:
            found = sorted(values) if isinstance(values, dict) else type(values).__name__
            raise InputError(f"{path}: holds {found}, expected {sorted(names)}; train the student again")
        return cls(**values)

    def base_of(self, folder: Path) -> str:
        """The base model for a card in `folder`: the path of its folder, or the name on the hub."""
        local = folder / self.base
        return str(local.resolve()) if local.is_dir() else self.base
