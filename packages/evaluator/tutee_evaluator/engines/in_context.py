"""The baseline that prompts a model, with examples or without, where a student is trained."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Protocol, runtime_checkable

import polars as pl

from tutee_evaluator.engines import Completion, Engine, LanguageModel, Request
from tutee_grader.errors import InputError
from tutee_serializer.dialogs.dialog import Dialog, opens_task
from tutee_serializer.dialogs.formats import Message, write_turn

# Follows the system turn of the dialog's format, which says how a program is written.
INSTRUCTIONS = (
    "Play one particular student of this course. The dialog is this student's work so far: a task, what the "
    "student handed in, and the grader's feedback on it. Write what this student hands in next, not what "
    "would be right: change as much or as little as this student would, in this student's style, and with "
    "the errors that this student would make. Answer with one code block and with nothing else."
)


@runtime_checkable
class _KnowsLength(Protocol):
    """An engine that knows how much it reads."""

    def fits(self, dialog: Dialog) -> bool: ...


@dataclass(frozen=True)
class _Example:
    """A student's work on a task, as text."""

    student: str
    task: str
    text: str


class InContext:
    """An engine that asks `engine`, any engine with a model, to play the student, in words: the ICL baseline.

    It writes INSTRUCTIONS into the system turn, and after them up to `examples` other students' work from the
    training dialogs in `dialogs` (DIALOGS): of the same task where there is any, each its last `turns` turns.
    Which ones depends on `seed` and the dialog, so that all rollouts from it begin alike. The examples have
    `max_characters` together. An engine that knows how much it reads is given only as many as let it read the
    whole dialog, since it would leave the student's own turns out first. Raises InputError where there are no
    training dialogs for examples.
    """

    def __init__(
        self,
        engine: Engine,
        dialogs: pl.DataFrame,
        *,
        examples: int = 0,
        turns: int = 3,
        seed: int = 0,
        max_characters: int = 20_000,
    ) -> None:
        self.engine = engine
        self.format, self.feedback, self.batch = engine.format, engine.feedback, engine.batch
        self._count, self._seed, self._max_characters = examples, seed, max_characters
        self._students = dict(dialogs.select("dialog_id", "student").iter_rows())
        self._examples: dict[str, list[_Example]] = {}  # by task
        if examples:
            self._examples = _read_examples(dialogs, engine, turns)

    def add(self, key: int, request: Request) -> None:
        """Takes a request, which `key` names."""
        self.engine.add(key, replace(request, dialog=self.prompted(request.dialog)))

    def collect(self) -> list[tuple[int, Completion]]:
        """Works until at least one request is done; returns those that are. Empty: there are none left."""
        return self.engine.collect()

    def prompted(self, dialog: Dialog) -> Dialog:
        """The dialog with instructions and examples in its system turn."""
        kept: list[_Example] = []
        asked = _ask(dialog, kept)
        for example in self._choose(dialog):
            more = [*kept, example]
            longer = _ask(dialog, more)
            if sum(len(one.text) for one in more) <= self._max_characters and self._fits(longer):
                kept, asked = more, longer
        return asked

    def _fits(self, dialog: Dialog) -> bool:
        return not isinstance(self.engine, _KnowsLength) or self.engine.fits(dialog)

    def _choose(self, dialog: Dialog) -> list[_Example]:
        """Examples of different students, none of them the dialog's own."""
        if not self._count:
            return []
        own = self._students.get(dialog.dialog_id)
        same = [one for one in self._examples.get(dialog.task, []) if one.student != own]
        every = (one for some in self._examples.values() for one in some if one.student != own)
        found = same or list(every)
        chosen: dict[str, _Example] = {}
        for one in Random(f"{self._seed} {dialog.dialog_id}").sample(found, len(found)):
            chosen.setdefault(one.student, one)
        return list(chosen.values())[: self._count]


class InContextModel(InContext):
    """The same for a language model, which knows how likely a turn is after such a prompt."""

    engine: LanguageModel

    def nats(self, dialog: Dialog, turn: str) -> float | None:
        """The negative log-likelihood of `turn`, as it is written in dialogs, after `dialog`."""
        return self.engine.nats(self.prompted(dialog), turn)


def in_context(engine: Engine, dialogs: pl.DataFrame, **settings: int) -> InContext:
    """The ICL baseline on `engine`, with `nats` if the engine has it; `settings` are those of InContext."""
    kind = InContextModel if isinstance(engine, LanguageModel) else InContext
    return kind(engine, dialogs, **settings)


def _ask(dialog: Dialog, examples: list[_Example]) -> Dialog:
    """A copy of the dialog that asks for the student's next turn."""
    system, *rest = dialog.messages
    parts = [system["content"], INSTRUCTIONS]
    for number, example in enumerate(examples, 1):
        other = "" if example.task == dialog.task else f"\n\n{example.task}"
        parts.append(f"Example {number}, the work of another student:{other}\n\n{example.text}")
    return replace(dialog, messages=[{**system, "content": "\n\n".join(parts)}, *rest])


def _read_examples(dialogs: pl.DataFrame, engine: Engine, turns: int) -> dict[str, list[_Example]]:
    """The training students' work by task, each in an order that is not that of the rows."""
    training = dialogs.filter(split="train", format=engine.format, feedback=engine.feedback)
    if training.is_empty():
        raise InputError(
            f"no training dialog of format {engine.format!r} and feedback {engine.feedback!r} to take "
            "examples from; run `tutee serialize` with a preset of this format, or ask without examples"
        )
    found = defaultdict(list)
    for row in training.sort("dialog_id").iter_rows(named=True):
        for example in _examples_in(Dialog.from_row(row), row["student"], turns):
            found[example.task].append(example)
    return {task: found[task] for task in sorted(found)}


def _examples_in(dialog: Dialog, student: str, turns: int) -> Iterator[_Example]:
    """The student's work on each task of a dialog: the last `turns` turns and the feedback after each."""
    places = [at for at, message in enumerate(dialog.messages) if opens_task(message)]
    programs = {turn.index: turn.program for turn in dialog.turns()}
    for start, end in pairwise([*places, len(dialog.messages)]):
        written = [at for at in range(start, end) if at in programs][-turns:]
        if written:
            # The first of them may be a change of a program that is left out.
            parts = [f"Submission:\n{write_turn(dialog.format, None, programs[written[0]])}"]
            parts += [_told(message) for message in dialog.messages[written[0] + 1 : end]]
            yield _Example(student, dialog.messages[start]["content"], "\n\n".join(parts))


def _told(message: Message) -> str:
    return f"{'Submission' if message['role'] == 'assistant' else 'Feedback'}:\n{message['content']}"
