"""What an attack is: a hostile program, and the verdict that it must get."""

from dataclasses import dataclass
from typing import Literal

from tutee_grader.verdict import Outcome

# `tolerant` is stdio with every leniency.
Form = Literal["calls", "asserts", "stdio", "tolerant", "unittest", "falcon"]
SYSCALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
"""


@dataclass(frozen=True, slots=True)
class Attack:
    """A program, and the verdict it must get: `grade`, and the outcome of its first test where that is certain.

    `in_folder`: that outcome where the scratch is a plain folder, if it is another there.
    """

    name: str
    program: str
    form: Form = "calls"
    outcome: Outcome | None = None
    grade: float = 0.0
    in_folder: Outcome | None = None
