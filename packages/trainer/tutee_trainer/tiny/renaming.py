"""Dialogs with other variable names, so that a small model copies names instead of guessing them."""

import builtins
import keyword
import random
import re
from collections.abc import Mapping, Sequence

from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import Message

# What a novice's program binds: targets of =, loops and with, parameters.
_BINDINGS = re.compile(r"\b([A-Za-z_]\w*)\s*(?:[-+*/%]|//|\*\*)?=(?!=)|\b(?:for|as)\s+([A-Za-z_]\w*)\b")
_PARAMETERS = re.compile(r"\bdef\s+\w+\s*\(([^()\n]*)\)")
_WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_QUOTED = re.compile(r"(?<=')[A-Za-z_]\w*(?=')")
_KEPT = frozenset(keyword.kwlist) | frozenset(dir(builtins)) | {"self"}


class Renaming:
    """Gives the variables of a dialog the names of other students' variables."""

    def __init__(self, dialogs: Sequence[Dialog], seed: int) -> None:
        self._random = random.Random(seed)
        programs = {turn.program for dialog in dialogs for turn in dialog.turns()}
        self._names = sorted(set().union(*(bound_names(program) for program in programs)))

    def __call__(self, messages: Sequence[Message]) -> list[Message]:
        """The dialog with names drawn from those in all dialogs; each call draws anew."""
        text = "\n".join(message["content"] for message in messages[2:])
        old = sorted(bound_names(text.replace("<|", "\n<|")))
        new = self._random.sample(self._names, min(len(old), len(self._names)))
        return rename(messages, dict(zip(old, new, strict=False)))


def bound_names(code: str) -> set[str]:
    """The variables and parameters of a program, by patterns: half of novices' programs do not parse."""
    names = {name for pair in _BINDINGS.findall(code) for name in pair if name}
    for parameters in _PARAMETERS.findall(code):
        names |= {part.split("=")[0].split(":")[0].strip(" *") for part in parameters.split(",")}
    return {name for name in names if name.isidentifier()} - _KEPT


def rename(messages: Sequence[Message], names: Mapping[str, str]) -> list[Message]:
    """The dialog with other variable names: in programs, and where the feedback quotes them."""

    def other(match: re.Match[str]) -> str:
        return names.get(match[0], match[0])

    renamed = list(messages[:1])
    for message in messages[1:]:
        content = message["content"]
        start = 0 if message["role"] == "assistant" else content.find("<|1|>")
        if start >= 0:
            feedback, code = _QUOTED.sub(other, content[:start]), _WORD.sub(other, content[start:])
            message = {**message, "content": feedback + code}
        renamed.append(message)
    return renamed
