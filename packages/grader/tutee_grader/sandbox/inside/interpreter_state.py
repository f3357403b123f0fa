"""What a script can change of the interpreter, remembered and put back, so that its next run starts afresh.

What a program can change is told from the names in its code. To remember everything, or only to look at it,
would touch most of the memory that a child shares with its zygote, and take as long as all the rest.

What stays of a run:
- Threads that do not end by themselves (daemons; others are waited for).
- Files in the scratch folder.
- What it changed inside Python's own modules: attributes of classes and functions, and of modules that it was
  the first to load, but for those in `_KEEP_SETTINGS`.
"""

import itertools
import os
import sys
import types
from typing import Any

# Modules in the zygote's memory that a program may set names of.
_MODULES = ("builtins", "sys", "random", "math", "time", "os", "string", "re", "json", "copy", "collections",
            "functools", "itertools", "operator", "types", "typing", "enum", "io", "warnings",
            "abc")  # fmt: skip
_RUN_TEXT = frozenset({"exec", "eval", "compile", "__import__", "import_module"})  # with names of its own
_FOLDER = frozenset({"chdir", "fchdir", "umask", "environ", "environb", "putenv", "unsetenv"})
_LOADED = ("signal", "threading", "futures", "asyncio")
# Modules that keep what a program sets in them and are quick to load anew.
_KEEP_SETTINGS = ("calendar", "doctest", "fileinput", "locale", "logging")
_ALL = frozenset({*_MODULES, *_RUN_TEXT, *_LOADED, *_KEEP_SETTINGS, "__builtins__"})


def names_in(code: types.CodeType) -> set[str]:
    """The names of variables, attributes and modules in the code of a program."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            found |= names_in(constant)
    return found


def can_change(names: set[str]) -> bool:
    """Whether a program with these names can change anything that outlives a run."""
    return not _ALL.isdisjoint(names)


class InterpreterState:
    """The state before the first run of a program whose code has these names."""

    def __init__(self, names: set[str]) -> None:
        if not _RUN_TEXT.isdisjoint(names):
            names = names.union(_MODULES, _FOLDER)
        modules = sys.modules
        self._dicts = [
            (modules[name].__dict__, dict(modules[name].__dict__))
            for name in _MODULES
            if name in names or (name == "builtins" and "__builtins__" in names)
        ]
        self._lists: list[tuple[list[Any], list[Any]]] = []
        self._limit = 0
        if "sys" in names:
            self._dicts.append((modules, dict(modules)))
            self._lists += [(items, list(items)) for items in (sys.path, sys.argv)]
            self._limit = sys.getrecursionlimit()
        if "warnings" in names:
            filters = modules["warnings"].__dict__["filters"]
            self._lists.append((filters, list(filters)))
        self._folder = ""
        if _FOLDER & names:
            self._folder = os.getcwd()
            self._mask = os.umask(0o022)
            os.umask(self._mask)
            self._environment = dict(os.environ)

    def restore(self) -> None:
        """Put it back."""
        for names, saved in self._dicts:
            if names is not sys.modules:
                for name in names.keys() - saved.keys():
                    del names[name]
            names.update(saved)
        for items, saved_items in self._lists:
            items[:] = saved_items
        if self._limit:
            sys.setrecursionlimit(self._limit)
            sys.settrace(None)
            sys.setprofile(None)
        if self._folder:
            os.chdir(self._folder)
            os.umask(self._mask)
            if os.environ != self._environment:
                os.environ.clear()
                os.environ.update(self._environment)
        _restore_loaded(sys.modules)


def _restore_loaded(modules: "dict[str, Any]") -> None:
    """Put back what is kept in modules that a run has loaded."""
    for package in _KEEP_SETTINGS:
        if package in modules:
            for name in [name for name in modules if name.partition(".")[0] == package]:
                del modules[name]
    if "signal" in modules:
        _restore_signals(modules["_signal"])
    if "threading" in modules:  # numbers threads and executors in their names
        modules["threading"]._counter = itertools.count(1).__next__
    if "concurrent.futures.thread" in modules:
        executors = modules["concurrent.futures.thread"]
        executors._shutdown = False
        executors.ThreadPoolExecutor._counter = itertools.count().__next__


def _restore_signals(signals: Any) -> None:
    for timer in (signals.ITIMER_REAL, signals.ITIMER_VIRTUAL, signals.ITIMER_PROF):
        signals.setitimer(timer, 0)
    for number in signals.valid_signals():
        if signals.getsignal(number) not in (None, signals.SIG_DFL, signals.SIG_IGN):
            signals.signal(number, signals.SIG_DFL)
    signals.signal(signals.SIGINT, signals.default_int_handler)
