"""Plain values as JSON text: how results leave the student's process, and how they are read outside.

Plain are Python's built-in values, and ranges, deques, the views of a dict, fractions and decimals. `encode`
runs where student code runs, so nothing it writes is trusted: `decode` checks every part.
"""

import json
from _json import encode_basestring_ascii as quote
from collections import deque
from itertools import islice
from typing import Any

MAX_DEPTH = 60  # nested containers; far below what would exhaust a recursive reader
MAX_CHARS = 1_000_000  # of one encoded value
MAX_ITEMS = 100_000  # that an iterator may give
_parse = json.JSONDecoder().raw_decode  # half the time of `json.loads`, which looks for blanks first
MANY_COLLISIONS = 100  # set or dict entries of one hash: more make building the set too slow


class ValueTooLargeError(Exception):
    """The value is too large, or too deeply nested, to be a result."""


class Opaque:
    """A value that is not plain data; all that is known of it is its type's name. Equal to no plain value.

    Whether two of them are equal only their program could say: to compare them raises TypeError.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name if name.isidentifier() else ""  # a program can name a class as it likes

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Opaque) and other is not self:
            raise TypeError("objects of the program's own cannot be compared")
        return False

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<{self.name} object>" if self.name else "<object>"


def are_objects(pair: Any) -> bool:
    """Whether two values of a program's, that come with what it says of them, are both no plain data."""
    return isinstance(pair[0], Opaque) and isinstance(pair[1], Opaque) and type(pair[2]) is bool


class Iterated(Opaque):
    """A value that is not plain but can be iterated over, and is of no known length unless it says one."""

    __slots__ = ("_items", "_rest")

    def __init__(self, name: str, items: "list[Any]") -> None:
        super().__init__(name)
        self._items = items
        self._rest = iter(items)

    def __iter__(self) -> Any:
        return iter(self._items)

    def __next__(self) -> Any:
        return next(self._rest)


class Sized(Iterated):
    """The same for a value that has a length."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._items)


def encode(value: Any, other: Any = None) -> str:
    """The value as JSON text.

    `other` writes what is not plain (by default its type's name). Raises ValueTooLargeError.
    """
    parts: list[str] = []
    _encode(value, parts.append, 0, other)
    text = "".join(parts)
    if len(text) > MAX_CHARS:
        raise ValueTooLargeError
    return text


def _encode(value: Any, write: Any, depth: int, other: Any) -> None:
    kind = type(value)
    if kind is str:
        if len(value) > MAX_CHARS:
            raise ValueTooLargeError
        write(quote(value))
    elif value is None:
        write("null")
    elif kind is bool:
        write("true" if value else "false")
    elif kind is int:
        # Decimal conversion of long integers is slow and limited; hexadecimal is neither.
        write(repr(value) if -(10**15) < value < 10**15 else f'{{"i":"{value:x}"}}')
    elif kind is float:
        write(float.__repr__(value).replace("inf", "Infinity").replace("nan", "NaN"))
    elif depth >= MAX_DEPTH:
        raise ValueTooLargeError
    elif kind is list:
        _encode_items("[", value, "]", write, depth, other)
    else:
        _encode_other(value, kind, write, depth, other)


def _encode_items(before: str, values: Any, after: str, write: Any, depth: int, other: Any) -> None:
    write(before)
    for index, value in enumerate(values):
        if index == MAX_CHARS:
            raise ValueTooLargeError
        if index:
            write(",")
        _encode(value, write, depth + 1, other)
    write(after)


def _encode_other(value: Any, kind: type, write: Any, depth: int, other: Any) -> None:
    if kind is tuple:
        _encode_items('{"t":[', value, "]}", write, depth, other)
    elif kind is dict:
        write('{"d":[')
        comma = ""
        for key, item in value.items():
            write(comma + "[")
            _encode(key, write, depth + 1, other)
            write(",")
            _encode(item, write, depth + 1, other)
            write("]")
            comma = ","
        write("]}")
    elif kind is set:
        _encode_items('{"s":[', value, "]}", write, depth, other)
    elif kind is frozenset:
        _encode_items('{"z":[', value, "]}", write, depth, other)
    elif kind is complex:
        write('{"c":[')
        _encode(value.real, write, depth, other)
        write(",")
        _encode(value.imag, write, depth, other)
        write("]}")
    elif kind is bytes:
        if len(value) > MAX_CHARS:
            raise ValueTooLargeError
        write(f'{{"b":"{value.hex()}"}}')
    else:
        _encode_subclass(value, kind, write, depth, other)


# A Counter is a dict, a named tuple a tuple: the plain value underneath is what counts, whatever the
# subclass says of it.
_PLAIN = (
    (int, int.__int__),
    (str, str.__str__),
    (float, float.__float__),
    (dict, lambda value: dict(dict.items(value))),
    (list, lambda value: list.__getitem__(value, slice(None))),
    (tuple, lambda value: tuple.__getitem__(value, slice(None))),
    (set, set.copy),
    (frozenset, lambda value: frozenset(frozenset.union(frozenset(), value))),
)


def _encode_subclass(value: Any, kind: type, write: Any, depth: int, other: Any) -> None:
    module = type.__dict__["__module__"].__get__(kind)
    # Before a judge, an instance of the program's own class is an object, whatever plain value it holds.
    own = module == "program" and other is not None and other is not iterated
    for base, plain in () if own else _PLAIN:
        if issubclass(kind, base):
            underneath = plain(value)
            if type(underneath) is base:
                return _encode(underneath, write, depth, other)
    if kind in _KINDS:
        return _KINDS[kind](value, write, depth, other)
    if module in _NUMBERS and type_name(kind) == _NUMBERS[module][0]:
        return write(_NUMBERS[module][1](value))
    if other is None:
        return write(opaque(value))
    return write(other(value))


def opaque(value: Any) -> str:
    """What is not plain, as its type's name."""
    return '{"o":' + quote(type_name(type(value))) + "}"


def iterated(value: Any) -> str:
    """What is not plain, as the items that it gives, where it can be iterated over and comes to an end."""
    try:
        items = list(islice(iter(value), MAX_ITEMS + 1))
    except TypeError:
        return opaque(value)
    if len(items) > MAX_ITEMS:
        return opaque(value)
    tag = "n" if hasattr(type(value), "__len__") else "y"
    return f'{{"{tag}":[' + quote(type_name(type(value))) + "," + encode(items, iterated) + "]}"


def _encode_range(value: range, write: Any, depth: int, other: Any) -> None:
    _encode_items('{"r":[', (value.start, value.stop, value.step), "]}", write, depth, other)


def _encode_deque(value: Any, write: Any, depth: int, other: Any) -> None:
    _encode_items('{"e":[', (value.maxlen, list(value)), "]}", write, depth, other)


def _encode_keys(value: Any, write: Any, depth: int, other: Any) -> None:
    _encode_items('{"k":[', value, "]}", write, depth, other)


def _encode_pairs(value: Any, write: Any, depth: int, other: Any) -> None:
    _encode_items('{"m":[', map(list, value), "]}", write, depth, other)


_KINDS = {
    range: _encode_range,
    deque: _encode_deque,
    type({}.keys()): _encode_keys,
    type({}.items()): _encode_pairs,
}


def _fraction(value: Any) -> str:
    parts = (int.__int__(value._numerator), int.__int__(value._denominator))
    return '{"f":' + encode(list(parts)) + "}"


# By the name of their module: loading them would make every fork slower. The program may lie about them, as
# about any value.
_NUMBERS = {
    "fractions": ("Fraction", _fraction),
    "decimal": ("Decimal", lambda value: '{"q":' + quote(str(value)[:MAX_CHARS]) + "}"),
}


def parse(line: bytes) -> "list[Any] | None":
    """One line of the student's process; None where it is not one of the lines it should write."""
    try:
        text = line.decode("ascii")
        message, end = _parse(text)
    except (ValueError, RecursionError):
        return None
    if end == len(text) and type(message) is list and message and type(message[0]) is str:
        return message
    return None


def type_name(kind: type) -> str:
    """The name of a class, whatever the class says of itself."""
    return str.__getitem__(type.__dict__["__name__"].__get__(kind), slice(80))


def decode(data: Any, depth: int = 0, remote: Any = None) -> Any:
    """The value that `encode` wrote, from parsed JSON; `remote` makes the stand-in for an object of the
    program.

    Raises ValueError for anything that `encode` does not write.
    """
    kind = type(data)
    if kind is str or kind is int or kind is float or kind is bool or data is None:
        return data
    if depth > MAX_DEPTH + 1:
        raise ValueError("too deeply nested")
    if kind is list:
        return [decode(item, depth + 1, remote) for item in data]
    if kind is not dict or len(data) != 1:
        raise ValueError("not an encoded value")
    ((tag, body),) = data.items()
    if tag in _FROM_TEXT:
        if type(body) is not str:
            raise ValueError("not an encoded value")
        return _FROM_TEXT[tag](body)
    if type(body) is not list:
        raise ValueError("not an encoded value")
    if tag == "h" and remote is not None and [type(part) for part in body] == [int, str, str]:
        return remote(*body)
    try:
        return _decode_container(tag, body, depth, remote)
    except TypeError:
        raise ValueError("an unhashable value in a set or as a key") from None


def _decode_container(tag: str, body: list[Any], depth: int, remote: Any) -> Any:
    if tag == "d":
        if not all(type(pair) is list and len(pair) == 2 for pair in body):
            raise ValueError("not an encoded dict")
        keys = [decode(pair[0], depth + 1, remote) for pair in body]
        _check_hashes(keys)
        return dict(zip(keys, (decode(pair[1], depth + 1, remote) for pair in body), strict=True))
    items = [decode(item, depth + 1, remote) for item in body]
    if tag == "t":
        return tuple(items)
    if tag in ("s", "z"):
        _check_hashes(items)
        return set(items) if tag == "s" else frozenset(items)
    return _decode_rare(tag, items)


def _decode_rare(tag: str, items: "list[Any]") -> Any:
    kinds = [type(item) for item in items]
    if tag == "c" and kinds == [float, float]:
        return complex(*items)
    if tag == "r" and kinds == [int, int, int]:
        return range(*items)
    if tag == "f" and kinds == [int, int] and items[1] > 0:
        from fractions import Fraction

        return Fraction(*items)
    if tag == "e" and kinds[1:] == [list] and kinds[0] in (int, type(None)):
        return deque(items[1], items[0])
    if tag in ("n", "y") and kinds == [str, list]:
        return (Sized if tag == "n" else Iterated)(*items)
    if tag == "k":
        _check_hashes(items)
        return dict.fromkeys(items).keys()
    if tag == "m" and all(kind is list and len(item) == 2 for kind, item in zip(kinds, items, strict=True)):
        _check_hashes([key for key, _ in items])
        return dict(items).items()
    raise ValueError("not an encoded value")


def _decimal(text: str) -> Any:
    from decimal import Decimal, InvalidOperation

    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError("not a decimal number") from None


_FROM_TEXT = {"i": lambda text: int(text, 16), "b": bytes.fromhex, "o": Opaque, "q": _decimal}


def _check_hashes(items: list[Any]) -> None:
    if len(items) <= MANY_COLLISIONS:
        return
    counts: dict[int, int] = {}
    for item in items:
        key = hash(item)
        counts[key] = counts.get(key, 0) + 1
    if max(counts.values()) > MANY_COLLISIONS:
        raise ValueError("too many values of one hash")
