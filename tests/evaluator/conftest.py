"""A small course with real verdicts and dialogs, and a very small model that has memorised them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_evaluator.engines import Completion, Request
from tutee_grader import Assignment, Grader, grade_table
from tutee_serializer.card import StudentCard
from tutee_serializer.course import Course
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import markers, write_turn
from tutee_serializer.dialogs.selection import SerializeConfig
from tutee_serializer.dialogs.serialize import serialize
from tutee_serializer.schemas import SUBMISSIONS

from .course_files import write_course

RIGHT = "def double(n):\n    return 2 * n\n"
SQUARE = "def double(n):\n    return n * n\n"
PLUS = "def double(n):\n    return n + 2\n"
COLON = "def double(n)\n    return 2 * n\n"
FIXED = "def double(n):\n    x = 4\n    return x\n"
HELLO = "def greet(name):\n    return 'Hello, ' + name\n"
SHOUT = "def greet(name):\n    return name + '<script>alert(1)</script>'\n"
SILENT = "def greet(name):\n    print(name)\n"

# Student -> assignment -> submitted programs.
HELD_OUT = {
    "ada": {"double": [COLON, SQUARE, PLUS, RIGHT], "greet": [SILENT, SHOUT, HELLO]},
    "ben": {"double": [PLUS, FIXED, SQUARE], "greet": [SHOUT, HELLO]},
    "cem": {"double": [FIXED, COLON, RIGHT]},
}


@pytest.fixture(scope="session")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    folder = tmp_path_factory.mktemp("course")
    tests = {
        "double": [("double(2)", "4"), ("double(3)", "6"), ("double(-1)", "-2")],
        "greet": [("greet('Ada')", "'Hello, Ada'"), ("greet('')", "'Hello, '")],
    }
    return write_course(folder, "small", {"double": RIGHT, "greet": HELLO}, tests)


@pytest.fixture(scope="session")
def assignments(course: Course) -> dict[str, Assignment]:
    return course.load_assignments()[0]


@pytest.fixture(scope="session")
def submissions() -> pl.DataFrame:
    work = [
        ("two", student, name, programs)
        for student, all in HELD_OUT.items()
        for name, programs in all.items()
    ]
    work += [("one", "dee", "double", [PLUS, RIGHT]), ("one", "eve", "greet", [SILENT, HELLO])]
    rows = [
        {
            "submission_id": f"{student}/{name}/{order}",
            "course": "small",
            "semester": semester,
            "student": student,
            "assignment": name,
            "order": order,
            "code": code,
            "messages": [],
            "source_row": order,
        }
        for semester, student, name, codes in work
        for order, code in enumerate(codes, 1)
    ]
    return pl.DataFrame(rows, schema=SUBMISSIONS)


@pytest.fixture(scope="session")
def verdicts(
    submissions: pl.DataFrame, assignments: dict[str, Assignment], tmp_path_factory: pytest.TempPathFactory
) -> pl.DataFrame:
    return grade_table(submissions, assignments, tmp_path_factory.mktemp("parts"), workers=1, progress=False)


@pytest.fixture(scope="session")
def dialogs_of(
    submissions: pl.DataFrame, verdicts: pl.DataFrame, course: Course
) -> Callable[..., pl.DataFrame]:
    """The dialogs in a format, with feedback of a level and without feedback."""

    def dialogs_of(
        format: str = "edits", feedback: str = "summary", scope: str = "assignment"
    ) -> pl.DataFrame:
        config = SerializeConfig(scope=scope, max_length_z=None)
        return serialize(submissions, verdicts, course, config, format, feedback)[0]

    return dialogs_of


@pytest.fixture(scope="session")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as grader:
        yield grader


class Scripted:
    """An engine that writes what `script` returns for a dialog and a step: a program, or None for a turn
    without one."""

    batch = 4

    def __init__(
        self, script: Callable[[Dialog, int], str | None], format: str = "edits", feedback: str = "summary"
    ) -> None:
        self.script = script
        self.format = format
        self.feedback = feedback
        self.requests: list[Request] = []
        self._asked: list[Dialog] = []  # a rollout has one dialog, which grows
        self._waiting: list[tuple[int, Dialog]] = []

    def add(self, key: int, request: Request) -> None:
        self.requests.append(request)
        self._asked.append(request.dialog)
        self._waiting.append((key, request.dialog))

    def step(self) -> list[tuple[int, Completion]]:
        """Answers two at a time, the last one first."""
        now, self._waiting = self._waiting[-2:], self._waiting[:-2]
        return [(key, self._answer(dialog)) for key, dialog in reversed(now)]

    collect = step

    def _answer(self, dialog: Dialog) -> Completion:
        step = sum(asked is dialog for asked in self._asked)
        program = self.script(dialog, step)
        if program is None:
            return Completion("nonsense", None, "no program in it")
        return Completion(write_turn(self.format, dialog.previous, program), program)


@pytest.fixture(scope="session")
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Work this small is slower on several threads, above all where other processes use the cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _tokenizer(texts: list[str]) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in markers("edits")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=special[0], eos_token=special[2], chat_template=TEMPLATE
    )


@pytest.fixture(scope="session")
def students(
    dialogs_of: Callable[..., pl.DataFrame], tmp_path_factory: pytest.TempPathFactory, one_thread: None
) -> Path:
    """Folders `base`, a very small Qwen3 trained on the dialogs, and `sft`, a random adapter on it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("models")
    dialogs = dialogs_of().filter(feedback="summary").sort("dialog_id")["messages"].to_list()[:4]
    tokenizer = _tokenizer([message["content"] for messages in dialogs for message in messages])
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = Qwen3ForCausalLM(config)
    tokenizer.padding_side = "right"
    batch = tokenizer(
        [tokenizer.apply_chat_template(messages, tokenize=False) for messages in dialogs],
        return_tensors="pt",
        padding=True,
    )
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(40):
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    card = {"course": "small", "format": "edits", "max_length": 768, "max_new_tokens": 32, "preset": "none"}
    StudentCard(method="base", base=".", feedback="summary", **card).save(folder / "base")

    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"]))
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.1)
    adapted.save_pretrained(folder / "sft")
    StudentCard(method="sft", base="../base", feedback="summary", **card).save(folder / "sft")
    return folder
