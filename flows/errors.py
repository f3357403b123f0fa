"""What can go wrong around the pipeline, beyond the errors that all packages share."""

from tutee_grader.errors import TuteeError


class RefusedError(TuteeError):
    """A challenger that may not become champion; the message says why."""


class CheckError(TuteeError):
    """A check of the user's own files that failed; the message says which and why."""


class StageError(TuteeError):
    """A stage of the pipeline ended with an error, which it has printed itself."""

    def __init__(self, stage: str, exit_code: int) -> None:
        super().__init__(f"stage {stage} ended with exit code {exit_code}; its own message is above")
        self.exit_code = exit_code
