"""Folders that are whole or not there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tutee_trainer.errors import TrainerEnvironmentError


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `folder` when the block ends well.

    Until then it stands beside `folder` under another name, so that a killed run leaves what was there
    before. Raises TrainerEnvironmentError where the disk is full or the folder cannot be written.
    """
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            yield part
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    except OSError as error:
        raise TrainerEnvironmentError(
            f"{folder}: cannot be written ({error.strerror or error}); make room or mend its rights, "
            "then run again"
        ) from error
