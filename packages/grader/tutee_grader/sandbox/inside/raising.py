"""When a test that waits for an exception is content: `assertRaises`, `pytest.raises`."""

from typing import Any


class Waiting:
    """How many blocks that wait for an exception the test is in: `depth`.

    In one, an operation with a plain value is what is to raise: its operand is an input to the program.
    `is_judge`: exceptions of the program are known from others, as they are in a judge's process only.
    """

    depth = 0
    is_judge = False


def accepts(error: BaseException, expected: Any) -> bool:
    """Whether it is an exception that the test waits for.

    `Exception` stands for one that the program raises: not for a name that it lacks, nor for an error in the
    test's own code, which a program could bring about without raising anything.
    """
    kinds = expected if type(expected) is tuple else (expected,)
    if not Waiting.is_judge:
        return isinstance(error, kinds)
    student = getattr(error, "student", None)
    if student is not None and student[0] == "StopIteration" and StopIteration in kinds:
        return True
    special = tuple(kind for kind in kinds if kind is not Exception and kind is not BaseException)
    if isinstance(error, special):
        return True
    return student is not None and not getattr(error, "is_missing", False) and isinstance(error, kinds)
