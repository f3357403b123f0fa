"""Stand-ins for the objects of the student's program: what a judge's tests hold instead of them.

A program's own methods never see a value that a test compares its results with. Two of its objects are
compared by the program, as the test intends; an object and a plain value are unequal, whatever the program
says. `program.answer() - 12.5` may be on its way to a comparison as well, so it is carried out only where its
result is used as an object (see Pending).
"""

from typing import Any

from channel import ProgramEndedError
from operations import ARITHMETIC, REVERSED, SYMBOLS
from raising import Waiting
from values import quote
from words import name as plain_name
from words import quoted, show

MAX_REPR = 80  # characters of an object's own text in a message


class UnsupportedError(Exception):
    """The test does what a judge cannot do with the objects of a program."""


class Remote:
    """An object of the student's program.

    Equal to another such object where the program says so, to nothing else.
    """

    __slots__ = ("_asker", "_kind", "_name", "_number", "_process")

    def __init__(self, asker: Any, number: int, kind: str = "object") -> None:
        if type(number) is not int:  # Python takes a base class for a metaclass
            raise UnsupportedError("a class of the program cannot be a base class in a test file")
        object.__setattr__(self, "_asker", asker)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_process", asker.processes)
        object.__setattr__(self, "_name", "")
        object.__setattr__(self, "_kind", kind)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__", "__dict__"):
            raise AttributeError(name)
        return _operate(self, "getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _operate(self, "setattr", name, value)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        asker = object.__getattribute__(self, "_asker")
        number = number_in_process(self)
        named = "".join(f",{quote(key)}:{asker.encode(value)}" for key, value in options.items())[1:]
        listed = asker.encode(list(arguments))
        result = asker.value(f'["call",{number},{listed},{{{named}}}]')
        for before, after in zip((*arguments, *options.values()), asker.changed, strict=False):
            _update(asker, before, after)
        return result

    def __eq__(self, other: object) -> bool:
        other = carried_out(other)
        return type(other) is Remote and bool(_operate(self, "eq", other))

    def __ne__(self, other: object) -> bool:
        other = carried_out(other)
        return type(other) is not Remote or bool(_operate(self, "ne", other))

    def __hash__(self) -> int:
        return int(_operate(self, "hash"))

    def __contains__(self, item: object) -> bool:
        item = carried_out(item)
        if type(item) is Remote:
            return bool(_operate(self, "contains", item))
        return _contains(self, item)

    def __enter__(self) -> Any:
        return _operate(self, "getattr", "__enter__")()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if kind is not None:
            return False  # which the program is not told of
        return bool(_operate(self, "getattr", "__exit__")(None, None, None))

    def __instancecheck__(self, instance: object) -> bool:
        instance = carried_out(instance)
        return type(instance) is Remote and bool(_operate(instance, "isinstance", self))

    def __subclasscheck__(self, kind: object) -> bool:
        return type(kind) is Remote and bool(_operate(kind, "issubclass", self))


class Pending:
    """The result of an operation between an object of the program and a plain value.

    The value may be one that the test expects: `abs(program.answer() - 12.5) < 0.01`. So it is handed to the
    program only when the result is used as an object: by an attribute, a comparison with another object of
    the program's, a call, `str`. It is no number and not equal to a plain value, and a message shows the
    operation. With an operand that is no number, it is no container either: the length of a difference of
    sets is a comparison with the expected set.
    """

    __slots__ = ("_done", "_operation", "_other", "_result", "_subject")

    def __init__(self, operation: str, subject: Any, other: Any) -> None:
        object.__setattr__(self, "_operation", operation)
        object.__setattr__(self, "_subject", subject)
        object.__setattr__(self, "_other", other)
        object.__setattr__(self, "_done", False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__", "__dict__"):
            raise AttributeError(name)
        return getattr(carried_out(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(carried_out(self), name, value)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return carried_out(self)(*arguments, **options)

    def __eq__(self, other: object) -> bool:
        return is_object(other) and bool(carried_out(self) == carried_out(other))

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise TypeError(f"{in_words(self)} is not a truth value")

    def __str__(self) -> str:
        return str(carried_out(self))

    def __repr__(self) -> str:
        return repr(carried_out(self))

    def __format__(self, _: str) -> str:
        # A test may word its message before it compares: f"off by {answer() - 12.5}"
        return in_words(self)


def is_object(value: object) -> bool:
    """Whether it stands for an object of the program."""
    return type(value) is Remote or type(value) is Pending


def carried_out(value: Any) -> Any:
    """The value; for a pending operation, what the program makes of it."""
    if type(value) is not Pending:
        return value
    get = object.__getattribute__
    if not get(value, "_done"):
        operation, subject = get(value, "_operation"), carried_out(get(value, "_subject"))
        if type(subject) is Remote:
            result = _operate(subject, operation, get(value, "_other"))
        else:
            result = carried_out(ARITHMETIC[operation](subject, get(value, "_other")))
        object.__setattr__(value, "_result", result)
        object.__setattr__(value, "_done", True)
    return get(value, "_result")


def in_words(value: Any) -> str:
    """What is no plain value, for a message: a program's object by its kind and its own text, quoted."""
    get = object.__getattribute__
    if type(value) is Pending:
        operation = get(value, "_operation")
        sides = [shown(get(value, "_subject")), shown(get(value, "_other"))]
        if operation in REVERSED:
            operation = REVERSED[operation]
            sides.reverse()
        return f" {SYMBOLS.get(operation, operation)} ".join(sides)
    if type(value) is not Remote:
        try:
            return repr(value)
        except Exception:
            return f"<{type(value).__name__} object>"
    kind = plain_name(get(value, "_kind"), "unknown")
    try:
        text = _operate(value, "repr")
    except Exception:
        text = ""
    if type(text) is not str or not text or text.startswith("<"):
        return f"<{kind} object>"
    return f"<{kind} {quoted(text, MAX_REPR)}>"


def shown(value: Any) -> str:
    """A value as a message shows it: cut, on one line, what is the program's marked."""
    return show(value, other=in_words)


def number_in_process(remote: Remote) -> int:
    """Its number in the program's process; in a new process, what the module names is looked up again."""
    asker = object.__getattribute__(remote, "_asker")
    name = object.__getattribute__(remote, "_name")
    if object.__getattribute__(remote, "_process") != asker.processes:
        found = asker.value(f'["name",{quote(name)}]') if name else None
        if type(found) is not Remote:
            raise asker.failed(ProgramEndedError("error"))
        object.__setattr__(remote, "_number", object.__getattribute__(found, "_number"))
        object.__setattr__(remote, "_process", asker.processes)
    return int(object.__getattribute__(remote, "_number"))


def _operate(subject: Remote, name: str, *arguments: Any) -> Any:
    asker = object.__getattribute__(subject, "_asker")
    number = number_in_process(subject)
    return asker.value(f'["op",{quote(name)},{number},{asker.encode(list(arguments))}]')


def _delegate(name: str) -> Any:
    return lambda self, *arguments: _operate(self, name, *arguments)


def _compare(name: str) -> Any:
    """Between the program's own objects only: its methods must not decide about plain values."""

    def compare(self: Remote, other: Any) -> Any:
        if not is_object(other) and not Waiting.depth:
            return NotImplemented
        return _operate(self, name, carried_out(other))

    return compare


def _arithmetic(name: str) -> Any:
    """With a plain value the operation stays pending, unless the test waits for it to raise."""

    def operate(self: Any, other: Any) -> Any:
        if type(self) is Remote and type(other) is Remote:
            return _operate(self, name, other)
        pending = Pending(name, self, other)
        return carried_out(pending) if Waiting.depth else pending

    return operate


def _contains(self: Any, item: Any) -> bool:
    return any(item == mine for mine in self)


def _is_number(pending: Any) -> bool:
    """Whether all plain operands of a pending operation are numbers."""
    if type(pending) is not Pending:
        return type(pending) is Remote or isinstance(pending, int | float | complex)
    get = object.__getattribute__
    return _is_number(get(pending, "_subject")) and _is_number(get(pending, "_other"))


def _container(operate: Any) -> Any:
    """An operation of containers on what a pending operation gives."""

    def of_pending(self: Pending, *arguments: Any) -> Any:
        if not _is_number(self):
            raise TypeError(f"{in_words(self)} is not a container")
        return operate(carried_out(self), *arguments)

    return of_pending


def _order(name: str) -> Any:
    def compare(self: Pending, other: Any) -> Any:
        if not is_object(other):
            return NotImplemented
        return getattr(carried_out(self), f"__{name}__")(carried_out(other))

    return compare


for _name in ("len", "str", "repr", "bool", "int", "float", "abs", "round", "neg", "pos", "invert"):
    setattr(Remote, f"__{_name}__", _delegate(_name))
for _name in ("getitem", "setitem", "delitem", "next", "format", "delattr"):
    setattr(Remote, f"__{_name}__", _delegate(_name))
for _name in ("lt", "le", "gt", "ge"):
    setattr(Remote, f"__{_name}__", _compare(_name))
    setattr(Pending, f"__{_name}__", _order(_name))
for _name in ARITHMETIC:
    setattr(Remote, f"__{_name}__", _arithmetic(_name))
    setattr(Pending, f"__{_name}__", _arithmetic(_name))
Remote.__iter__ = lambda self: iter(_operate(self, "list"))  # type: ignore[attr-defined]
Pending.__len__ = _container(len)  # type: ignore[attr-defined]
Pending.__iter__ = _container(iter)  # type: ignore[attr-defined]
Pending.__getitem__ = _container(lambda value, key: value[key])  # type: ignore[misc]
Pending.__contains__ = _contains  # type: ignore[operator]
Remote.__doc__ = property(lambda self: _operate(self, "getattr", "__doc__"))  # type: ignore[assignment]


def _update(asker: Any, before: Any, after: Any) -> None:
    """A list, dict or set that the student's code changed in place is changed here as well."""
    kind = type(before)
    if kind not in (list, dict, set) or type(after) is not kind:
        return
    # Not by `==`, which would ask the program about its objects.
    if asker.encode(before) == asker.encode(after):
        return
    if kind is list:
        before[:] = after
    else:
        before.clear()
        before.update(after)
