"""Reads programs of students and of models, whatever is in them."""

import ast
import warnings


def parse(program: str) -> ast.Module | None:
    """The syntax tree; None where the program is not Python, or too deep to be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\\d" in a student's text is no matter here
            return ast.parse(program)
    # A NUL byte or a number too long to read is a ValueError; the last two are nesting too deep.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
