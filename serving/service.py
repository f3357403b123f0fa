"""The BentoML service of one artificial student.

`POST /next_submission` is BentoML's own API; the chat (chat.py) and the page (website.py) are mounted
beside it; /readyz, /livez, /metrics and /schema.json are BentoML's.
"""

import asyncio
import os
from pathlib import Path

import bentoml
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from serving.bundle import QUIET
from serving.chat import chat
from serving.limits import SizeLimit
from serving.payloads import Attempt, GradedSubmission, NextSubmission, NextSubmissionRequest
from serving.website import website

# Inside a Bento the student's folder lies beside the code.
BESIDE = Path(__file__).parent.parent / "student"


@bentoml.service(
    name="tutee",
    traffic={"timeout": 300},
    envs=[{"name": name, "value": value} for name, value in QUIET.items()],
)
@bentoml.asgi_app(chat, path="/v1")
@bentoml.asgi_app(website, path="/")
class ArtificialStudent:
    """An artificial student: give it an assignment and its attempts so far, and it makes the next one."""

    def __init__(self) -> None:
        # The model's libraries take seconds to import, and only the process that answers needs them.
        from serving.classroom import Classroom

        self.classroom = Classroom(Path(os.environ.get("TUTEE_STUDENT") or BESIDE))

    @bentoml.on_shutdown
    def close(self) -> None:
        self.classroom.close()

    @bentoml.api(input_spec=NextSubmissionRequest)
    async def next_submission(
        self, assignment: str, history: list[Attempt], temperature: float, seed: int | None
    ) -> NextSubmission:
        """The next program for an assignment after a history of attempts, and the grader's verdict on it."""
        from serving.classroom import Draw, Step

        room = self.classroom
        if assignment not in room.assignments:
            raise unknown_assignment(assignment, list(room.assignments))
        task = room.assignments[assignment]

        async def step(attempt: Attempt) -> Step:
            if attempt.feedback is not None:
                return Step(attempt.code, attempt.feedback)
            return Step(attempt.code, room.feedback(await room.verdict(task, attempt.code)))

        steps = await asyncio.gather(*(step(attempt) for attempt in history))
        proposal = await room.propose(Draw(room.situation(task.task, steps), temperature, seed))
        program, graded = proposal.attempt.program, None
        if program is not None:
            verdict = await room.verdict(task, program)
            graded = GradedSubmission(
                grade=verdict.grade, status=verdict.status, feedback=room.feedback(verdict)
            )
        return NextSubmission(
            model=room.about.model,
            assignment=assignment,
            attempt=len(history) + 1,
            code=program,
            reason=proposal.attempt.reason,
            verdict=graded,
        )


ArtificialStudent.add_asgi_middleware(SizeLimit)  # type: ignore[attr-defined]


def unknown_assignment(name: str, known: list[str]) -> ValidationError:
    """The same error that a field out of bounds gives, so that callers meet one shape."""
    problem = PydanticCustomError(
        "unknown_assignment",
        "there is no assignment {name}; there are: {known}",
        {"name": repr(name[:80]), "known": ", ".join(known)},
    )
    return ValidationError.from_exception_data(
        "NextSubmissionRequest", [InitErrorDetails(type=problem, loc=("assignment",), input=name)]
    )
