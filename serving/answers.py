"""A student's turn as a chat's answer: whole, or piece by piece while it is written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serving.chat_payloads import Logprobs, TokenLogprob
from serving.conversation import Conversation
from tutee_evaluator.engines import Completion
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.fences import PYTHON
from tutee_serializer.dialogs.formats import Format
from tutee_serializer.dialogs.markup import unescape

_OPENING = f"```{PYTHON}\n"
# Markup that is escaped has a backslash behind the bracket, which goes once all of it is there.
_ESCAPE_BEGUN = re.compile(r"[<\[](?:\\+.{0,20})?\Z")


@dataclass(frozen=True)
class Answer:
    """The content of an answer, or why there is none, and how it ended."""

    content: str | None
    refusal: str | None
    finish_reason: Literal["stop", "length"]


def answer(conversation: Conversation, completion: Completion, stops: Sequence[str]) -> Answer:
    """What a chat is answered with a student's turn, up to the first of `stops`."""
    finish = completion.finish_reason
    content = completion.content if conversation.as_trained else completion.program
    if content is None and finish == "length":
        content = shown_so_far(conversation, completion.content, ended=True)
    if content is None:
        reason = completion.reason or "it is no program"
        return Answer(None, f"the student's turn holds no program: {reason}", finish)
    cut = cut_at(content, stops)
    return Answer(cut, None, finish if cut == content else "stop")


def shown_so_far(conversation: Conversation, text: str, ended: bool = False) -> str | None:
    """What can be shown of a turn of which `text` is written: the beginning of the content of its answer.

    None where nothing can: a program that is written as edits is known at its end. Unless it has `ended`,
    what may still turn out to be the end of the block is held back.
    """
    if conversation.as_trained:
        return text
    if conversation.dialog.format != Format.CODE or not text.startswith(_OPENING):
        return None
    body = text.removeprefix(_OPENING)
    if not ended:
        last_line = body.rpartition("\n")[2]
        if not last_line.strip("`"):  # empty, or a fence that has begun: the line end before it may go, too
            body = body[: len(body) - len(last_line)].removesuffix("\n")
        body = _ESCAPE_BEGUN.sub("", body)
    return unescape(body)


def cut_at(content: str, stops: Sequence[str]) -> str:
    """The content before the first of the texts `stops`."""
    places = [place for stop in stops if (place := content.find(stop)) >= 0]
    return content[: min(places)] if places else content


def logprobs(chat: Chat, completion: Completion) -> Logprobs:
    """The tokens of a turn with their log-probabilities."""
    content = []
    for token, likely in completion.tokens:
        text = chat.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        content.append(TokenLogprob(token=text, logprob=likely, bytes=list(text.encode())))
    return Logprobs(content=content)
