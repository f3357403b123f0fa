"""What can go wrong around the pipeline, and with which exit code a command ends."""

import errno

from tutee_grader.errors import TuteeError


class RefusedError(TuteeError):
    """A challenger that may not become champion; the message says why."""


class CheckError(TuteeError):
    """A check of the user's own files that failed; the message says which and why."""


class StageError(TuteeError):
    """A stage of the pipeline ended with an error, which it has printed itself."""

    def __init__(self, stage: str, exit_code: int) -> None:
        super().__init__(f"stage {stage} ended with exit code {exit_code}; what it said stands above")
        self.exit_code = exit_code


FULL = {errno.ENOSPC, errno.EDQUOT}
LOCKED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}
# Libraries written in Rust or C++ raise types of their own; the words are the operating system's.
FULL_WORDS = ("No space left on device", "disk is full", "Disk quota exceeded")
LOCKED_WORDS = (
    "Permission denied",
    "Read-only file system",
    "readonly database",
    "unable to open database file",
)


def lack_of(error: BaseException) -> str | None:
    """What the environment lacks, where that is why `error` was raised; None where it is not."""
    chained: BaseException | None = error
    while chained is not None:
        number = chained.errno if isinstance(chained, OSError) else None
        words = str(chained)
        if number in FULL or any(word in words for word in FULL_WORDS):
            return f"the disk is full ({words}); free some room, then run again"
        if number in LOCKED or any(word in words for word in LOCKED_WORDS):
            return f"a file or folder cannot be written ({words}); mend its owner or mode, then run again"
        chained = chained.__cause__ or chained.__context__
    return None
