"""Running a program as a script, as a Python of its own would, to the end of its threads and objects."""

import contextlib
import gc
import random
import sys
import types
from typing import Any

import streams
from exceptions import describe
from leftover_state import leaves_state, names_in, parts_of
from program_module import new_module

SEED = 0  # of `random`, for every program
_LATE = frozenset({"open", "fdopen", "__del__"})  # names of what may write when it is freed


class Script:
    """A program that is run as a script: several times in this process, unless it `leaves_state`."""

    def __init__(self, code: types.CodeType, output_bytes: int) -> None:
        self._code = code
        self._output_bytes = output_bytes
        parts = parts_of(code)
        names = names_in(parts)
        self.leaves_state = leaves_state(parts, names)
        self._writes_late = not _LATE.isdisjoint(names)
        self._streams: streams.ScriptStreams | None = None

    def run(self, stdin: bytes) -> "tuple[bytes | None, str | None]":
        """Run it on this input: what it printed, None if too much; and the error that ended it."""
        if self._streams is not None:
            streams.reset(self._streams)
        self._streams = opened = streams.redirect_script(stdin, self._output_bytes)
        random.seed(SEED)
        error = self._execute()
        if "threading" in sys.modules:
            _quietly(_wait_for_threads)
        if "atexit" in sys.modules:
            _quietly(sys.modules["atexit"]._run_exitfuncs)
        if self._writes_late:
            sys.modules.pop("__main__", None)
            gc.collect()
        return streams.printed(opened), error

    def _execute(self) -> "str | None":
        try:
            exec(self._code, new_module("__main__").__dict__)
        except SystemExit:
            pass
        except BaseException as caught:
            return describe(caught)
        return None


def _quietly(end: Any) -> None:
    with contextlib.suppress(BaseException):
        end()


def _wait_for_threads() -> None:
    threading: Any = sys.modules["threading"]
    for end in reversed(threading._threading_atexits):
        end()
    own = threading.current_thread()
    while waiting := [thread for thread in threading.enumerate() if thread is not own and not thread.daemon]:
        waiting[0].join()
