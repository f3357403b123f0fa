"""Whether a script may leave state behind in its process, so that its next run needs another one.

That is told from its code: which modules it imports, and what it names. To look at the interpreter itself
would touch most of the memory that a child shares with its zygote, and take as long as a new process.
"""

import sys
import types
from collections.abc import Iterator
from opcode import opmap

# Modules that keep no state of what a program does with them, unless it sets an attribute.
_STATELESS = frozenset(
    {"__future__", "abc", "array", "bisect", "cmath", "collections", "copy", "dataclasses", "datetime",
     "enum", "fractions", "functools", "heapq", "itertools", "json", "math", "numbers", "operator", "random",
     "re", "statistics", "string", "sys", "textwrap", "time", "typing"}
)  # fmt: skip
# The attributes of sys that only tell something; the streams are put right (see streams.reset).
_READ_ONLY = frozenset(
    {"byteorder", "exc_info", "exit", "float_info", "getrecursionlimit", "getrefcount", "getsizeof",
     "implementation", "int_info", "maxsize", "maxunicode", "platform", "stderr", "stdin", "stdout",
     "version", "version_info"}
)  # fmt: skip
_OF_SYS = (frozenset(dir(sys)) - _READ_ONLY) | {"close", "detach", "reconfigure"}
_SETTING = frozenset({"setattr", "delattr", "__setattr__", "__delattr__", "__dict__", "vars", "register"})
_SETS_ATTRIBUTE = frozenset({opmap["STORE_ATTR"], opmap["DELETE_ATTR"]})
_ANYTHING = frozenset({"exec", "compile", "open", "__import__", "__builtins__", "__loader__"})
_IMPORT, _LONG = opmap["IMPORT_NAME"], opmap["EXTENDED_ARG"]


def parts_of(code: types.CodeType) -> "list[types.CodeType]":
    """The code of a module, and that of the functions and classes in it."""
    parts = [code]
    for part in parts:  # which grows
        parts += [constant for constant in part.co_consts if type(constant) is types.CodeType]
    return parts


def names_in(parts: "list[types.CodeType]") -> "frozenset[str]":
    """The names of variables, attributes and modules in a program."""
    return frozenset().union(*(part.co_names for part in parts))


def leaves_state(parts: "list[types.CodeType]", names: "frozenset[str]") -> bool:
    """Whether a run of the program of these parts and names may change what its next run meets."""
    imported = {module.partition(".")[0] for part in parts for module in _imported(part)}
    if not imported <= _STATELESS or not names.isdisjoint(_ANYTHING):
        return True
    if "sys" in imported and not names.isdisjoint(_OF_SYS):
        return True
    sets_attributes = not all(_SETS_ATTRIBUTE.isdisjoint(part.co_code[::2]) for part in parts)
    return bool(imported) and (sets_attributes or not names.isdisjoint(_SETTING))


def _imported(code: types.CodeType) -> "Iterator[str]":
    instructions = code.co_code
    if _IMPORT not in instructions[::2]:
        return
    more = 0
    for at in range(0, len(instructions), 2):
        argument = instructions[at + 1] | more
        more = argument << 8 if instructions[at] == _LONG else 0
        if instructions[at] == _IMPORT:
            yield code.co_names[argument]
