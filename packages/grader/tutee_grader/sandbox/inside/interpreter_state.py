"""What a script can change of the interpreter, remembered and put back, so that its next run starts afresh.

What a program can change is told from the names in its code. To remember everything, or only to look at it,
would touch most of the memory that a child shares with its zygote, and take as long as all the rest.

What stays of a run:
- Threads that do not end by themselves (daemons; others are waited for).
- Files in the scratch folder.
- What it changed inside Python's own modules: attributes of classes and functions, and of modules that it was
  the first to load, but for those in `_LOADED_ANEW`.
"""

import itertools
import os
import sys
import types
from opcode import opmap
from typing import Any

# Modules in the zygote's memory that a program may set names of, and the names with which it does.
_MODULES = ("builtins", "sys", "random", "math", "time", "os", "string", "re", "json", "copy", "collections",
            "functools", "itertools", "operator", "types", "typing", "enum", "io", "warnings",
            "abc")  # fmt: skip
_SET = frozenset({"setattr", "delattr", "__setattr__", "__delattr__", "__dict__", "vars", "patch"})
_SETS_ATTRIBUTE = frozenset({opmap["STORE_ATTR"], opmap["DELETE_ATTR"]})
_INTERPRETER = frozenset({"setrecursionlimit", "settrace", "setprofile"})
_LISTS = frozenset({"path", "argv", "warnings"})
_FOLDER = frozenset({"chdir", "fchdir", "umask", "environ", "environb", "putenv", "unsetenv"})
# Modules that keep what a program sets in them and are quick to load anew, and others that are put right.
_LOADED_ANEW = ("calendar", "doctest", "fileinput", "locale", "logging")
_LOADED = frozenset({*_LOADED_ANEW, "signal", "threading", "futures", "asyncio"})
_RUN_TEXT = frozenset({"exec", "eval", "compile", "__import__", "import_module"})  # with names of its own
_ANY = _INTERPRETER | _LISTS | _FOLDER | _LOADED
_STREAM = _SET | {"reconfigure"}


def names_in(code: types.CodeType) -> set[str]:
    """The names of variables, attributes and modules in a program; "setattr" where it sets an attribute."""
    found = set(code.co_names)
    if not _SETS_ATTRIBUTE.isdisjoint(code.co_code[::2]):
        found.add("setattr")
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            found |= names_in(constant)
    if not _RUN_TEXT.isdisjoint(found):
        found.update(_MODULES, _SET, _ANY, _STREAM)
    return found


def can_change_streams(names: set[str]) -> bool:
    """Whether the standard streams of a program with these names may not be what they seem after a run."""
    return "sys" in names and not _STREAM.isdisjoint(names)


class InterpreterState:
    """The state before the first run of a program whose code has these names."""

    def __init__(self, names: set[str]) -> None:
        self._dicts: list[tuple[dict[str, Any], dict[str, Any]]] = []
        if not _SET.isdisjoint(names):
            for name in _MODULES:
                if name in names or (name == "builtins" and "__builtins__" in names):
                    of_module = sys.modules[name].__dict__
                    self._dicts.append((of_module, dict(of_module)))
        self._has_more = not _ANY.isdisjoint(names)
        if self._has_more:
            self._remember(names)

    def _remember(self, names: set[str]) -> None:
        self._limit = 0 if _INTERPRETER.isdisjoint(names) else sys.getrecursionlimit()
        self._lists: list[tuple[list[Any], list[Any]]] = []
        if not _LISTS.isdisjoint(names):
            filters = sys.modules["warnings"].__dict__["filters"]
            self._lists += [(items, list(items)) for items in (sys.path, sys.argv, filters)]
        self._folder = ""
        if not _FOLDER.isdisjoint(names):
            self._folder = os.getcwd()
            self._mask = os.umask(0o022)
            os.umask(self._mask)
            self._environment = dict(os.environ)
        self._loads = not _LOADED.isdisjoint(names)

    def restore(self) -> None:
        """Put it back."""
        for names, saved in self._dicts:
            for name in names.keys() - saved.keys():
                del names[name]
            names.update(saved)
        if self._has_more:
            self._restore_more()

    def _restore_more(self) -> None:
        if self._limit:
            sys.setrecursionlimit(self._limit)
            sys.settrace(None)
            sys.setprofile(None)
        for items, saved in self._lists:
            items[:] = saved
        if self._folder:
            os.chdir(self._folder)
            os.umask(self._mask)
            if os.environ != self._environment:
                os.environ.clear()
                os.environ.update(self._environment)
        if self._loads:
            _restore_loaded(sys.modules)


def _restore_loaded(modules: "dict[str, Any]") -> None:
    """Put back what is kept in modules that a run has loaded."""
    for package in _LOADED_ANEW:
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
