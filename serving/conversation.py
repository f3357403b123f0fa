"""A chat as a dialog: the tutor is the user, the student the assistant.

The messages hold whole programs as plain text, whatever the student's format. Or they are a dialog as the
student was trained on: then the system message is that of the student's format, and the answer is in that
format, too. So the evaluator's engine `openai` reads and writes what its engine `transformers` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.chat_payloads import ChatMessage
from serving.errors import invalid_value
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import TASK, read_turn, system_turn
from tutee_serializer.errors import TurnError

SYSTEM = ("system", "developer")


@dataclass(frozen=True)
class Conversation:
    """A dialog that ends before the student's turn; `as_trained`: the answer is a turn as it is written."""

    dialog: Dialog
    as_trained: bool


def read_conversation(card: StudentCard, messages: Sequence[ChatMessage]) -> Conversation:
    """The dialog of a chat.

    Several messages of one side in a row are one; an assistant's without content is none. Raises ApiError
    where there is no task, the last word is not the tutor's, or a turn cannot be read.
    """
    system = [message.text or "" for message in messages if message.role in SYSTEM]
    turns = _turns(messages)
    if not turns or turns[0][0] != "user":
        raise invalid_value(
            "the first message, after system messages, must be the task (role user)", "messages.0.role"
        )
    if turns[-1][0] != "user":
        raise invalid_value(
            "the last message must be the tutor's (role user): the task, or feedback on the last program",
            "messages",
        )
    if system == [system_turn(card.format)] and turns[0][1].startswith(TASK):
        return Conversation(_as_trained(card, turns), as_trained=True)
    (_, task), *rest = turns
    dialog = Dialog.start(card.format, card.feedback, task, "\n\n".join(system) if system else None)
    for (_, program), (_, feedback) in zip(rest[::2], rest[1::2], strict=True):
        dialog.append(program, feedback)
    return Conversation(dialog, as_trained=False)


def _turns(messages: Sequence[ChatMessage]) -> list[tuple[str, str]]:
    """Role and text of the turns, which alternate."""
    turns: list[tuple[str, str]] = []
    for message in messages:
        text = message.text
        if message.role in SYSTEM or text is None:
            continue
        if turns and turns[-1][0] == message.role:
            if message.role == "assistant":  # handed in twice before anybody said anything
                turns.append(("user", ""))
            else:
                text = f"{turns.pop()[1]}\n\n{text}"
        turns.append((message.role, text))
    return turns


def _as_trained(card: StudentCard, turns: Sequence[tuple[str, str]]) -> Dialog:
    """The dialog of turns that are written as in training; raises ApiError where one holds no program."""
    messages = [{"role": "system", "content": system_turn(card.format)}]
    # Not escaped again: what is a special token of the student's tokenizer is taken for text in any case.
    messages += [{"role": role, "content": text} for role, text in turns]
    dialog = Dialog(card.format, card.feedback, messages)
    previous: str | None = None
    for at, message in enumerate(messages):
        if message["role"] == "assistant":
            try:
                previous = read_turn(card.format, previous, message["content"])
            except TurnError as error:
                raise invalid_value(f"the turn holds no program: {error}", f"messages.{at}") from error
        elif message["content"].startswith(TASK):
            previous = None
    return dialog
