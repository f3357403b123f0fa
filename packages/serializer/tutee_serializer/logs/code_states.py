"""The code states of a ProgSnap2 data set: a table, folders, or commits of Git repositories."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl

from tutee_serializer.errors import LogError
from tutee_serializer.logs.encodings import to_utf8


def read_csv(path: Path, folder: Path) -> tuple[pl.DataFrame, str]:
    """A table as text, empty fields null, and its encoding."""
    if not path.exists():
        raise LogError(f"{path}: missing from the ProgSnap2 data set; export it again")
    text = to_utf8(path, folder)
    try:
        table = pl.read_csv(text.path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise LogError(f"{path}: cannot be read as a table ({error})") from error
    empty_as_null = pl.all().replace("", None)
    return table.rename(str.strip).with_columns(empty_as_null), text.encoding


def with_code(events: pl.DataFrame, form: str, dataset: Path, folder: Path) -> pl.DataFrame:
    """Adds `Code`, and `reason` where the state an event names is not among the code states.

    `form` is the data set's CodeStateRepresentation; unpacked files go to `folder`. Raises LogError where
    there are no such code states.
    """
    form = form.lower()
    place = dataset / "CodeStates"
    if form == "table":
        code = _code_table(place, folder)
        events = events.join(code, on="CodeStateID", how="left", maintain_order="left")
    else:
        readers: dict[str, Callable[[Path], _States]] = {"directory": _Directories, "git": _Repositories}
        if form not in readers:
            raise LogError(
                f"{dataset}: CodeStateRepresentation is {form!r}; Table, Directory and Git can be read"
            )
        states = readers[form](place)
        section = "CodeStateSection" if "CodeStateSection" in events.columns else None
        found = [
            states.code(row["CodeStateID"], row[section] if section else None)
            for row in events.iter_rows(named=True)
        ]
        events = events.with_columns(
            pl.Series("Code", [code for code, _ in found], pl.String),
            pl.Series("trouble", [reason for _, reason in found], pl.String),
        )
    if "trouble" not in events.columns:
        events = events.with_columns(pl.lit(None, pl.String).alias("trouble"))
    unknown = pl.col("Code").is_null() & pl.col("CodeStateID").is_not_null()
    reason = pl.when(unknown).then(pl.coalesce("trouble", pl.lit("the code state is missing")))
    return events.with_columns(reason.alias("reason"))


def _code_table(place: Path, folder: Path) -> pl.DataFrame:
    tables = sorted(place.glob("*.csv"))
    if not tables:
        raise LogError(
            f"{place}: holds no table of code states; if it holds folders or Git repositories, "
            "DatasetMetadata.csv must say so: CodeStateRepresentation is Directory or Git"
        )
    code, _ = read_csv(tables[0], folder)
    if not {"CodeStateID", "Code"} <= set(code.columns):
        raise LogError(f"{tables[0]}: has columns {', '.join(code.columns)}, expected CodeStateID and Code")
    # A state without code is a student's empty editor: known, and empty.
    return code.select("CodeStateID", pl.col("Code").fill_null("")).unique("CodeStateID", keep="first")


class _States:
    """Code states that are folders of files: a state's program is its one Python file, or the one named."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def files(self, state: str) -> list[str]:
        raise NotImplementedError

    def content(self, state: str, file: str) -> str:
        raise NotImplementedError

    def code(self, state: str | None, section: str | None) -> tuple[str | None, str | None]:
        """The program, or None and the reason."""
        if not state:
            return None, None
        files = self.files(state)
        programs = (
            [file for file in files if file == section] or [f for f in files if f.endswith(".py")] or files
        )
        if not programs:
            return None, "the code state is missing"
        if len(programs) > 1:
            return None, f"the code state has {len(programs)} files, and CodeStateSection names none of them"
        return self.content(state, programs[0]), None


class _Directories(_States):
    def files(self, state: str) -> list[str]:
        folder = (self.place / state).resolve()
        if not folder.is_relative_to(self.place.resolve()) or not folder.is_dir():
            return []
        return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())

    def content(self, state: str, file: str) -> str:
        return (self.place / state / file).read_bytes().decode("utf-8", errors="replace")


class _Repositories(_States):
    """Git: a code state is a commit of one of the repositories below CodeStates."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        repositories = [marker.parent for marker in place.rglob(".git")]
        self.repository = {
            commit: one for one in repositories for commit in _git(one, "rev-list", "--all").decode().split()
        }
        if not self.repository:
            raise LogError(f"{place}: holds no commit of a Git repository")

    def files(self, state: str) -> list[str]:
        if state not in self.repository:
            return []
        names = _git(self.repository[state], "ls-tree", "-r", "-z", "--name-only", state).decode()
        return [name for name in names.split("\0") if name]

    def content(self, state: str, file: str) -> str:
        shown = _git(self.repository[state], "cat-file", "blob", f"{state}:{file}")
        return shown.decode("utf-8", errors="replace")


def _git(repository: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        raise LogError(f"{repository}: git says {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
