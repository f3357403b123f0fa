"""The catalog: which versions of which courses' students a service may play, and where their files lie.

One file of JSON. Whoever knows the registry writes it (`tutee serve`, as often as an alias moves), or it lies
in a Bento; the service reads it, and again whenever it changes. It names folders relative to its own.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tutee_evaluator.engines import EngineConfig
from tutee_grader.assignment import Assignment
from tutee_grader.config import describe_errors
from tutee_grader.errors import InputError
from tutee_grader.files import atomic_file, folder_hash
from tutee_serializer.card import MODEL_CARD, StudentCard

FILE = "catalog.json"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Version(_Entry):
    """A registered student: its method, the folder of its model, and its figures, by metric."""

    method: str
    folder: Path
    metrics: dict[str, float] = {}


class Course(_Entry):
    """A course with its students, by version number, and the numbers of its champion and its challenger.

    `assignments` is the folder of its assignments, of which `names` are served; `tests` is the form of their
    tests where their folders do not name it.
    """

    synthetic: bool
    assignments: Path
    names: tuple[str, ...]
    tests: str | None = None
    champion: int | None = None
    challenger: int | None = None
    versions: dict[int, Version] = {}


class Catalog(_Entry):
    """The courses by name, and the engine that plays their students.

    `hashes` has the `folder_hash` of models' folders, as they were registered.
    """

    courses: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], Course]
    engine: EngineConfig = EngineConfig()
    hashes: dict[Path, str] = {}

    @classmethod
    def load(cls, file: Path) -> "Catalog":
        """Reads a file that `save` wrote, with paths below its folder; raises InputError where it is none."""
        try:
            catalog = cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise InputError(
                f"{file}: cannot be read ({error.strerror}), so there is no student to serve; `tutee serve` "
                "writes it"
            ) from error
        except ValidationError as error:
            problems = "; ".join(describe_errors(error))
            raise InputError(f"{file}: {problems}; remove it and serve again") from error
        root = file.parent.resolve()
        courses = {
            name: course.model_copy(
                update={
                    "assignments": root / course.assignments,
                    "versions": {
                        number: version.model_copy(update={"folder": root / version.folder})
                        for number, version in course.versions.items()
                    },
                }
            )
            for name, course in catalog.courses.items()
        }
        hashes = {(root / path).resolve(): value for path, value in catalog.hashes.items()}
        return catalog.model_copy(update={"courses": courses, "hashes": hashes})

    def save(self, file: Path) -> None:
        """Writes the file, whole or not at all; paths in it should be absolute, or relative to its folder."""
        with atomic_file(file) as part:
            part.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def check(self, version: Version) -> None:
        """Raises InputError where the files of a student, or of its base, are not those that were registered.

        Or where they are missing. Takes as long as reading the files.
        """
        base = Path(StudentCard.load(version.folder).base_of(version.folder))
        for folder in dict.fromkeys((version.folder.resolve(), base)):
            expected = self.hashes.get(folder)
            if expected is not None and folder_hash(folder, but=MODEL_CARD) != expected:
                raise InputError(
                    f"{folder}: its files are not those that were registered; restore them, or train "
                    "again and promote another version"
                )


def load_assignments(course: Course) -> dict[str, Assignment]:
    """The assignments of a course, by name; raises InputError that names every one that cannot be served."""
    loaded, problems = {}, []
    for name in course.names:
        folder = course.assignments / name
        try:
            assignment = Assignment.load(folder, course.tests)
        except InputError as error:
            problems.append(str(error))
            continue
        if not assignment.task:
            problems.append(f"{folder}: has no task (task.md), so no student can work on it")
        loaded[name] = assignment
    if problems:
        raise InputError("\n".join(problems))
    return loaded
