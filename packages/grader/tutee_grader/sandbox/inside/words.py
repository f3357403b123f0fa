"""Text and values of a student's program as a person or a model may read them.

What a program says could pass for the grader's own words, hide characters, imitate the marks between the
turns of a chat, or name a path of this machine. Every function here takes time linear in what it is given.
"""

import os
import re
import sys
from typing import Any

MAX_SHOWN = 160  # characters of a text or value
_READ = 8  # times as many characters are looked at, for blanks and addresses that go
_MANY_BITS = 14_000  # an integer of more has too many digits to print
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{1,16}|0x[0-9a-fA-F]{9,16}")
# Where a program runs and where Python lies differ from machine to machine.
_HOME = os.path.dirname(sys.base_prefix)  # often a user's; of /usr and /opt/python nobody learns anything
_PATH = re.compile(
    rf"/(?:dev/shm|tmp|var/tmp)/tutee-scratch-\w{{1,16}}|/dev/shm\b|{re.escape(sys.base_prefix)}\b"
    + (rf"|{re.escape(_HOME)}\b" if _HOME.count("/") > 1 else "")
)
# How chat templates mark turns: `<|im_end|>`, `</s>`, `[INST]` and their like.
_MARKUP = re.compile(
    r"<(?=[|\uff5c])|<(?=/?(?:s|bos|eos|pad|unk|mask|think|tool_call|tool_response|(?:start|end)_of_turn)>)"
    r"|<(?=</?SYS>>)|\[(?=/?INST\])"
)


# How a test's process ended without an answer, after the subject of the sentence, by the words of outcomes.
ENDINGS = {
    "timeout": "did not end in time",
    "out of memory": "used too much memory",
    "output limit": "produced too much output",
    "failed": "gave a value that cannot be compared in time",
    "error": "ended early",
    "not run": "was not run",
}


_UNSUPPORTED = (
    "processes, the network, signals, links, file modes and times, and files outside the program's folder"
)
# How an exception begins that the sandbox caused: no permission (1, 13), no system call (38), no network.
_REFUSED = {
    "PermissionError": ("[Errno 1]", "[Errno 13]"),
    "OSError": ("[Errno 38]",),
    "gaierror": ("[Errno -",),
    "URLError": ("<urlopen error",),
}


def clean(text: str, limit: int = MAX_SHOWN) -> str:
    """One line of at most `limit` characters, all visible; no address, no path of this machine."""
    is_cut = len(text) > _READ * limit
    text = " ".join(text[: _READ * limit].split())
    if not text.isprintable():
        text = "".join([char if char.isprintable() else _escaped(char) for char in text])
    if "0x" in text:
        text = _ADDRESS.sub("", text)
    if "/" in text:
        text = _PATH.sub(".", text)
    if "<" in text or "[" in text:
        text = _MARKUP.sub(r"\g<0>\\", text)
    return text if len(text) <= limit and not is_cut else text[: limit - 3] + "..."


def quoted(text: str, limit: int = MAX_SHOWN) -> str:
    """The same in double quotes, as the words of somebody else; "" for nothing."""
    text = clean(text.replace('"', '\\"') if '"' in text[: _READ * limit] else text, limit)
    return f'"{text}"' if text else ""


def name(text: str, otherwise: str) -> str:
    """The name of a class or a function, `otherwise` where it is no name but a text."""
    return text[:60] if text[:80].isidentifier() else otherwise


def error_message(parts: "list[Any]") -> "tuple[str, str, int | None] | None":
    """Exception type, text (not clean yet) and line out of `[type, text, line]` of a student's process.

    None where it is no such list.
    """
    if len(parts) != 3:
        return None
    kind, text, line = parts
    if type(kind) is not str or type(text) is not str or not (line is None or type(line) is int):
        return None
    return name(kind, "Exception"), text[: _READ * MAX_SHOWN], line_number(line)


def line_number(value: Any) -> "int | None":
    """A number as the line of a program; None where it is none."""
    return value if type(value) is int and 0 < value < 10_000_000 else None


def describe(kind: str, text: str, line: "int | None") -> str:
    """`NameError on line 4: "name 'x' is not defined"`; the text is the program's.

    Where the sandbox refused what the program asked for, that is said after it: no mistake of its author's.
    """
    return _placed(kind, line, quoted(text)) + _unsupported(kind, text)


def _placed(kind: str, line: "int | None", words: str) -> str:
    return kind + (f" on line {line}" if line else "") + (f": {words}" if words else "")


def _unsupported(kind: str, text: str) -> str:
    """What the grader says of an exception that the sandbox caused, as far as its words show; else ""."""
    if kind == "RuntimeError" and text == "can't start new thread":
        return " (so many threads are not supported here)"
    return f" ({_UNSUPPORTED} are not supported here)" if text.startswith(_REFUSED.get(kind, ("\0",))) else ""


def refusal(parts: "list[Any]") -> str:
    """Why a program does not compile: Python's words, written before any of the program has run."""
    error = error_message(parts)
    if error is None:
        return "SyntaxError"
    kind, text, line = error
    return _placed(kind, line, clean(text))


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def show(value: Any, limit: int = MAX_SHOWN, other: Any = repr) -> str:
    """A value as a student would write it; sets in a fixed order. `other` writes what is not plain."""
    try:
        return clean(_Writer(_READ * limit, other).text(value), limit)
    except RecursionError:
        return "a very deep value"


def ordered_repr(value: Any) -> str:
    """`repr` with the elements of sets in a fixed order, however deep they lie."""
    return _Writer(None, repr).text(value)


class _Writer:
    """Writes a value until `limit` characters are there; all of it where that is None."""

    def __init__(self, limit: "int | None", other: Any) -> None:
        self._limit = limit
        self._other = other
        self._length = 0
        self._parts: list[str] = []

    def text(self, value: Any) -> str:
        self._write(value)
        return "".join(self._parts)

    def _put(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)

    def _is_full(self) -> bool:
        return self._limit is not None and self._length > self._limit

    def _write(self, value: Any) -> None:
        kind = type(value)
        if kind is list:
            self._items("[", value, "]")
        elif kind is tuple:
            self._items("(", value, ",)" if len(value) == 1 else ")")
        elif kind is dict:
            self._dict(value)
        elif kind is set or kind is frozenset:
            self._set(value, kind)
        elif kind is str or kind is bytes:
            self._put(repr(value if self._limit is None else value[: self._limit]))
        elif kind is int and value.bit_length() > _MANY_BITS:
            # Not `repr`, which refuses it; for a fingerprint every digit counts.
            self._put(f"{value:x}" if self._limit is None else "a very large number")
        elif value is None or kind in (bool, int, float, complex):
            self._put(repr(value))
        else:
            self._put(self._written(value))

    def _written(self, value: Any) -> str:
        try:
            return str(self._other(value))
        except ValueError:  # of an integer in it with too many digits: a fraction's, a range's, a deque's
            return f"<{type(value).__name__} object>"

    def _items(self, before: str, items: Any, after: str) -> None:
        self._put(before)
        for index, item in enumerate(items):
            if self._is_full():
                return
            if index:
                self._put(", ")
            self._write(item)
        self._put(after)

    def _dict(self, value: "dict[Any, Any]") -> None:
        self._put("{")
        for index, (key, item) in enumerate(value.items()):
            if self._is_full():
                return
            self._put(", " if index else "")
            self._write(key)
            self._put(": ")
            self._write(item)
        self._put("}")

    def _set(self, value: Any, kind: type) -> None:
        """The elements by size, where all have one; else by how they are written."""
        before, after = ("{", "}") if kind is set else ("frozenset({", "})")
        kinds = set(map(type, value))
        has_one_order = kinds <= {int, float, bool} or kinds == {str} or kinds == {bytes}
        if not value:
            self._put(repr(value))
        elif has_one_order and not any(item != item for item in value):  # as nan is
            self._items(before, sorted(value), after)
        else:
            # Each is written once, or sets in sets would be written twice as often at every level.
            texts = sorted(_Writer(self._limit, self._other).text(item) for item in value)
            self._put(before + ", ".join(texts) + after)
