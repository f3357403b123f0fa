"""What the clauses of an asserts file may use besides the student's functions: Python's own, evaluated here.

A name that is not among these is the program's, and is evaluated in the student's process. So Python's
functions stand here even where they are rare: a student's `range` must have no say in what is expected.
"""

import math
from typing import Any

ARE_OBJECTS = "_are_objects"  # a function for clauses that compare two values of the program's

NAMES: "dict[str, Any]" = {
    function.__name__: function
    for function in (
        abs, all, any, ascii, bin, bool, bytes, chr, complex, dict, divmod, enumerate, filter, float, format,
        frozenset, hex, int, isinstance, iter, len, list, map, max, min, next, oct, ord, pow, range, repr,
        reversed, round, set, slice, sorted, str, sum, tuple, type, zip,
    )
} | {"math": math, "nan": math.nan, "inf": math.inf}  # fmt: skip


def holds(code: Any, values: "list[Any]", are_objects: Any) -> bool:
    """Whether the clause is true of what the calls in it returned, which it names `_0`, `_1`, ...

    An exception makes it false: the values are not of a kind that the clause can compare.
    """
    names = {f"_{index}": value for index, value in enumerate(values)}
    try:
        return bool(eval(code, {"__builtins__": {}}, NAMES | names | {ARE_OBJECTS: are_objects}))
    except Exception:
        return False
