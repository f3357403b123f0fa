"""The repository of a folder: DVC's, opened in one way by all that asks DVC, and git's."""

import logging
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvc.repo import Repo

# What DVC's results are made of, by hash; git keeps it.
LOCK = Path("dvc.lock")


def open_repository(root: Path) -> "Repo":
    """The DVC repository at `root`: without versions where git knows nothing of the folder, as of an archive.

    Raises DvcException.
    """
    from dvc.repo import Repo
    from dvc.scm import SCM, SCMError

    logging.getLogger("dvc").setLevel(logging.ERROR)
    try:
        return Repo(str(root))
    except SCMError:
        return Repo(str(root), scm=SCM(str(root), no_scm=True))


def git(*arguments: str | Path, root: Path = Path()) -> str:
    """What git prints; raises CalledProcessError where it fails, FileNotFoundError where there is no git."""
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout
