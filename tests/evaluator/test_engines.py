from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tutee_evaluator.engines import Copy, Situation, Student
from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.formats import read_turn

Dialogs = Callable[..., pl.DataFrame]


@pytest.fixture(scope="module")
def situations(told: Dialogs) -> list[Situation]:
    """Every point of every dialog at which the student writes again; of many lengths."""
    found = []
    for row in told().filter(pl.col("feedback") == "summary").iter_rows(named=True):
        program = None
        for place, message in enumerate(row["messages"]):
            if message["role"] == "assistant":
                if program is not None:
                    found.append(Situation(row["messages"][:place], program))
                program = read_turn("edits", program, message["content"])
    return found


@pytest.fixture(autouse=True)
def on_one_thread(one_thread: None) -> None:
    pass


@pytest.fixture(scope="module")
def student(students: Path) -> Student:
    return Student.load(students / "sft", device="cpu")


def test_a_batch_writes_what_each_writes_alone(student: Student, situations: list[Situation]) -> None:
    together = student.next_programs(situations)
    alone = [student.next_programs([situation])[0] for situation in situations]

    assert together == alone
    assert len({attempt.content for attempt in together}) > 2, "all the same: the test would not see a swap"
    assert any(attempt.program for attempt in together), "no turn was read: the test would not see a program"


def test_batches_of_any_size_write_the_same(students: Path, situations: list[Situation]) -> None:
    wide = Student.load(students / "sft", device="cpu", batch=64)
    narrow = Student.load(students / "sft", device="cpu", batch=3)

    assert wide.next_programs(situations) == narrow.next_programs(situations)


def test_a_merged_adapter_writes_what_the_unmerged_one_writes(
    student: Student, students: Path, situations: list[Situation]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(students / "base").eval()
    unmerged = Student(PeftModel.from_pretrained(base, students / "sft"), student.tokenizer, student.card)

    assert not any("lora" in name for name, _ in student.model.named_parameters())
    assert student.next_programs(situations) == unmerged.next_programs(situations)


def test_the_adapter_changes_what_is_written(
    student: Student, students: Path, situations: list[Situation]
) -> None:
    base = Student.load(students / "base", device="cpu")

    assert base.next_programs(situations) != student.next_programs(situations)


def test_greedy_writing_is_what_transformers_writes(student: Student, situations: list[Situation]) -> None:
    for situation in situations[:4]:
        prompt = student.prompt(situation.messages)
        ids = student.tokenizer(prompt, return_tensors="pt")["input_ids"]
        theirs = student.model.generate(ids, do_sample=False, max_new_tokens=32)[0, ids.shape[1] :].tolist()
        ours = student.write([prompt])[0]
        if ours is None:
            assert student.tokenizer.eos_token_id not in theirs
        else:
            assert student.tokenizer.decode(theirs).removesuffix("<|im_end|>") == ours


def test_a_turn_that_does_not_end_is_data(students: Path, situations: list[Situation]) -> None:
    student = Student.load(students / "sft", device="cpu")
    short = StudentCard(**{**vars(student.card), "max_new_tokens": 1})

    attempts = Student(student.model, student.tokenizer, short).next_programs(situations)

    cut = [attempt for attempt in attempts if attempt.program is None]
    assert cut, "every turn ended within one token"
    assert {attempt.reason for attempt in cut} == {"no end of turn within 1 tokens"}


def test_drawing_is_reproducible_and_differs_with_the_seed(
    student: Student, situations: list[Situation]
) -> None:
    def draw(seed: int) -> list[str]:
        drawing = Student(student.model, student.tokenizer, student.card, temperature=1.0, seed=seed)
        return [attempt.content for attempt in drawing.next_programs(situations)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_a_prompt_leaves_room_for_the_answer(student: Student, situations: list[Situation]) -> None:
    longest = max(situations, key=lambda situation: len(situation.messages))
    whole = len(student.tokenizer(student.prompt(longest.messages))["input_ids"])
    tight = StudentCard(**{**vars(student.card), "max_length": whole - 1})

    prompt = Student(student.model, student.tokenizer, tight).prompt(longest.messages)

    length = len(student.tokenizer(prompt)["input_ids"])
    assert length + tight.max_new_tokens <= tight.max_length
    assert prompt.startswith(f"<|im_start|>system\n{longest.messages[0]['content']}<|im_end|>")
    assert prompt.endswith(f"{longest.messages[-1]['content']}<|im_end|>\n<|im_start|>assistant\n")


def test_copy_hands_in_the_last_program(situations: list[Situation]) -> None:
    attempts = Copy("edits", "summary").next_programs(situations)

    assert [attempt.program for attempt in attempts] == [situation.previous for situation in situations]
    for attempt, situation in zip(attempts, situations, strict=True):
        assert read_turn("edits", situation.previous, attempt.content) == situation.previous


def test_a_folder_without_model_and_base_is_refused(tmp_path: Path) -> None:
    StudentCard("sft", "small", ".", "edits", "summary", 100, 10, "none").save(tmp_path)

    with pytest.raises(InputError, match=str(tmp_path)):
        Student.load(tmp_path)
