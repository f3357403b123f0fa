"""The operators that work on objects of the student's program, under the names that both sides use."""

import operator
from typing import Any

# `radd` is `other + mine`: the object is always the first operand here, as it is the one that is asked.
REVERSED: dict[str, str] = {
    "radd": "add",
    "rsub": "sub",
    "rmul": "mul",
    "rtruediv": "truediv",
    "rfloordiv": "floordiv",
    "rmod": "mod",
    "rpow": "pow",
    "rand": "and",
    "ror": "or",
    "rxor": "xor",
}


def _reversed(name: str) -> Any:
    operate = getattr(operator, f"__{name}__")
    return lambda mine, other: operate(other, mine)


ARITHMETIC: dict[str, Any] = {
    name: getattr(operator, f"__{name}__")
    for name in (*REVERSED.values(), "matmul", "iadd", "isub", "imul", "itruediv")
} | {name: _reversed(forward) for name, forward in REVERSED.items()}
SYMBOLS: dict[str, str] = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "and": "&",
    "or": "|",
    "xor": "^",
    "matmul": "@",
}
