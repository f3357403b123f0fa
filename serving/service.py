"""The BentoML service of one artificial student.

`POST /next_submission` is BentoML's own API; the chat (chat.py) and the page (website.py) are mounted
beside it. BentoML adds /readyz, /livez, /metrics and /schema.json.
"""

import asyncio
import os
from pathlib import Path

import bentoml
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from serving.bundle import OFFLINE_ENVIRONMENT
from serving.chat import chat
from serving.limits import BodyLimit
from serving.payloads import GradedSubmission, HistoryEntry, NextSubmission, NextSubmissionRequest
from serving.students import ServedStudent
from serving.website import website
from tutee_grader.verdict import Verdict

# Where a Bento has its student: in a folder beside the code.
BENTO_STUDENT = Path(__file__).parent.parent / "student"


@bentoml.service(
    name="tutee",
    traffic={"timeout": 300},
    envs=[{"name": name, "value": value} for name, value in OFFLINE_ENVIRONMENT.items()],
)
@bentoml.asgi_app(chat, path="/v1")
@bentoml.asgi_app(website, path="/")
class ArtificialStudent:
    """An artificial student: give it an assignment and its attempts so far, and it makes the next one."""

    def __init__(self) -> None:
        self.student = ServedStudent(Path(os.environ.get("TUTEE_STUDENT") or BENTO_STUDENT))

    @bentoml.on_shutdown
    def close(self) -> None:
        self.student.close()

    @bentoml.api(input_spec=NextSubmissionRequest)
    async def next_submission(
        self, assignment: str, history: list[HistoryEntry], temperature: float, seed: int | None
    ) -> NextSubmission:
        """The next program for an assignment after a history of attempts, and the grader's verdict on it."""
        student = self.student
        if assignment not in student.assignments:
            raise unknown_assignment(assignment, list(student.assignments))
        loaded = student.assignments[assignment]

        async def feedback_on(entry: HistoryEntry) -> Verdict | str:
            if entry.feedback is not None:
                return entry.feedback
            return await student.grade(loaded, entry.code)

        feedback = await asyncio.gather(*map(feedback_on, history))
        programs = (entry.code for entry in history)
        dialog = student.dialog(loaded.task, zip(programs, feedback, strict=True))
        completion = await student.complete(dialog, temperature, seed)
        graded = None
        if completion.program is not None:
            verdict = await student.grade(loaded, completion.program)
            graded = GradedSubmission(
                grade=verdict.grade, status=verdict.status, feedback=student.feedback(verdict)
            )
        return NextSubmission(
            model=student.about.model,
            assignment=assignment,
            attempt=len(history) + 1,
            code=completion.program,
            reason=completion.reason,
            verdict=graded,
        )


ArtificialStudent.add_asgi_middleware(BodyLimit)  # type: ignore[attr-defined]


def unknown_assignment(name: str, known: list[str]) -> ValidationError:
    """The kind of error that an invalid field raises too, so that callers handle one."""
    problem = PydanticCustomError(
        "unknown_assignment",
        "there is no assignment {name}; there are: {known}",
        {"name": repr(name[:80]), "known": ", ".join(known)},
    )
    return ValidationError.from_exception_data(
        "NextSubmissionRequest", [InitErrorDetails(type=problem, loc=("assignment",), input=name)]
    )
