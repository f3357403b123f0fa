"""Whether a run has room on the disk and may write there, asked before it has worked for minutes."""

import shutil
import tempfile
from pathlib import Path

from tutee_grader.errors import UnavailableError

# What a run writes into, next to params.yaml.
FOLDERS = ("data", "models", "reports", "mlruns", "bentos", ".dvc")
# What a run of the tiny preset leaves there, copies in the caches of DVC and MLflow included.
NEEDED = 300_000_000  # bytes


def check(root: Path = Path()) -> None:
    """Raises UnavailableError, which names each folder that cannot be written, or a full disk."""
    problems = []
    for name in FOLDERS:
        folder = root / name
        try:
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"room")
        except OSError as error:
            problems.append(
                f"{folder}: cannot be written ({error.strerror}); mend its owner, its mode or its disk"
            )
    free = shutil.disk_usage(root).free
    if free < NEEDED:
        problems.append(
            f"{root.resolve()}: the disk is full: {free / 1e6:.0f} MB are free, and a run takes "
            f"{NEEDED / 1e6:.0f}; free some room, then run again"
        )
    if problems:
        raise UnavailableError("\n".join(problems))
