from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from tutee_evaluator.engines import Completion, EngineConfig, Request, complete
from tutee_evaluator.engines.baselines import Copy
from tutee_evaluator.engines.generation import BatchGenerator
from tutee_evaluator.engines.generator import Written
from tutee_evaluator.engines.loading import load_engine
from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.schemas import COPY
from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import read_turn

DialogsOf = Callable[..., pl.DataFrame]


@pytest.fixture(scope="module")
def dialogs(dialogs_of: DialogsOf) -> list[Dialog]:
    """Every point of every dialog at which the student writes again; of many lengths."""
    table = dialogs_of().filter(pl.col("feedback") == "summary")
    whole = [Dialog.from_row(row) for row in table.iter_rows(named=True)]
    return [dialog.before(turn) for dialog in whole for turn in range(2, len(dialog.grades) + 1)]


@pytest.fixture(autouse=True)
def on_one_thread(one_thread: None) -> None:
    pass


@pytest.fixture(scope="module")
def student(students: Path) -> Student:
    return Student.load(students / "sft", device="cpu")


def test_a_batch_writes_what_each_writes_alone(student: Student, dialogs: list[Dialog]) -> None:
    together = complete(student, map(Request, dialogs))
    alone = [complete(student, map(Request, [dialog]))[0] for dialog in dialogs]

    assert together == alone
    assert len({c.content for c in together}) > 2, "all the same: the test would not see a swap"
    assert any(c.program for c in together), "no turn was read: the test would not see a program"


def test_batches_of_any_size_write_the_same(students: Path, dialogs: list[Dialog]) -> None:
    wide = Student.load(students / "sft", device="cpu", batch=64)
    narrow = Student.load(students / "sft", device="cpu", batch=3)

    assert complete(wide, map(Request, dialogs)) == complete(narrow, map(Request, dialogs))


def test_a_merged_adapter_writes_what_the_unmerged_one_writes(
    student: Student, students: Path, dialogs: list[Dialog]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(students / "base").eval()
    unmerged = Student(PeftModel.from_pretrained(base, students / "sft"), student.chat, student.card)

    assert not any("lora" in name for name, _ in student.model.named_parameters())
    assert complete(student, map(Request, dialogs)) == complete(unmerged, map(Request, dialogs))


def test_the_adapter_changes_what_is_written(student: Student, students: Path, dialogs: list[Dialog]) -> None:
    base = Student.load(students / "base", device="cpu")

    assert complete(base, map(Request, dialogs)) != complete(student, map(Request, dialogs))


def test_greedy_writing_is_what_transformers_writes(student: Student, dialogs: list[Dialog]) -> None:
    for dialog in dialogs[:4]:
        prompt = student.prompt(dialog)
        ids = torch.tensor([prompt])
        theirs = student.model.generate(ids, do_sample=False, max_new_tokens=32)[0, ids.shape[1] :].tolist()
        ours = complete(student, map(Request, [dialog]))[0]
        if student.chat.end in theirs:
            assert student.chat.tokenizer.decode(theirs).removesuffix("<|im_end|>") == ours.content
        else:
            assert ours.reason == "no end of turn within 32 tokens"


def record_reads(generator: BatchGenerator, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Fills with what is read of prompts (rows, tokens), without drafts of what is written."""
    reads: list[torch.Tensor] = []
    forward = generator._forward

    def record(ids: torch.Tensor, cache: Any, last: int = 1, **keywords: Any) -> torch.Tensor:
        if last < ids.shape[1]:
            reads.append(ids)
        return forward(ids, cache, last, **keywords)

    monkeypatch.setattr(generator, "_forward", record)
    return reads


def test_a_dialog_that_goes_on_is_read_from_where_it_was_known(
    students: Path, dialogs: list[Dialog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the student writes what one writes that reads all of it."""
    going, fresh = (Student.load(students / "sft", device="cpu") for _ in range(2))
    first = complete(going, map(Request, dialogs))
    longer = []
    for dialog, completion in zip(dialogs, first, strict=True):
        turn = {"role": "assistant", "content": completion.content}
        longer.append(
            replace(dialog, messages=[*dialog.messages, turn, {"role": "user", "content": "Grade 0."}])
        )
    reads = record_reads(going._generator, monkeypatch)
    assert complete(going, map(Request, longer)) == complete(fresh, map(Request, longer))
    assert sum(ids.numel() for ids in reads) < sum(len(going.prompt(dialog)) for dialog in longer) / 2
    assert len(reads) < len(longer), "each of the short rests was read alone"


def test_equal_prompts_are_read_once_and_drawn_from_apart(
    student: Student, dialogs: list[Dialog], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (student.prompt(dialog) for dialog in dialogs[:2])
    generator = BatchGenerator(student.model, student.chat.end, 16, batch=5)
    reads = record_reads(generator, monkeypatch)
    for number, prompt in enumerate([one, other, one, one, other]):
        generator.add(number, prompt, temperature=1.0, seed=number)
    written = dict(generator.collect_all())

    assert sorted(ids.numel() for ids in reads) == sorted([len(one), len(other)])
    assert len({tuple(written[number]) for number in (0, 2, 3)}) > 1


def test_a_turn_that_does_not_end_is_data(students: Path, dialogs: list[Dialog]) -> None:
    student = Student.load(students / "sft", device="cpu")
    short = StudentCard(**{**vars(student.card), "max_new_tokens": 1})

    completions = complete(Student(student.model, student.chat, short), map(Request, dialogs))

    cut = [completion for completion in completions if completion.program is None]
    assert cut, "every turn ended within one token"
    assert {completion.reason for completion in cut} == {"no end of turn within 1 tokens"}


def test_drawing_is_reproducible_and_differs_with_the_seed(student: Student, dialogs: list[Dialog]) -> None:
    def draw(seed: int) -> list[str]:
        drawn = complete(student, [Request(dialog, 1.0, seed) for dialog in dialogs])
        return [completion.content for completion in drawn]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_a_prompt_leaves_space_for_the_longest_turn(student: Student, dialogs: list[Dialog]) -> None:
    longest = max(dialogs, key=lambda dialog: len(dialog.messages))
    whole = len(student.prompt(longest))
    tight = StudentCard(**{**vars(student.card), "max_length": whole - 1})

    ids = Student(student.model, student.chat, tight).prompt(longest)

    prompt = student.chat.tokenizer.decode(ids)
    assert len(ids) + tight.max_new_tokens <= tight.max_length
    assert prompt.startswith(f"<|im_start|>system\n{longest.messages[0]['content']}<|im_end|>")
    assert prompt.endswith(f"{longest.messages[-1]['content']}<|im_end|>\n<|im_start|>assistant\n")


def test_a_dialog_whose_shortest_cut_does_not_fit_is_an_outcome_and_no_other_dialogs(
    student: Student, dialogs: list[Dialog]
) -> None:
    """At the longest prompt that leaves space for a turn, and at one token more."""
    length = len(student.prompt(dialogs[0].before(1)))
    fitting, short = (
        Student(student.model, student.chat, StudentCard(**{**vars(student.card), "max_length": most}))
        for most in (length + 32, length + 31)
    )
    long = Dialog.start("edits", "summary", "a" * 10_000)

    refused, written = complete(fitting, map(Request, [long, dialogs[0].before(1)]))
    (refused_too,) = complete(short, [Request(dialogs[0].before(1))])

    assert refused.program is None and refused.prompt_tokens > 2000
    assert f"has {refused.prompt_tokens} tokens, and {length} leave space" in str(refused.reason)
    assert written.completion_tokens > 0
    assert "too long for the model" in str(refused_too.reason) and refused_too.completion_tokens == 0


BLOCK = "```python\n{}\n```"


@pytest.mark.parametrize(
    ("turn", "program", "reason"),
    [
        ("I do not know how to go on.", None, "no code block"),
        ("a" * 10_000, None, "no code block"),
        ("`" * 10_000, None, "the code block is empty and not closed"),
        ("", None, "no code block"),
        (BLOCK.format("Dear teacher,\nit works!"), "Dear teacher,\nit works!", None),
        (BLOCK.format("(" * 10_000), "(" * 10_000, None),
    ],
    ids=["no block", "one letter", "one fence", "nothing", "no Python", "one bracket"],
)
def test_whatever_a_model_writes_is_a_program_or_has_a_reason(
    student: Student, monkeypatch: pytest.MonkeyPatch, turn: str, program: str | None, reason: str | None
) -> None:
    """Whether it is Python is for the grader to say."""
    card = StudentCard(**{**vars(student.card), "format": "code"})
    writer = Student(student.model, student.chat, card)
    written = Written(0, [*student.chat.tokens(turn), student.chat.end], [])
    monkeypatch.setattr(writer._generator, "step", lambda: [written])

    (completion,) = complete(writer, [Request(Dialog.start("code", "summary", "Write `f`."))])

    assert (completion.program, completion.reason) == (program, reason)


def test_the_tokens_of_prompt_and_turn_are_counted(student: Student, dialogs: list[Dialog]) -> None:
    def length(completion: Completion) -> int:
        if completion.reason == "no end of turn within 32 tokens":
            return 32
        return len([*student.chat.tokens(completion.content), student.chat.end])

    completions = complete(student, map(Request, dialogs))

    assert [c.prompt_tokens for c in completions] == [len(student.prompt(dialog)) for dialog in dialogs]
    assert [c.completion_tokens for c in completions] == [length(c) for c in completions]
    assert min(c.completion_tokens for c in completions) < 32


def test_a_turn_that_is_cut_says_so_and_keeps_what_was_written(
    student: Student, dialogs: list[Dialog]
) -> None:
    (whole,) = complete(student, [Request(dialogs[0])])
    (cut,) = complete(student, [Request(dialogs[0], max_new_tokens=2)])

    assert (cut.finish_reason, cut.completion_tokens, cut.program) == ("length", 2, None)
    assert cut.content and whole.content.startswith(cut.content)
    assert whole.finish_reason == "stop"


def test_a_turn_says_how_likely_it_is(student: Student, dialogs: list[Dialog]) -> None:
    turns = complete(student, [Request(dialog, logprobs=True) for dialog in dialogs])
    ended = [
        (dialog, turn) for dialog, turn in zip(dialogs, turns, strict=True) if turn.finish_reason == "stop"
    ]
    for dialog, turn in ended:
        assert [token for token, _ in turn.tokens] == student.chat.reply(turn.content)
        assert turn.logprob == pytest.approx(-student.nats(dialog, turn.content), abs=1e-3)
    assert ended
    assert complete(student, [Request(dialogs[0])])[0].logprob is None


def test_a_request_that_is_cancelled_is_never_done(student: Student, dialogs: list[Dialog]) -> None:
    for key in range(3):
        student.add(key, Request(dialogs[key]))
    student.step()
    assert student.written(1) is not None
    student.cancel(1)
    done = []
    while collected := student.collect():
        done += [key for key, _ in collected]
    assert sorted(done) == [0, 2]


def test_copy_submits_the_last_program_again(dialogs: list[Dialog]) -> None:
    completions = complete(Copy("edits", "summary"), map(Request, dialogs))

    assert [completion.program for completion in completions] == [dialog.previous for dialog in dialogs]
    for completion, dialog in zip(completions, dialogs, strict=True):
        assert read_turn("edits", dialog.previous, completion.content) == dialog.previous


def test_a_folder_without_model_and_base_is_refused(tmp_path: Path) -> None:
    StudentCard("sft", "small", ".", "edits", "summary", 100, 10, "none").save(tmp_path)

    with pytest.raises(InputError, match=str(tmp_path)):
        Student.load(tmp_path)


def test_a_name_of_a_baseline_loads_it_and_any_other_name_a_student(
    dialogs_of: DialogsOf, students: Path, tmp_path: Path
) -> None:
    table = dialogs_of("code", "full")

    baseline = load_engine(COPY, tmp_path, table, EngineConfig())
    student = load_engine("anything", students / "sft", table, EngineConfig(batch=3))

    assert isinstance(baseline, Copy) and (baseline.format, baseline.feedback) == ("code", "full")
    assert isinstance(student, Student) and student.batch == 3
    without = table.filter(pl.col("feedback") == "none")
    assert load_engine(COPY, tmp_path, without, EngineConfig()).feedback == "none"


def test_a_name_that_is_no_baseline_needs_a_folder_with_a_student(
    dialogs_of: DialogsOf, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"student\.json: missing"):
        load_engine("icl", tmp_path / "icl", dialogs_of(), EngineConfig())


def test_a_baseline_without_dialogs_is_refused(dialogs_of: DialogsOf, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to roll out"):
        load_engine(COPY, tmp_path, dialogs_of().clear(), EngineConfig())


def test_the_nats_of_a_turn_are_what_training_calls_its_loss(student: Student, dialogs_of: DialogsOf) -> None:
    for row in dialogs_of().filter(feedback="summary").iter_rows(named=True):
        whole = Dialog.from_row(row)
        dialog = whole.before(2)
        turn = whole.messages[len(dialog.messages)]["content"]
        prompt, reply = student.prompt(dialog), student.chat.reply(turn)
        ids = torch.tensor([[*prompt, *reply]])
        labels = ids.clone()
        labels[:, : len(prompt)] = -100
        with torch.inference_mode():
            loss = student.model(input_ids=ids, labels=labels).loss.item()

        for _ in range(2):  # read whole, and from what is known by then
            assert student.nats(dialog, turn) == pytest.approx(loss * len(reply), rel=1e-4)


def test_less_likely_turns_have_more_nats(student: Student, dialogs: list[Dialog]) -> None:
    written = [c.content for c in complete(student, map(Request, dialogs)) if c.program is not None]
    assert student.nats(dialogs[0], written[0]) < student.nats(dialogs[0], "xyz" + written[0])
