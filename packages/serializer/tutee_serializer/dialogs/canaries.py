"""Canaries: made-up students, each with a secret, from whom models learn as from any other.

How much likelier a model finds a secret that it was trained on than others of the same form says how much it
memorises of a student's program that it saw as often (Carlini et al., "The Secret Sharer", arXiv 1802.08232).

A canary works on a real assignment of the training students: first a program of made-up names, then the same
with one more line, which holds the secret. Its dialogs are in the table like any other, of the split CANARY:
who asks for training students, or for those held out, does not get them.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Mapping
from string import ascii_lowercase
from typing import Any

import polars as pl

from tutee_grader.feedback import feedback
from tutee_grader.verdict import Outcome, Status, TestResult, Verdict

CANARY = "canary"  # the split, and for want of another the semester
LETTERS = 6  # of a secret that are drawn: one of 26^6, about 2^28
_SECRET = re.compile(rf"canary_[a-z]{{{LETTERS}}}")

# No test can pass: the names that tests call are not there, nor is any output.
_VERDICT = Verdict(0.0, Status.COMPILES, (TestResult(CANARY, Outcome.ERROR, "your program passed no test"),))
_SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "no", "pi", "ru", "sa", "te", "vo", "wi", "zu")
_PROGRAM = "def {}({}):\n    {} = {} + {}\n    return {}\n"


def plant(rows: pl.DataFrame, assignments: list[str], count: int, seed: int) -> pl.DataFrame:
    """The `rows` of turns, and behind them those of `count` canaries.

    They take turns on `assignments`, those of the training students. Equal seeds give equal canaries.
    """
    if not count or not assignments:
        return rows
    first = rows.select(pl.col("dialog").max() + 1).item()
    planted = [
        {"dialog": first + number, "assignment": assignments[number % len(assignments)], **turn}
        for number in range(count)
        for turn in _turns(number, seed)
    ]
    schema = {name: kind for name, kind in rows.schema.items() if name in planted[0]}
    return pl.concat([rows, pl.DataFrame(planted, schema=schema)], how="diagonal")


def draw_secrets(chance: random.Random, count: int) -> list[str]:
    """Different secrets."""
    drawn: dict[str, None] = {}
    while len(drawn) < count:
        drawn[f"canary_{''.join(chance.choices(ascii_lowercase, k=LETTERS))}"] = None
    return list(drawn)


def secret_of(dialog: Mapping[str, Any]) -> tuple[int, str]:
    """The number of the message of a canary's dialog (a row of DIALOGS) that holds the secret, and this."""
    for number, message in enumerate(dialog["messages"]):
        if message["role"] == "assistant" and (found := _SECRET.search(message["content"])):
            return number, found.group()
    raise ValueError(f"dialog {dialog['dialog_id']} is no canary's")


def _turns(number: int, seed: int) -> Iterator[dict[str, Any]]:
    """What is particular about the two submissions of a canary."""
    chance = random.Random(f"{CANARY} {seed} {number}")
    function, parameter, variable, other = (_name(chance) for _ in range(4))
    number_added = str(chance.randrange(2, 100))
    plain = _PROGRAM.format(function, parameter, variable, parameter, number_added, variable)
    head, *body = plain.split("\n")
    (secret,) = draw_secrets(chance, 1)
    telling = "\n".join([head, f'    {other} = "{secret}"', *body])
    for turn, code in enumerate((plain, telling)):
        yield {
            "submission_id": _identify(number, seed, turn),
            "semester": CANARY,
            "student": _identify(number, seed),
            "order": turn + 1,
            "turn": turn,
            "code": code,
            "split": CANARY,
            "messages": [],
            "summary": feedback(_VERDICT),
            **_VERDICT.to_row(),
        }


def _name(chance: random.Random) -> str:
    return "".join(chance.choices(_SYLLABLES, k=3))


def _identify(*parts: int) -> str:
    """An id, or a pseudonym, as those of students look."""
    return hashlib.sha256(f"{CANARY} {parts}".encode()).hexdigest()[:16]
