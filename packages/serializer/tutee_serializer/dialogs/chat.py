"""The chat template of a model: dialogs as the tokens that it trains on and writes after."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Any

from tutee_grader.errors import UnavailableError
from tutee_serializer.dialogs.formats import Message
from tutee_serializer.dialogs.markup import escape

# Llama 3.1 and later write today's date into the system turn, and would train and serve with different ones.
_TODAY = "26 Jul 2024"
LONGEST_KEPT = 2000  # characters of a part whose tokens are kept
_REPLY, _ANSWER = "Sentinel three.", "Sentinel four."
_START: list[Message] = [
    {"role": "system", "content": "Sentinel one."},
    {"role": "user", "content": "Sentinel two."},
    {"role": "assistant", "content": _REPLY},
]
_THINK, _EMPTY_THOUGHT = "<think>", "<think>\n\n</think>\n\n"


class Chat:
    """Dialogs in the chat template of a tokenizer of the library transformers.

    A dialog is put together from three kinds of parts: the opening (system turn and task, up to where the
    student writes), the student's turns, and what stands between two of them. Training and generation are
    given the same parts, each turned into tokens alone, so that a turn is written after exactly the tokens
    that it was trained after, whatever the template does to earlier turns. A model that thinks is given an
    empty thought before every turn of the student, as published (Koutcheme et al., arXiv 2604.10720), in
    earlier turns too.

    `end` is the token that ends a student's turn, in training and in generation. Raises UnavailableError
    where the template cannot be used so, with what it writes.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._name = tokenizer.name_or_path or type(tokenizer).__name__
        self._special: list[str] = []
        if not tokenizer.chat_template:
            raise self._unusable("it has none; choose the instruction-tuned variant of the model")
        self._merges_system = self._merges_users = False
        no_system = not self._accepts("system", "user", "assistant", "user")
        self._merges_users = not self._accepts("user", "assistant", "user", "user")
        self._merges_system = no_system
        added = tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special}
        self._special = sorted(token for token in special if escape(token) == token)
        self.end, self._end_text = self._find_end()
        self._rendered = lru_cache(maxsize=1 << 12)(self._render_between)
        self._known = lru_cache(maxsize=1 << 14)(self.tokens)
        self._check()

    def encode(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """The tokens of a dialog, and for each the number of the student's turn that it is part of.

        Turns are counted from 1, each with its end; 0 are the tokens that the student does not write.
        """
        ids: list[int] = []
        turns: list[int] = []
        written = 0
        for text, is_student in self._parts(messages):
            part = self._encode(text)
            written += is_student
            ids += part
            turns += [written if is_student else 0] * len(part)
        return ids, turns

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens after which the student's next turn comes; `messages` end with a user's turn."""
        return self.encode(messages)[0]

    def reply(self, content: str) -> list[int]:
        """The tokens of a student's turn, with its end."""
        return list(self._encode(self._neutral(content) + self._end_text))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of a student's turn, without the token that ends it."""
        written = tokens[:-1] if tokens[-1] == self.end else tokens
        return str(self.tokenizer.decode(written, clean_up_tokenization_spaces=False))

    def text(self, messages: Sequence[Message]) -> str:
        """The dialog as the model reads it."""
        return "".join(text for text, _ in self._parts(messages))

    def tokens(self, text: str) -> tuple[int, ...]:
        """The tokens of a text alone."""
        return tuple(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _encode(self, text: str) -> tuple[int, ...]:
        """The tokens of a part; those of long ones are not kept, or a few thousand would fill the memory."""
        return self._known(text) if len(text) <= LONGEST_KEPT else self.tokens(text)

    @cached_property
    def markup(self) -> int:
        """The most tokens that the template adds to a turn."""
        reply = len(self.reply("x")) - 1
        answer = self._length_between("x")
        return max(-(-(reply + answer) // 2), self._length_between("x", "x") - answer)

    @cached_property
    def preamble(self) -> int:
        """The tokens that the template adds to a dialog besides the markup of its turns."""
        opened = self.prompt([{"role": "system", "content": "x"}, {"role": "user", "content": "x"}])
        return max(0, len(opened) - 2 * len(self.tokens("x")) - 2 * self.markup)

    def _length_between(self, *users: str) -> int:
        return len(self._encode(self._between(users))) - sum(len(self.tokens(user)) for user in users)

    def _parts(self, messages: Sequence[Message]) -> Iterator[tuple[str, bool]]:
        """The parts of a dialog, and whether the student writes them."""
        opened = False
        turns = groupby(messages, key=lambda message: message["role"] == "assistant")
        for is_student, run in turns:
            if is_student:
                for message in run:
                    yield self._neutral(message["content"]) + self._end_text, True
            elif opened:
                yield self._between(tuple(message["content"] for message in run)), False
            else:
                yield self._render(list(run), opens=True), False
                opened = True

    def _between(self, users: tuple[str, ...]) -> str:
        """What stands between two of the student's turns; long ones are not kept, either."""
        kept = sum(map(len, users)) <= LONGEST_KEPT
        return (self._rendered if kept else self._render_between)(users)

    def _render_between(self, users: tuple[str, ...]) -> str:
        """What stands between the end of a student's turn and the beginning of the next."""
        answers = [{"role": "user", "content": user} for user in users]
        text = self._render([*_START, *answers], opens=True)
        return text[text.rindex(_REPLY + self._end_text) + len(_REPLY + self._end_text) :]

    def _render(self, messages: Sequence[Message], opens: bool) -> str:
        """The template's text; where it `opens` a student's turn, with an empty thought if it thinks."""
        text: str = self.tokenizer.apply_chat_template(
            self._admissible(messages),
            tokenize=False,
            add_generation_prompt=opens,
            enable_thinking=False,
            date_string=_TODAY,
        )
        if opens and text.rstrip().endswith(_THINK):
            text = text.rstrip().removesuffix(_THINK) + _EMPTY_THOUGHT
        return text

    def _admissible(self, messages: Iterable[Message]) -> list[Message]:
        """The messages in the roles that the template accepts, with no special token in them.

        Where it has no system role, the system turn begins the task; where roles must alternate, a user's
        turns in a row are one.
        """
        kept: list[Message] = []
        for message in messages:
            role, content = message["role"], self._neutral(message["content"])
            if role == "system" and self._merges_system:
                role = "user"
            joins = kept and kept[-1]["role"] == role == "user"
            if joins and (self._merges_users or (self._merges_system and len(kept) == 1)):
                kept[-1] = {"role": role, "content": f"{kept[-1]['content']}\n\n{content}"}
            else:
                kept.append({"role": role, "content": content})
        return kept

    def _neutral(self, content: str) -> str:
        """`content` in which no string is a special token of this tokenizer."""
        for token in self._special:
            if token in content:
                content = content.replace(token, f"{token[0]}\\{token[1:]}")
        return content

    def _accepts(self, *roles: str) -> bool:
        """Whether the template writes turns of these roles in this order."""
        from jinja2.exceptions import TemplateError

        turns = [{"role": role, "content": f"Turn {number}."} for number, role in enumerate(roles)]
        try:
            text = self._render(turns, opens=True)
        except TemplateError:
            return False
        return all(turn["content"] in text for turn in turns)

    def _find_end(self) -> tuple[int, str]:
        """The token that ends a student's turn, and its text."""
        text = self._render([*_START, {"role": "user", "content": _ANSWER}], opens=True)
        if _REPLY not in text or _ANSWER not in text:
            raise self._unusable(f"it leaves turns out: {text!r}")
        after = text[text.rindex(_REPLY) + len(_REPLY) :]
        first = self.tokens(after)[0]
        added = self.tokenizer.added_tokens_decoder
        if first not in added:
            raise self._unusable(
                f"it ends a turn with {after[: after.index(_ANSWER)]!r}, which begins with no special token, "
                f"and generation would wait for {self.tokenizer.eos_token!r}; use a model whose template "
                "ends turns with a token of their own"
            )
        return first, added[first].content

    def _check(self) -> None:
        """Raises UnavailableError where a dialog's parts are not what the template writes.

        Compares texts, but for thoughts; and the tokens of the whole text with those of the parts.
        """
        dialog = [*_START, {"role": "user", "content": _ANSWER}, {"role": "assistant", "content": _REPLY}]
        dialog = [*dialog, {"role": "user", "content": _ANSWER}]
        own, made = self._render(dialog, opens=True), self.text(dialog)
        if _without_thoughts(own) != _without_thoughts(made):
            raise self._unusable(
                f"it writes earlier turns in another way than the last: {own!r}, not {made!r}"
            )
        if self.tokens(made) != tuple(self.prompt(dialog)):
            raise self._unusable(f"its tokenizer joins what the template writes with the turn in {made!r}")

    def _unusable(self, reason: str) -> UnavailableError:
        return UnavailableError(f"{self._name}: the chat template cannot be used: {reason}")


def _without_thoughts(text: str) -> str:
    """The text without empty thoughts and without blanks."""
    return "".join(re.sub(r"<think>\s*</think>", "", text).split())
