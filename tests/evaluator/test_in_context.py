"""The baseline that prompts a model: what it asks of a fake engine that records, and of a tiny student."""

import copy
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tutee_evaluator.engines import Completion, LanguageModel, Request, complete
from tutee_evaluator.engines.in_context import INSTRUCTIONS, InContext, in_context
from tutee_evaluator.engines.transformers import Student
from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.schemas import DIALOGS


class Recording:
    """A fake engine that keeps what it is asked, and writes a program of its own for each request."""

    format, feedback, batch = "code", "summary", 7

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._waiting: list[tuple[int, Completion]] = []

    def add(self, key: int, request: Request) -> None:
        self.requests.append(request)
        self._waiting.append((key, Completion(f"turn {key}", f"program {key}", None, 3, 4, "newlines")))

    def collect(self) -> list[tuple[int, Completion]]:
        return [self._waiting.pop()] if self._waiting else []


class RecordingModel(Recording):
    """The same, and a turn has as many nats as its prompt and it have characters."""

    def nats(self, dialog: Dialog, turn: str) -> float:
        return float(len(dialog.messages[0]["content"]) + len(turn))


def table(*work: tuple[str, str, str], attempts: int = 2, format: str = "code") -> pl.DataFrame:
    """DIALOGS of (student, split, task), in which every program and feedback names the student."""
    rows = []
    for number, (student, split, task) in enumerate(work):
        dialog = Dialog.start(format, "summary", f"Write `{task}`.")
        for attempt in range(1, attempts + 1):
            dialog.append(f"x = {attempt}  # by {student} on {task}", f"Attempt {attempt} is wrong.")
        rows.append(
            {
                "dialog_id": f"{number}",
                "student": student,
                "assignment": task,
                "format": format,
                "feedback": "summary",
                "split": split,
                "messages": dialog.messages,
                "turns": [{"submission_id": f"{number}/{n}", "grade": 0.0} for n in range(attempts)],
            }
        )
    return pl.DataFrame(rows, schema=DIALOGS)


def dialog_of(dialogs: pl.DataFrame, number: int = 0) -> Dialog:
    return Dialog.from_row(dialogs.row(number, named=True)).before(2)


def asked(dialogs: pl.DataFrame, number: int = 0, **settings: int) -> str:
    """The system turn that the engine is given for a dialog of the table."""
    engine = Recording()
    complete(in_context(engine, dialogs, **settings), [Request(dialog_of(dialogs, number))])
    return engine.requests[0].dialog.messages[0]["content"]


def shown(system: str) -> list[tuple[str, str]]:
    """The students and tasks of the examples in a system turn, in order."""
    return list(dict.fromkeys(re.findall(r"# by (\w) on (\w)", system)))


CLASS = table(
    ("a", "test", "f"),
    *((student, "train", "f") for student in "bcdef"),
    ("g", "train", "g"),
    ("h", "validation", "f"),
)


@example(work=[("a", "test", "f"), ("b", "train", "g"), ("b", "train", "h")], count=3, seed=0)
@given(
    work=st.lists(
        st.tuples(
            st.sampled_from("abcd"), st.sampled_from(["train", "validation", "test"]), st.sampled_from("fgh")
        ),
        min_size=1,
        max_size=8,
    ),
    count=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_examples_are_other_training_students_work_on_the_same_task_where_there_is_any(
    work: list[tuple[str, str, str]], count: int, seed: int
) -> None:
    dialogs = table(*work, ("z", "train", "i"))
    student, _, task = work[0]
    others = {(who, what) for who, split, what in work[1:] if split == "train" and who != student}
    same = {(who, what) for who, what in others if what == task}
    expected = same or others | {("z", "i")}

    found = shown(asked(dialogs, examples=count, seed=seed))

    assert set(found) <= expected
    assert len(found) == min(count, len({who for who, _ in expected}))
    assert len({who for who, _ in found}) == len(found), "an example a student"


def test_without_examples_the_instructions_alone_are_added() -> None:
    own = CLASS.row(0, named=True)["messages"][0]["content"]
    assert asked(CLASS) == f"{own}\n\n{INSTRUCTIONS}"


def test_all_but_the_system_turn_is_asked_as_it_was() -> None:
    engine, request = Recording(), Request(dialog_of(CLASS), 0.7, 5)
    request.dialog.grades = (12.5,)
    before = copy.deepcopy(request)

    complete(in_context(engine, CLASS, examples=2), [request])

    assert request == before, "the dialog itself was changed"
    (sent,) = engine.requests
    assert INSTRUCTIONS in sent.dialog.messages[0]["content"]
    assert (sent.temperature, sent.seed) == (0.7, 5)
    assert sent.dialog.messages[1:] == before.dialog.messages[1:]
    assert (sent.dialog.dialog_id, sent.dialog.grades) == ("0", (12.5,))
    assert sent.dialog.previous == before.dialog.previous


def test_what_is_collected_is_what_the_engine_wrote() -> None:
    engine = in_context(Recording(), CLASS, examples=1)
    completions = complete(engine, [Request(dialog_of(CLASS))] * 3)

    assert completions == [Completion(f"turn {n}", f"program {n}", None, 3, 4, "newlines") for n in range(3)]
    assert (engine.format, engine.feedback, engine.batch) == ("code", "summary", 7)


def test_the_choice_depends_on_seed_and_dialog_and_not_on_the_rows() -> None:
    everyone = table(*((student, "train", "f") for student in "abcdefgh"))

    assert asked(everyone, examples=2) == asked(everyone, examples=2)
    assert asked(everyone, examples=2) == asked(everyone.reverse(), 7, examples=2)
    assert len({asked(everyone, examples=2, seed=seed) for seed in range(8)}) > 1
    engine = Recording()
    ask = in_context(engine, everyone, examples=1)
    chosen = {
        ask.prompted(dialog_of(CLASS.with_columns(dialog_id=pl.lit(f"{n}")))).messages[0]["content"]
        for n in range(100, 108)
    }
    assert len(chosen) > 1


def test_an_example_is_shortened_to_its_last_turns_and_begins_with_a_whole_program() -> None:
    work = table(("a", "test", "f"), ("b", "train", "f"), attempts=5, format="plain_edits")
    engine = Recording()
    engine.format = "plain_edits"
    system = in_context(engine, work, examples=1, turns=2).prompted(dialog_of(work)).messages[0]["content"]

    example = system.split("Example 1")[1]
    numbers = [int(number) for number in re.findall(r"Attempt (\d) is wrong", example)]
    assert numbers == [4, 5]
    first, second = example.split("Submission:\n")[1:]
    assert first.startswith("```python\nx = 4  # by b on f\n```\n\nFeedback:\n")
    assert second.startswith("```\n1|x = 5"), "the second is an edit, as the format has it"


def test_a_dialog_over_tasks_gives_an_example_a_task() -> None:
    one, other = (table(("b", "train", task)).row(0, named=True) for task in "fg")
    course = {**one, "messages": one["messages"] + other["messages"][1:], "turns": one["turns"] * 2}
    dialogs = pl.concat(
        [table(("a", "test", "g")), pl.DataFrame([{**course, "dialog_id": "c"}], schema=DIALOGS)]
    )
    assert shown(asked(dialogs, examples=3)) == [("b", "g")]


def test_another_task_is_told_with_the_example_and_the_same_is_not() -> None:
    assert "Write `g`." in asked(table(("a", "test", "f"), ("b", "train", "g")), examples=1)
    assert "Write `f`." not in asked(table(("a", "test", "f"), ("b", "train", "f")), examples=1)


def test_examples_have_no_more_characters_than_allowed() -> None:
    texts = [asked(CLASS, examples=count) for count in range(3)]
    length = len(texts[2]) - len(texts[1])  # with its heading, longer than the example

    assert len(shown(asked(CLASS, examples=5, max_characters=2 * length))) == 2
    assert shown(asked(CLASS, examples=5, max_characters=10)) == []


def test_without_training_dialogs_examples_are_refused_and_instructions_are_not() -> None:
    dialogs = table(("a", "test", "f"))
    with pytest.raises(InputError, match=r"no training dialog of format 'code' and feedback 'summary'"):
        InContext(Recording(), dialogs, examples=1)
    assert INSTRUCTIONS in asked(dialogs)


def test_the_nats_are_the_engines_after_the_same_prompt_and_only_where_it_has_them() -> None:
    engine = in_context(RecordingModel(), CLASS, examples=2)
    assert isinstance(engine, LanguageModel)
    assert engine.nats(dialog_of(CLASS), "turn") == len(asked(CLASS, examples=2)) + 4
    assert not isinstance(in_context(Recording(), CLASS, examples=2), LanguageModel)


@pytest.fixture
def base(students: Path, one_thread: None) -> Student:
    return Student.load(students / "base", device="cpu")


def widened(base: Student, **card: Any) -> Student:
    return Student(base.model, base.chat, StudentCard(**{**vars(base.card), **card}))


@pytest.fixture
def dialogs(dialogs_of: Any) -> pl.DataFrame:
    table: pl.DataFrame = dialogs_of()
    return table.filter(feedback="summary").sort("dialog_id")


def test_a_student_writes_after_the_examples(base: Student, dialogs: pl.DataFrame) -> None:
    student = widened(base, max_length=4000)
    engine = in_context(student, dialogs, examples=1)
    held_out = [Dialog.from_row(row).before(2) for row in dialogs.filter(split="test").iter_rows(named=True)]

    completions = complete(engine, map(Request, held_out))

    assert completions == complete(student, [Request(engine.prompted(dialog)) for dialog in held_out])
    assert all("Example 1" in engine.prompted(dialog).messages[0]["content"] for dialog in held_out)
    assert isinstance(engine, LanguageModel)
    assert engine.nats(held_out[0], "x") == student.nats(engine.prompted(held_out[0]), "x")


def test_examples_that_do_not_fit_are_left_out_before_the_students_own_turns(
    base: Student, dialogs: pl.DataFrame
) -> None:
    """At each length of the context: either the model reads the whole dialog, or there is no example."""
    dialogs = dialogs.with_columns(
        split=pl.when(pl.col("student") == "ada").then(pl.lit("test")).otherwise(pl.lit("train"))
    )
    (row,) = dialogs.filter(
        pl.col("messages").list.get(1).struct["content"].str.contains("greet"), student="ada"
    ).iter_rows(named=True)
    dialog = Dialog.from_row(row).before(3)
    counts = []
    for length in range(300, 1500, 7):
        student = widened(base, max_length=length)
        asked = in_context(student, dialogs, examples=3).prompted(dialog)
        count = asked.messages[0]["content"].count("another student")
        counts.append(count)
        whole = base.chat.prompt(asked.messages)
        assert count == 0 or student.prompt(asked) == whole
        assert count == 0 or len(whole) + student.card.max_new_tokens <= length
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2}, "ben and eve worked on this task"
