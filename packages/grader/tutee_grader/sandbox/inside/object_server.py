"""The student's process of a program that a judge grades: it answers questions about the program's objects.

Questions: ["load"] ["name", n] ["set", n, value] ["delete", n] ["call", object, arguments, options] ["op",
operation, object, arguments] ["script", stdin] ["compiles"]. Answers: ["r", ...], ["e", type, message,
line, bases], ["o"] for a result too large, ["i", prompt] when the program calls input(), which is then
answered by ["ok", text] or ["raise", type]. A script's answer ends with whether it may leave
state behind.
"""

import builtins
import json
import operator
import sys
import types
from typing import Any

import channel as channels
import streams
from exceptions import describe
from operations import ARITHMETIC
from program_module import new_module
from scripts import Script
from values import ValueTooLargeError, decode, encode, quote, type_name

_FUNCTIONS = (
    abs, len, str, repr, bool, int, float, round, list, next, hash, format, getattr, setattr, delattr,
    isinstance, issubclass,
)  # fmt: skip
_OPERATORS = (
    "eq", "ne", "lt", "le", "gt", "ge", "neg", "pos", "invert", "contains", "getitem", "setitem", "delitem",
)  # fmt: skip
OPERATIONS: dict[str, Any] = (
    ARITHMETIC
    | {name: getattr(operator, name) for name in _OPERATORS}
    | {function.__name__: function for function in _FUNCTIONS}
)
MAX_LOADED = 1000  # characters or elements of data that is sent as soon as the program is loaded


class ObjectServer:
    """Holds the objects of the program that the judge refers to, numbered in the order of their first use."""

    def __init__(self, code: types.CodeType, output_bytes: int, channel: int) -> None:
        self._code = code
        self._output_bytes = output_bytes
        self._channel = channel
        self._script: Script | None = None
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._module: types.ModuleType | None = None
        self._out = streams.Output()  # until something runs

    def serve(self) -> None:
        while True:
            channels.write(self._channel, self.reply(channels.receive(self._channel)))

    def reply(self, question: bytes) -> str:
        """The answer to one question, as it goes over the channel."""
        try:
            return self._answer(*json.loads(question))
        except ValueTooLargeError:
            return '["o"]'
        except BaseException as error:
            return '["o"]' if self._out.full else self._raised(error)

    def _raised(self, error: BaseException) -> str:
        bases = [type_name(kind) for kind in type(error).__mro__[1:-1]]
        return '["e",' + describe(error) + "," + json.dumps(bases) + "]"

    def _answer(self, kind: str, *parts: Any) -> str:
        if kind == "compiles":
            return '["r",true]'
        if kind == "script":
            self._script = self._script or Script(self._code, self._output_bytes)
            printed, error = self._script.run(parts[0].encode("utf-8", "replace"))
            if printed is None:
                return '["o"]'
            text = printed.decode("utf-8", "replace")
            ended_by = "null" if error is None else f"[{error}]"
            leaves_state = "true" if self._script.leaves_state else "false"
            return f'["r",{quote(text)},{ended_by},{leaves_state}]'
        namespace = self._load().__dict__
        if kind == "load":
            public = [(name, value) for name, value in namespace.items() if not name.startswith("_")]
            return (
                '["r",['
                + ",".join([f"[{quote(name)},{self._encode_loaded(value)}]" for name, value in public])
                + "]]"
            )
        if kind == "set":
            namespace[parts[0]] = self._decode(parts[1])
            return '["r"]'
        if kind == "delete":
            namespace.pop(parts[0], None)
            return '["r"]'
        before = self._out.tell()
        value, changed = self._value(kind, parts, namespace)
        written = self._encode_or_keep(value) if kind == "name" else self._encode(value)
        line = '["r",' + written + ",[" + ",".join([self._encode(item) for item in changed]) + "],"
        sys.stdout.flush()
        text = self._out.getvalue()[before:].decode("utf-8", "replace")
        return line + quote(text) + "]"

    def _value(self, kind: str, parts: tuple[Any, ...], namespace: dict[str, Any]) -> tuple[Any, list[Any]]:
        if kind == "name":
            if parts[0] not in namespace:
                raise AttributeError(f"the program defines no {parts[0]!r}")
            return namespace[parts[0]], []
        if kind == "op":
            return OPERATIONS[parts[0]](self._objects[parts[1]], *self._decode(parts[2])), []
        arguments = self._decode(parts[1])
        options = {key: self._decode(value) for key, value in parts[2].items()}
        value = self._objects[parts[0]](*arguments, **options)
        # What the program did to a list it was given must be done to the judge's list as well.
        return value, [*arguments, *options.values()]

    def _load(self) -> types.ModuleType:
        if self._module is None:
            module = new_module("program", "__main__")
            self._out = streams.redirect(self._output_bytes)
            builtins.input = self._input
            exec(self._code, module.__dict__)
            self._module = module
        return self._module

    def _input(self, prompt: object = "") -> str:
        channels.write(self._channel, '["i",' + quote(str(prompt)[:200]) + "]")
        kind, text = json.loads(channels.receive(self._channel))
        if kind == "raise":
            error = getattr(builtins, text, Exception)
            raise error("EOF when reading a line") if error is EOFError else error
        return str(text)

    def _encode(self, value: Any) -> str:
        return encode(value, other=self._handle)

    def _encode_loaded(self, value: Any) -> str:
        """A value of the module; None for large data, so that the judge asks for it at its first use."""
        if type(value) in (str, bytes, list, tuple, dict, set) and len(value) > MAX_LOADED:
            return "null"
        return self._encode_or_keep(value)

    def _encode_or_keep(self, value: Any) -> str:
        """A value, or what stands for it where it is too large: a test may import it and not look at it."""
        try:
            return self._encode(value)
        except ValueTooLargeError:
            return self._handle(value)

    def _decode(self, data: Any) -> Any:
        return decode(data, remote=lambda number, name, base: self._objects[number])

    def _handle(self, value: Any) -> str:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)  # which also keeps its id from being used again
        bases = ""
        if isinstance(value, type) and issubclass(value, Exception):
            bases = " ".join(type_name(kind) for kind in (*value.__mro__[1:-1], Exception))
        name = type_name(value) if isinstance(value, type) else type_name(type(value))
        return f'{{"h":[{number},{quote(name)},{quote(bases)}]}}'
