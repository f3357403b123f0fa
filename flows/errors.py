"""What can go wrong around the pipeline, beyond the errors that all packages share."""

from tutee_grader.errors import TuteeError, UnavailableError


class RefusedError(TuteeError):
    """A challenger that may not become champion; the message says why."""


class UnreachableError(UnavailableError):
    """Prefect's server cannot be reached: what it has not been told yet, it never will be."""


class CheckError(TuteeError):
    """A check of the user's own files that failed; the message says which and why."""


class StageError(TuteeError):
    """A stage of the pipeline ended with an error, which it has printed itself.

    `cause` is the last line of that, where it is known; `resume` the command that goes on from the stage.
    """

    def __init__(self, stage: str, exit_code: int, cause: str = "", resume: str = "") -> None:
        ended = f"stage {stage} ended with exit code {exit_code}"
        why = f" ({cause})" if cause else "; its own message is above"
        super().__init__(f"{ended}{why}{f'; `{resume}` goes on from there' if resume else ''}")
        self.stage, self.exit_code = stage, exit_code
