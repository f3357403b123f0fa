"""The judge's process: runs an instructor's test code for one program.

It is forked anew for every program and is confined like a student's process. The student's program is not
here: its module, functions and objects are stand-ins (`Program`, `Remote`) that ask the student's process and
get plain values back. Lines to the caller, beside those of its connection: `b` with the number of the test
that begins, and `t` with a test's result, `[name, outcome, message, exception, line, share]`.
"""

import _socket
import builtins
import io
import json
import marshal
import os
import sys
import types
from typing import Any

import autograder
import channel as channels
import confinement
import instructor
import messages
from asker import Asker
from connection import StudentConnection
from remote import Remote
from results import Result
from values import quote

FIXTURES = ("setUpModule", "tearDownModule", "load_tests")  # names that unittest looks for in a test file


class Program(types.ModuleType):
    """The student's program as a module, under any name; loaded when a test first uses a name of it.

    `own`: names of the test file's own, which `import *` must not replace; nor does it those of Python, or of
    the other modules `stars`, except for `meant`, which the task is about.
    """

    def __init__(
        self,
        name: str,
        asker: Asker,
        own: "tuple[str, ...]" = (),
        stars: "tuple[str, ...]" = (),
        meant: "tuple[str, ...]" = (),
    ) -> None:
        super().__init__(name)
        self.__dict__["_asker"] = asker
        self.__dict__["_names"] = own, stars, meant

    def _load(self) -> None:
        """Load the program: its functions are then known, its data until something is called."""
        asker = self.__dict__["_asker"]
        try:
            (rows,) = asker.ask('["load"]', list)
        except BaseException as error:  # whatever it raises, that is not what a test waits for
            asker.failed(error)
            raise
        loaded = {}
        for row in rows:
            name, data = row if type(row) is list and len(row) == 2 else (None, None)
            if type(name) is str:
                loaded[name] = asker.decode(data)
        for name, value in loaded.items():
            if type(value) is Remote:
                object.__setattr__(value, "_name", name)
        self.__dict__["_loaded"] = loaded
        asker.calls = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        if "_loaded" not in self.__dict__:
            self._load()
        if name == "__all__":
            return self._star_names()
        asker = self.__dict__["_asker"]
        value = self.__dict__["_loaded"].get(name)
        if type(value) is Remote or (value is not None and not asker.calls):
            return value
        return asker.value(f'["name",{quote(name)}]')

    def _star_names(self) -> "list[str]":
        own, stars, meant = self.__dict__["_names"]
        python = set(dir(builtins)).union(*map(_public_names, stars)).difference(meant)
        hidden = python.union(own, FIXTURES)
        return [name for name in self.__dict__["_loaded"] if name not in hidden]

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            super().__setattr__(name, value)
        else:
            asker = self.__dict__["_asker"]
            asker.ask(f'["set",{quote(name)},{asker.encode(value)}]')
            self.__dict__.get("_loaded", {}).pop(name, None)

    def __delattr__(self, name: str) -> None:
        self.__dict__["_asker"].ask(f'["delete",{quote(name)}]')
        self.__dict__.get("_loaded", {}).pop(name, None)


def _public_names(module: str) -> "list[str]":
    """What `from module import *` brings from a module that is not the student's."""
    try:
        found = __import__(module, fromlist=["*"])
    except ImportError:
        return []
    return list(getattr(found, "__all__", [name for name in vars(found) if name[0] != "_"]))


def serve(channel: int, seccomp: "confinement.SeccompFilter | None") -> None:
    """Confine this process, then serve the one request that will come."""
    caller = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, channel)
    confinement.die_with_parent()
    if seccomp is not None:
        seccomp.install()
    request = marshal.loads(channels.receive(channel))
    form, tests, modules, star_names, names, memory_bytes, cpu_s, max_bytes, max_score = request
    confinement.limit_program(memory_bytes, cpu_s)
    sys.stdin = io.StringIO("")
    asker = Asker(StudentConnection(caller, max_bytes))
    sys.modules.update(dict.fromkeys(modules, Program("program", asker, *star_names)))
    code = marshal.loads(tests)

    def begins(test: str) -> None:
        channels.write(channel, f"b{names.index(test)}")

    def report(result: Result) -> None:
        channels.write(channel, "t" + json.dumps(result))

    if form == "falcon":
        begins(names[0])
        report(autograder.run_falcon(code, names[0], max_score, asker))
    else:
        clock = instructor.TestClock(cpu_s)
        instructor.TestRun(asker, clock, begins, report).run(code, names)
    os._exit(0)


messages.install()
