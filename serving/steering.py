"""`POST /steer`: from a student's wrong program towards a right one, by changes that keep its style."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

from fastapi import APIRouter, Request

from serving.errors import ApiError
from serving.events import deadline
from serving.payloads import Sample, Steered, SteeredStep, SteerRequest, Usage
from serving.submissions import NEXT_S, students_at_work
from serving.together import together
from serving.trajectory import Trajectory
from tutee_evaluator.schemas import StopReason
from tutee_evaluator.steering.candidates import Candidate, best, compared

router = APIRouter()


@router.post("/steer")
async def steer(request: Request, body: SteerRequest) -> Steered:
    """Steps from the last program of the history towards a right one: each is the best of `n` programs.

    They are drawn from the student as for /next_submission and graded; of the best grade, the one nearest to
    the student's own program is the step, if it is better than the program before.
    """
    async with deadline(NEXT_S), students_at_work(request, body) as trajectories:
        at_hand = trajectories[0]
        if at_hand.dialog.grades[-1] == 100:
            message = "the last program of the history passes every test already"
            raise ApiError(HTTPStatus.BAD_REQUEST, "already_right", message, "history")
        left_out = at_hand.prompt.left_out if at_hand.prompt else 0
        own, steps, reached, read, written = body.history[-1].code, [], False, 0, 0
        for round in range(body.steps):
            # Other seeds in every round: what was drawn in one that led nowhere is not drawn again.
            drawn = [at_hand.sibling(round * body.n + place) for place in range(body.n)]
            samples: list[Sample] = await together(one.submit() for one in drawn)
            read += drawn[0].prompt_tokens
            written += sum(one.completion_tokens for one in drawn)
            found = await asyncio.to_thread(_better, own, at_hand.dialog.grades[-1], drawn, samples)
            if found is None:
                continue
            place, chosen = found
            steps.append(_step(samples[place], chosen))
            if reached := chosen.is_right:
                break
            at_hand = drawn[place]
        return Steered(
            model=at_hand.student.model,
            reached=reached,
            steps=steps,
            turns_left_out=left_out,
            usage=Usage.of(read, written),
        )


def _better(
    own: str, grade: float, drawn: Sequence[Trajectory], samples: Sequence[Sample]
) -> tuple[int, Candidate] | None:
    """The place of the best sample, and how it compares with `own`; None where none has a higher grade."""
    places: dict[str, int] = {}
    candidates = []
    for place, (one, sample) in enumerate(zip(drawn, samples, strict=True)):
        goes_on = one.stop in (None, StopReason.SOLVED)
        if sample.code is None or sample.verdict is None or not goes_on or sample.verdict.grade <= grade:
            continue
        if sample.code not in places:
            places[sample.code] = place
            candidates.append(compared(own, sample.code, sample.verdict.grade))
    if not candidates:
        return None
    chosen = best(candidates)
    return places[chosen.code], chosen


def _step(sample: Sample, chosen: Candidate) -> SteeredStep:
    return SteeredStep(
        sample=sample,
        tokens=chosen.tokens,
        lines=chosen.lines,
        style_distance=chosen.style,
        names_kept=chosen.names_kept,
    )
