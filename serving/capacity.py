"""How much the service takes on at once."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from serving import metrics
from serving.errors import ApiError

MAX_TURNS = 128  # students' turns that are written or wait for it
LONGEST_RETRY_S = 60


class Capacity:
    """Counts the students at work; where there are MAX_TURNS, another is turned away until some are done."""

    def __init__(self, most: int = MAX_TURNS) -> None:
        self._most = most
        self._inside = 0
        self._seconds = 1.0  # that one of them lately took, its wait included

    @contextmanager
    def take(self, students: int) -> Iterator[None]:
        """Lets so many students work for the block; raises ApiError (429) where they are too many now."""
        if self._inside + students > self._most:
            wait = min(LONGEST_RETRY_S, max(1, math.ceil(self._seconds)))
            raise ApiError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "overloaded",
                f"{self._inside} students are at work and {self._most} is the most; try again in {wait} s",
                None,
                {"Retry-After": str(wait)},
            )
        self._inside += students
        metrics.QUEUE.set(self._inside)
        begun = time.monotonic()
        try:
            yield
        finally:
            self._inside -= students
            metrics.QUEUE.set(self._inside)
            self._seconds += 0.1 * (time.monotonic() - begun - self._seconds)
