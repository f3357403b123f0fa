"""The clock by which programs are timed."""

import time

# Three looks of the pool: there is more between two looks only where the pool itself was held up.
LONGEST_STEP_S = 0.06
STARVED_FACTOR = 10  # on a busy machine, a limit of time may take this many times as long by the clock


class Clock:
    """Seconds in which somebody looked at the clock: what the grader itself loses counts for no program.

    A caller that is stopped, or busy with something else between two verdicts, finds the clock where it was.
    """

    def __init__(self) -> None:
        self._seen = time.monotonic()
        self._now = 0.0

    def now(self) -> float:
        """The time, in seconds since some moment."""
        seen = time.monotonic()
        self._now += min(seen - self._seen, LONGEST_STEP_S)
        self._seen = seen
        return self._now
