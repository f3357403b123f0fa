"""What all endpoints share."""

from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from serving.capacity import Capacity
from serving.grading import Graders
from serving.students import Students


@dataclass(frozen=True)
class State:
    """The students, the sandbox that grades what they write, and how much of that goes on at once."""

    students: Students
    graders: Graders
    capacity: Capacity


def state_of(request: Request) -> State:
    """The state of the service that a request came to."""
    return cast("State", request.app.state.service)
