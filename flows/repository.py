"""DVC's repository of a folder, opened in one way by all that asks DVC."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvc.repo import Repo


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
