"""How many requests a minute one key may make."""

import time
from collections.abc import Callable


class TokenBucket:
    """Holds `per_minute` tokens, is refilled at that rate, and a request takes one."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._tokens = float(per_minute)
        self._filled_at = clock()

    def take(self) -> float:
        """Takes a token and returns 0; without one, returns the seconds until there is one."""
        now = self._clock()
        per_second = self._per_minute / 60
        self._tokens = min(self._per_minute, self._tokens + (now - self._filled_at) * per_second)
        self._filled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / per_second
        self._tokens -= 1
        return 0
