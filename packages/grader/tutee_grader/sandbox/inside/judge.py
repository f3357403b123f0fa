"""The judge's process: runs an instructor's test code for one program.

It is forked anew for every program and is confined like a student's process. The student's program is not
here: its module, functions and objects are stand-ins (`Remote`, `Program`) that ask the student's process and
get plain values back. The last line to the caller is `d` and
`["done", share, [[name, outcome, message, exception, line], ...]]`.
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

import channel as channels
import confinement
import instructor
from channel import ProgramEndedError
from connection import StudentConnection
from values import decode, encode, quote


class Asker:
    """Sends questions to the student's process and reads the answers."""

    def __init__(self, student: StudentConnection) -> None:
        self._student = student
        self._exceptions: dict[str, type] = {}
        self.calls = 0  # since the program was loaded
        self.processes = 0  # of the program that have ended; objects of an earlier one are gone with it

    def ask(self, question: str) -> Any:
        """The answer's value. Raises what the student's code raised, or ProgramEndedError."""
        self.calls += 1
        try:
            self._student.send(question)
            while True:
                answer = json.loads(self._student.receive())
                if answer[0] != "i":
                    break
                # The program calls input(); a test may have replaced it by something of its own.
                self._student.send(self._input(answer[1]))
        except ProgramEndedError:
            self.processes += 1
            raise
        if answer[0] == "o":
            raise ProgramEndedError("output limit")
        if answer[0] == "e":
            raise self._raised(*answer[1:])
        return answer[1:]

    def value(self, question: str) -> Any:
        """The answer as a value, with stand-ins for what is not plain."""
        data, changed, printed = self.ask(question)
        if printed:
            sys.stdout.write(printed)
        self.changed = [self.decode(item) for item in changed]
        return self.decode(data)

    def decode(self, data: Any) -> Any:
        return decode(data, remote=self.remote)

    def encode(self, value: Any) -> str:
        return encode(value, other=_handle)

    def remote(self, number: int, name: str, base: str) -> Any:
        if not base:
            return Remote(self, number)
        # A class of exceptions: tests name it in assertRaises, so it must be a class here as well.
        if name not in self._exceptions:
            self._exceptions[name] = _exception(name, base)
        return self._exceptions[name]

    def _raised(self, name: str, message: str, line: "int | None", bases: Any) -> BaseException:
        base = next(
            (kind for kind in [name, *bases] if _is_exception(getattr(builtins, str(kind), None))),
            "Exception",
        )
        kind = getattr(builtins, base) if base == name else self.remote(0, name, base)
        try:
            error = kind(message)
        except TypeError:  # UnicodeDecodeError and the like want more than a message
            error = Exception(message)
        error.student = (name, message, line)
        return error

    @staticmethod
    def _input(prompt: str) -> str:
        try:
            return '["ok",' + quote(str(builtins.input(prompt))) + "]"
        except (EOFError, StopIteration):
            return '["eof"]'


def _is_exception(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)


def _exception(name: str, base: str) -> type:
    parent: Any = getattr(builtins, base, None)
    return type(name, (parent if _is_exception(parent) else Exception,), {})


def _handle(value: Any) -> str:
    if type(value) is Remote:
        number = _number(value)
        return f'{{"h":[{number},"",""]}}'
    raise TypeError(f"a {type(value).__name__} cannot be handed to the student's program")


class Remote:
    """An object of the student's program.

    Equal to another such object where the program says so, to nothing else.
    """

    __slots__ = ("_asker", "_name", "_number", "_process")

    def __init__(self, asker: Asker, number: int) -> None:
        object.__setattr__(self, "_asker", asker)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_process", asker.processes)
        object.__setattr__(self, "_name", "")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__", "__dict__"):
            raise AttributeError(name)
        return _operate(self, "getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _operate(self, "setattr", name, value)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        asker = object.__getattribute__(self, "_asker")
        number = _number(self)
        named = "".join(f",{quote(key)}:{asker.encode(value)}" for key, value in options.items())[1:]
        listed = asker.encode(list(arguments))
        result = asker.value(f'["call",{number},{listed},{{{named}}}]')
        for before, after in zip(arguments, asker.changed, strict=False):
            _update(before, after)
        return result

    def __eq__(self, other: object) -> bool:
        return type(other) is Remote and bool(_operate(self, "eq", other))

    def __hash__(self) -> int:
        return hash(_number(self))

    def __instancecheck__(self, instance: object) -> bool:
        return type(instance) is Remote and bool(_operate(instance, "isinstance", self))


def _number(remote: Remote) -> int:
    """Its number in the program's process; in a new process, what the module names is looked up again."""
    asker = object.__getattribute__(remote, "_asker")
    name = object.__getattribute__(remote, "_name")
    if object.__getattribute__(remote, "_process") != asker.processes:
        if not name:
            raise ProgramEndedError("error")
        found = asker.value(f'["name",{quote(name)}]')
        if type(found) is not Remote:
            raise ProgramEndedError("error")
        object.__setattr__(remote, "_number", object.__getattribute__(found, "_number"))
        object.__setattr__(remote, "_process", asker.processes)
    return int(object.__getattribute__(remote, "_number"))


def _operate(subject: Remote, name: str, *arguments: Any) -> Any:
    asker = object.__getattribute__(subject, "_asker")
    number = _number(subject)
    return asker.value(f'["op",{quote(name)},{number},{asker.encode(list(arguments))}]')


def _delegate(name: str) -> Any:
    return lambda self, *arguments: _operate(self, name, *arguments)


def _compare(name: str) -> Any:
    """Between the program's own objects only: its methods must not decide about plain values."""
    return lambda self, other: _operate(self, name, other) if type(other) is Remote else NotImplemented


def _arithmetic(name: str) -> Any:
    """With a plain value only where an object comes out: `vector * 3`, but not a difference that lies."""

    def operate(self: Remote, other: Any) -> Any:
        result = _operate(self, name, other)
        return result if type(other) is Remote or type(result) is Remote else NotImplemented

    return operate


def _contains(self: Remote, item: Any) -> bool:
    return any(item == mine for mine in _operate(self, "list"))


for _name in ("len", "str", "repr", "bool", "int", "float", "neg", "getitem", "setitem", "delitem", "next"):
    setattr(Remote, f"__{_name}__", _delegate(_name))
for _name in ("lt", "le", "gt", "ge"):
    setattr(Remote, f"__{_name}__", _compare(_name))
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "radd", "rsub", "rmul"):
    setattr(Remote, f"__{_name}__", _arithmetic(_name))
Remote.__iter__ = lambda self: iter(_operate(self, "list"))  # type: ignore[attr-defined]
Remote.__contains__ = _contains  # type: ignore[operator]


def _update(before: Any, after: Any) -> None:
    """A list, dict or set that the student's code changed in place is changed here as well."""
    if type(before) is not type(after) or before == after:
        return
    if type(before) is list:
        before[:] = after
    elif type(before) in (dict, set):
        before.clear()
        before.update(after)


class Program(types.ModuleType):
    """The student's program as a module, under any name; loaded when a test first uses a name of it."""

    def __init__(self, name: str, asker: Asker) -> None:
        super().__init__(name)
        self.__dict__["_asker"] = asker

    def _load(self) -> None:
        """Load the program: its functions are then known, its data until something is called."""
        asker = self.__dict__["_asker"]
        loaded = {name: asker.decode(data) for name, data in asker.ask('["load"]')[0]}
        for name, value in loaded.items():
            if type(value) is Remote:
                object.__setattr__(value, "_name", name)
        self.__dict__["__all__"] = list(loaded)
        self.__dict__["_loaded"] = loaded
        asker.calls = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        if "_loaded" not in self.__dict__:
            self._load()
        if name == "__all__":
            return self.__dict__[name]
        asker = self.__dict__["_asker"]
        value = self.__dict__["_loaded"].get(name)
        if type(value) is Remote or (value is not None and not asker.calls):
            return value
        return asker.value(f'["name",{quote(name)}]')

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            super().__setattr__(name, value)
        else:
            asker = self.__dict__["_asker"]
            asker.ask(f'["set",{quote(name)},{asker.encode(value)}]')


def serve(channel: int, seccomp: "confinement.SeccompFilter | None") -> None:
    """Confine this process, then serve the one request that will come."""
    caller = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, channel)
    confinement.die_with_parent()
    if seccomp is not None:
        seccomp.install()
    form, tests, modules, names, memory_bytes, cpu_s, max_score = marshal.loads(channels.receive(channel))
    confinement.limit_program(memory_bytes, cpu_s)
    sys.stdin = io.StringIO("")
    asker = Asker(StudentConnection(caller))
    sys.modules.update(dict.fromkeys(modules, Program("program", asker)))
    code = marshal.loads(tests)
    if form == "falcon":
        share, results = instructor.run_falcon(code, names, max_score, asker)
    else:
        share, results = instructor.run_tests(code, names)
    channels.write(channel, "d" + json.dumps(["done", share, results]))
    os._exit(0)
