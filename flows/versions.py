"""What git and DVC should keep of a retrain, as commands for whoever ran it: tutee itself commits nothing."""

import re
import shlex
import subprocess
from collections.abc import Container
from itertools import chain, count
from pathlib import Path

from flows.parameters import FILE as PARAMETERS
from flows.parameters import Setup
from flows.places import preset_file
from flows.release import names_in
from flows.repository import LOCK, git, open_repository
from tutee_grader.files import read_table
from tutee_serializer.schemas import DIALOGS


def next_commands(setup: Setup, champion: int | None) -> list[str]:
    """The commands that make the present results a version which can be restored.

    There are none where git has these results already, or is not used here. The commit takes all tracked
    files, because the results depend on them as they are now. The tag names the test semester and
    the champion's number.
    """
    results = [LOCK, setup.places.metrics_json, setup.places.solved]
    inputs = [PARAMETERS, preset_file(setup.preset.name), setup.course.file]
    try:
        if not git("status", "--porcelain", "--untracked-files=all", "--", *results):
            return []
        tags = git("tag", "--list").splitlines()
        new = git("ls-files", "--others", "--exclude-standard", "--", *filter(_is_here, inputs)).splitlines()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return []
    tested = names_in(read_table(setup.places.dialogs, DIALOGS, "serialize"), "semester", test=True)
    tag = _free("-".join([setup.course.name, *tested, *_number(champion)]), tags)
    commands = [
        ["git", "add", *map(str, results), *new],
        ["git", "commit", "--all", "--message", tag],
        ["git", "tag", tag],
    ]
    with open_repository(Path()) as repo:
        has_remote = "remote" in repo.config["core"]
    return [" && ".join(map(shlex.join, commands)), *(["dvc push"] if has_remote else [])]


def _number(champion: int | None) -> list[str]:
    return [] if champion is None else [f"v{champion}"]


def _free(name: str, taken: Container[str]) -> str:
    """The name, as git allows it, with a number behind it where there is such a tag."""
    plain = re.sub(r"[^\w-]+", "-", name)
    numbered = (f"{plain}-{number}" for number in count(2))
    return next(tag for tag in chain([plain], numbered) if tag not in taken)


def _is_here(path: Path) -> bool:
    """Whether a file is below this folder: git cannot be asked about others."""
    return path.resolve().is_relative_to(Path.cwd())
