"""`POST /next_submission` and `POST /rollout`: a student's next submission, or its whole work."""

import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.assignments import load_own
from serving.errors import ApiError
from serving.events import EVENT_SCHEMA, EventStream, SendEvent, begun, deadline, events_of
from serving.payloads import (
    MAX_ATTEMPTS,
    MAX_SEED,
    NextSubmission,
    OwnAssignment,
    RolloutRequest,
    Sample,
    StudentRequest,
    Usage,
)
from serving.state import state_of
from serving.students import ServedCourse
from serving.together import together
from serving.trajectory import Trajectory
from tutee_evaluator.schemas import StopReason
from tutee_grader.assignment import Assignment

NEXT_S, ROLLOUT_S = 120.0, 600.0  # deadlines
Events = AsyncGenerator[str, None]

router = APIRouter()


@router.post("/next_submission")
async def next_submission(request: Request, body: StudentRequest) -> NextSubmission:
    """The next submission of an artificial student, or of several, with the grader's verdict."""
    async with deadline(NEXT_S), students_at_work(request, body) as trajectories:
        prompt = trajectories[0].prompt
        samples: list[Sample] = await together(one.submit() for one in trajectories)
        read, written = trajectories[0].prompt_tokens, sum(one.completion_tokens for one in trajectories)
        return NextSubmission(
            model=trajectories[0].student.model,
            samples=samples,
            turns_left_out=prompt.left_out if prompt else 0,
            usage=Usage.of(read, written),
        )


@router.post(
    "/rollout",
    response_model=None,
    responses={200: {"content": {EventStream.media_type: {"schema": EVENT_SCHEMA}}}},
)
async def rollout(request: Request, body: RolloutRequest) -> Response:
    """The work of an artificial student, or of several, from here on: server-sent events.

    `start` has the model and the students' seeds; `step` is a submission as /next_submission has it; `end`
    says of one student why it was the last; `done` comes last. Instead, `error` may.
    """
    return EventStream(await begun(_events(request, body)))


async def _events(request: Request, body: RolloutRequest) -> Events:
    async with students_at_work(request, body) as trajectories:

        async def work(trajectory: Trajectory, send: SendEvent) -> None:
            for _ in range(body.attempts):
                sample = await trajectory.submit()
                send(_event("step", sample.model_dump(mode="json")))
                if trajectory.stop or trajectory.attempt > MAX_ATTEMPTS:
                    break
            reason = trajectory.stop or StopReason.STEPS
            send(_event("end", {"sample": trajectory.number, "stop_reason": reason}))

        async def work_all(send: SendEvent) -> None:
            try:
                async with deadline(ROLLOUT_S):
                    await together(work(one, send) for one in trajectories)
                send(_event("done", {}))
            except ApiError as error:
                send(_event("error", error.body))

        model = trajectories[0].student.model
        yield _event("start", {"model": model, "seeds": [one.seed for one in trajectories]})
        async with aclosing(events_of(work_all)) as events:
            async for event in events:
                yield event


@asynccontextmanager
async def students_at_work(request: Request, body: StudentRequest) -> AsyncIterator[list[Trajectory]]:
    """The students that a request asks for, with their work so far."""
    state = state_of(request)
    with state.capacity.take(body.n):
        async with state.students.use(body.model) as (student, course):
            request.state.model = student.model
            assignment = _assignment(course, body)
            seed = secrets.randbelow(MAX_SEED) if body.seed is None else body.seed
            first = await Trajectory.begin(
                student, state.graders, assignment, body.history, seed, body.temperature
            )
            yield [first.sibling(number) for number in range(body.n)]


def _assignment(course: ServedCourse, body: StudentRequest) -> Assignment:
    """The assignment of a request; raises ApiError where the course has none of this name."""
    if isinstance(body.assignment, OwnAssignment):
        return load_own(body.assignment)
    if body.assignment not in course.assignments:
        message = (
            f"there is no assignment {body.assignment[:80]!r}; there are: {', '.join(course.assignments)}"
        )
        raise ApiError(HTTPStatus.BAD_REQUEST, "unknown_assignment", message, "assignment")
    return course.assignments[body.assignment]


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
