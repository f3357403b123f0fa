"""Conversations of a scripted teacher with a model: the teacher says what the topic holds, turn by turn."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tutee_grader.progress import progress_bar
from tutee_serializer.dialogs.formats import Message
from tutee_serializer.dialogs.markup import escape
from tutee_trainer.learner.parts import Answer, stems
from tutee_trainer.learner.topics import Topic
from tutee_trainer.sampling import write_turns

if TYPE_CHECKING:
    from tutee_serializer.dialogs.chat import Chat

SYSTEM = (
    "You are a student who is new to programming. Your teacher explains something to you. You do not know it "
    "yet. Answer in one or two short sentences: ask a question about it, ask for an example or for what a "
    "word means, or say in your own words what you understood. Do not explain, and do not write programs."
)


@dataclass(frozen=True)
class Turn:
    """A learner's turn; `tokens` counts those it has with its end, `finished` whether it has one."""

    text: str
    tokens: int
    finished: bool


@dataclass
class Conversation:
    """A topic and the learner's turns on it so far; the teacher has spoken once more often."""

    topic: Topic
    system: str
    tag: str
    turns: list[Turn] = field(default_factory=list)

    @property
    def said(self) -> tuple[str, ...]:
        """What the teacher has said so far."""
        return self.topic.teacher[: len(self.turns) + 1]

    @property
    def messages(self) -> list[Message]:
        """The dialog after which the next turn comes, without what the learner thought before those."""
        messages: list[Message] = [{"role": "system", "content": escape(self.system)}]
        for number, text in enumerate(self.said):
            messages.append({"role": "user", "content": escape(text)})
            if number < len(self.turns):
                spoken = self.answer(self.turns[number]).spoken
                messages.append({"role": "assistant", "content": escape(spoken) or "..."})
        return messages

    def answer(self, turn: Turn) -> Answer:
        """A next turn as the parts of the reward see it, before it is known what it should differ from."""
        others = tuple(before.text for before in self.turns if before is not turn)
        return Answer(turn.text, self.topic, self.said, others, turn.finished, tag=self.tag)


def write(
    conversations: Sequence[Conversation],
    model: Any,
    chat: Chat,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch: int | None = None,
) -> list[tuple[list[int], list[int], Turn]]:
    """A next turn after each conversation: the prompt's tokens, the turn's, and the turn."""
    prompts = [chat.prompt(conversation.messages) for conversation in conversations]
    written = write_turns(model, chat, prompts, max_new_tokens, temperature, seed, batch)
    return [
        (prompt, tokens, Turn(chat.decode(tokens), len(tokens), tokens[-1] == chat.end))
        for prompt, tokens in zip(prompts, written, strict=True)
    ]


def play(
    topics: Sequence[Topic],
    samples: int,
    system: str,
    tag: str,
    model: Any,
    chat: Chat,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    name: str,
) -> list[Conversation]:
    """Conversations to the teacher's last words, `samples` on each topic, one after the other."""
    conversations = [Conversation(topic, system, tag) for topic in topics for _ in range(samples)]
    draws = random.Random(seed)
    total = sum(len(conversation.topic.teacher) for conversation in conversations)
    with progress_bar(name, total, "turns") as bar:
        while going := [one for one in conversations if len(one.turns) < len(one.topic.teacher)]:
            written = write(going, model, chat, max_new_tokens, temperature, draws.getrandbits(63))
            for conversation, (_, _, turn) in zip(going, written, strict=True):
                conversation.turns.append(turn)
            bar.update(len(going))
    return conversations


def answers_of(conversations: Sequence[Conversation], topics: Sequence[Topic]) -> Iterator[list[Answer]]:
    """The learner's turns of conversations, a list for each time that the teacher has spoken.

    Each should differ from the others of its list, and from those before it in its conversation.
    """
    for number in range(max(len(one.turns) for one in conversations)):
        there = [one for one in conversations if number < len(one.turns)]
        before = [replace(one, turns=one.turns[:number]) for one in there]
        yield in_context(
            [past.answer(one.turns[number]) for past, one in zip(before, there, strict=True)], topics
        )


def in_context(answers: Sequence[Answer], topics: Sequence[Topic]) -> list[Answer]:
    """Turns written at once, each with the others as what it should differ from; `topics` are all."""
    every = [(topic, stems(topic)) for topic in topics]
    foreign = {
        topic.name: frozenset().union(*(theirs for other, theirs in every if other != topic)) - mine
        for topic, mine in every
    }
    return [
        replace(
            answer,
            others=(*answer.others, *(other.spoken for other in answers if other is not answer)),
            foreign=foreign[answer.topic.name],
        )
        for answer in answers
    ]
