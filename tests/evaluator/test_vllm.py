"""The engine on a fake of vLLM's interface; vLLM itself needs a GPU.

The fake takes what vLLM's LLMEngine takes, by its names, and writes with the model of the folder that it is
given, in the library transformers. The last test runs vLLM, where it and a GPU are there.
"""

import importlib.util
import json
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM

from tutee_evaluator.engines import LanguageModel, Request, complete
from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.engines.vllm import VllmStudent
from tutee_grader.errors import InputError, UnavailableError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.dialog import Dialog

DialogsOf = Callable[..., pl.DataFrame]


class RequestOutputKind(Enum):
    CUMULATIVE = 0
    FINAL_ONLY = 2


@dataclass
class EngineArgs:
    model: str
    revision: str | None = None
    skip_tokenizer_init: bool = False
    dtype: str = "auto"
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    enable_prefix_caching: bool | None = None
    enable_lora: bool = False
    max_lora_rank: int = 16
    disable_log_stats: bool = False


@dataclass
class SamplingParams:
    temperature: float = 1.0
    seed: int | None = None
    max_tokens: int = 16
    stop_token_ids: list[int] = field(default_factory=list)
    ignore_eos: bool = False
    prompt_logprobs: int | None = None
    logprobs: int | None = None
    detokenize: bool = True
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE


class LoRARequest(NamedTuple):
    lora_name: str
    lora_int_id: int
    lora_path: str


@dataclass
class Asked:
    request_id: str
    prompt: list[int]
    params: SamplingParams
    lora_request: LoRARequest | None


class LLMEngine:
    """Gives what it has written of a random request at each step, and says which of them are finished."""

    started: ClassVar[list["LLMEngine"]] = []

    def __init__(self, args: EngineArgs) -> None:
        self.args = args
        self.asked: list[Asked] = []
        self._going: dict[str, list[int]] = {}  # what is written of each unfinished request
        self._likely: dict[str, list[dict[int, SimpleNamespace]]] = {}  # of those that ask for it
        self._order = random.Random(0)
        self._models: dict[str | None, Any] = {}
        self.started.append(self)

    @classmethod
    def from_engine_args(cls, engine_args: EngineArgs) -> "LLMEngine":
        return cls(engine_args)

    def add_request(
        self,
        request_id: str,
        prompt: dict[str, Any],
        params: SamplingParams,
        lora_request: LoRARequest | None = None,
    ) -> None:
        tokens = prompt["prompt_token_ids"]
        if len(tokens) >= (self.args.max_model_len or 0):
            raise ValueError("the prompt plus at least one output token is longer than the model's length")
        if lora_request and not self.args.enable_lora:
            raise ValueError("LoRA is not enabled")
        if params.detokenize or not self.args.skip_tokenizer_init:
            raise ValueError("there is no tokenizer")
        assert request_id not in self._going and isinstance(request_id, str)
        self.asked.append(Asked(request_id, tokens, params, lora_request))
        self._going[request_id] = []

    def abort_request(self, request_ids: list[str]) -> None:
        for request_id in request_ids:
            self._going.pop(request_id, None)

    def has_unfinished_requests(self) -> bool:
        return bool(self._going)

    def step(self) -> list[SimpleNamespace]:
        """Writes one token of each request in flight, of the youngest first."""
        outputs = []
        for request_id in list(self._going)[: self.args.max_num_seqs]:
            asked = next(asked for asked in reversed(self.asked) if asked.request_id == request_id)
            written = self._going[request_id]
            if self._order.random() < 0.3:
                continue  # it has no place in this step's batch
            logits = self._logits([*asked.prompt, *written], asked.lora_request)
            written.append(self._choose(logits[-1], asked.params, len(written)))
            if asked.params.logprobs is not None:
                likely = torch.log_softmax(logits[-1].float(), -1)[written[-1]].item()
                self._likely.setdefault(request_id, []).append({written[-1]: SimpleNamespace(logprob=likely)})
            finished = written[-1] in asked.params.stop_token_ids or len(written) == asked.params.max_tokens
            chances = None
            if asked.params.prompt_logprobs is not None:
                chances = self._chances(asked.prompt, torch.log_softmax(logits.float(), -1))
            if finished:
                del self._going[request_id]
            if finished or asked.params.output_kind is RequestOutputKind.CUMULATIVE:
                output = SimpleNamespace(token_ids=tuple(written), logprobs=self._likely.get(request_id))
                outputs.append(
                    SimpleNamespace(
                        request_id=request_id, finished=finished, outputs=[output], prompt_logprobs=chances
                    )
                )
        return outputs[::-1]

    def _logits(self, tokens: list[int], lora: LoRARequest | None) -> torch.Tensor:
        path = lora.lora_path if lora else None
        if path not in self._models:
            from peft import PeftModel

            model = AutoModelForCausalLM.from_pretrained(self.args.model).eval()
            self._models[path] = PeftModel.from_pretrained(model, path) if path else model
        with torch.inference_mode():
            logits: torch.Tensor = self._models[path](input_ids=torch.tensor([tokens])).logits[0]
        return logits

    def _choose(self, logits: torch.Tensor, params: SamplingParams, place: int) -> int:
        if params.temperature == 0:
            return int(logits.argmax())
        generator = torch.Generator().manual_seed(params.seed + place)
        chances = torch.softmax(logits.float() / params.temperature, -1)
        return int(torch.multinomial(chances, 1, generator=generator))

    def _chances(self, prompt: list[int], chances: torch.Tensor) -> list[Any]:
        """For each token of the prompt its chance after those before it; the first one has none."""
        after = [
            {token: SimpleNamespace(logprob=float(chances[at, token]))} for at, token in enumerate(prompt[1:])
        ]
        return [None, *after]


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {name: ModuleType(name) for name in ("vllm", "vllm.lora", "vllm.lora.request")}
    modules["vllm.sampling_params"] = ModuleType("vllm.sampling_params")
    vars(modules["vllm"]).update(EngineArgs=EngineArgs, LLMEngine=LLMEngine, SamplingParams=SamplingParams)
    vars(modules["vllm.lora.request"]).update(LoRARequest=LoRARequest)
    vars(modules["vllm.sampling_params"]).update(RequestOutputKind=RequestOutputKind)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(LLMEngine, "started", [])


@pytest.fixture(autouse=True)
def on_one_thread(one_thread: None) -> None:
    pass


@pytest.fixture(scope="module")
def dialogs(dialogs_of: DialogsOf) -> list[Dialog]:
    """Every point of every dialog at which the student writes again."""
    table = dialogs_of().filter(pl.col("feedback") == "summary")
    whole = [Dialog.from_row(row) for row in table.iter_rows(named=True)]
    return [dialog.before(turn) for dialog in whole for turn in range(2, len(dialog.grades) + 1)]


def changed(students: Path, folder: Path, **config: Any) -> Path:
    """A copy of the adapter with its base, with other values in adapter_config.json."""
    shutil.copytree(students, folder)
    file = folder / "sft" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return folder / "sft"


@pytest.mark.parametrize("name", ["base", "sft"])
def test_the_likeliest_turns_are_those_of_transformers(
    students: Path, dialogs: list[Dialog], name: str
) -> None:
    """Of many requests that end in another order than they came in."""
    requests = [Request(dialog) for dialog in dialogs]
    expected = complete(Student.load(students / name, device="cpu"), requests)

    assert complete(VllmStudent.load(students / name, batch=4), requests) == expected
    assert {completion.program is None for completion in expected} == {False, True}


def test_requests_end_in_any_order(students: Path, dialogs: list[Dialog]) -> None:
    student = VllmStudent.load(students / "sft")
    for key, dialog in enumerate(dialogs):
        student.add(key, Request(dialog))
    keys = []
    while collected := student.collect():
        keys += [key for key, _ in collected]

    assert keys != sorted(keys), "they ended in order: the test would not see a swap"
    assert sorted(keys) == list(range(len(dialogs)))


def test_an_adapter_goes_with_every_request_and_its_base_is_the_model(
    students: Path, dialogs: list[Dialog]
) -> None:
    student = VllmStudent.load(students / "sft", batch=9)
    complete(student, map(Request, dialogs))
    student.nats(dialogs[0], "x")

    (engine,) = LLMEngine.started
    assert (engine.args.model, engine.args.enable_lora) == (str((students / "base").resolve()), True)
    assert engine.args.max_lora_rank == 8, "the least that vLLM knows for rank 4"
    assert (engine.args.enable_prefix_caching, engine.args.max_num_seqs) == (True, 9)
    assert {asked.lora_request.lora_path for asked in engine.asked} == {str((students / "sft").resolve())}


def test_a_base_alone_has_no_adapter(students: Path, dialogs: list[Dialog]) -> None:
    complete(VllmStudent.load(students / "base"), [Request(dialogs[0])])

    (engine,) = LLMEngine.started
    assert (engine.args.enable_lora, engine.asked[0].lora_request) == (False, None)


def test_temperature_seed_and_the_end_of_a_turn_are_asked_for(students: Path, dialogs: list[Dialog]) -> None:
    student = VllmStudent.load(students / "sft")
    complete(student, [Request(dialogs[0], 0.7, 5), Request(dialogs[0], 1.0, 2**64 - 1)])

    first, second = (asked.params for asked in LLMEngine.started[0].asked)
    assert (first.temperature, first.seed, first.max_tokens) == (0.7, 5, student.card.max_new_tokens)
    assert (first.stop_token_ids, first.ignore_eos) == ([student.chat.end], True)
    assert first.output_kind is RequestOutputKind.FINAL_ONLY, "an output for each token takes time"
    assert 0 <= second.seed < 2**63, "vLLM keeps seeds in 64 bits with a sign"


def test_a_request_that_is_cancelled_is_aborted(students: Path, dialogs: list[Dialog]) -> None:
    student = VllmStudent.load(students / "sft", batch=4)
    for key in range(4):
        student.add(key, Request(dialogs[key], max_new_tokens=3))
    student.cancel(2)
    done = []
    while collected := student.collect():
        done += [key for key, _ in collected]
    assert sorted(done) == [0, 1, 3]
    assert {asked.params.max_tokens for asked in LLMEngine.started[0].asked} == {3}


def test_the_log_likelihoods_are_those_of_transformers(students: Path, dialogs: list[Dialog]) -> None:
    requests = [Request(dialog, logprobs=True) for dialog in dialogs[:3]]
    expected = complete(Student.load(students / "sft", device="cpu"), requests)
    for ours, theirs in zip(complete(VllmStudent.load(students / "sft"), requests), expected, strict=True):
        assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-3)
        assert [token for token, _ in ours.tokens] == [token for token, _ in theirs.tokens]


def test_what_is_drawn_depends_on_the_seed(students: Path, dialogs: list[Dialog]) -> None:
    def draw(seed: int) -> list[str]:
        requests = [Request(dialog, 1.0, seed) for dialog in dialogs[:4]]
        return [completion.content for completion in complete(VllmStudent.load(students / "sft"), requests)]

    assert draw(100) == draw(100) != draw(200)


@pytest.mark.parametrize("name", ["base", "sft"])
def test_the_nats_are_those_of_transformers(students: Path, dialogs: list[Dialog], name: str) -> None:
    """Asked while turns are being written, none of which is lost."""
    ours, theirs = VllmStudent.load(students / name), Student.load(students / name, device="cpu")
    assert isinstance(ours, LanguageModel)
    for key, dialog in enumerate(dialogs):
        ours.add(key, Request(dialog))
    for dialog in dialogs:
        turn = f"```python\n{dialog.previous}\n```"
        assert ours.nats(dialog, turn) == pytest.approx(theirs.nats(dialog, turn), abs=1e-4, rel=1e-5)
    collected = []
    while some := ours.collect():
        collected += some
    assert len(collected) == len(dialogs)


def test_a_turn_that_vllm_cannot_hold_has_no_nats(students: Path, dialogs: list[Dialog]) -> None:
    student = VllmStudent.load(students / "sft")
    context = 2 * student.card.max_length
    free = context - len(student.prompt(dialogs[0])) - 1  # the token that is written after the turn
    fitting = max(range(free), key=lambda n: (len(student.chat.reply("é" * n)) <= free, n))

    assert student.nats(dialogs[0], "é" * fitting) is not None
    assert student.nats(dialogs[0], "é" * (fitting + 1)) is None


def test_without_vllm_the_way_out_is_said(students: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # as where it is not installed
    with pytest.raises(UnavailableError, match=r"pip install 'tutee-evaluator\[vllm\]'"):
        VllmStudent.load(students / "sft")


def test_a_model_that_vllm_does_not_load_is_unavailable(
    students: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(args: EngineArgs) -> LLMEngine:
        raise ValueError("No available memory for the cache blocks")

    monkeypatch.setattr(LLMEngine, "from_engine_args", fail)
    with pytest.raises(UnavailableError, match=r"sft: vLLM cannot load .*No available memory"):
        VllmStudent.load(students / "sft")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"modules_to_save": ["embed_tokens", "lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [7]}, "trainable_token_indices"),
        ({"use_dora": True}, "use_dora"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"bias": "all"}, "bias all"),
        ({"peft_type": "IA3"}, "peft_type IA3"),
        ({"r": 513}, "r 513"),
    ],
)
def test_an_adapter_that_vllm_does_not_serve_is_refused(
    students: Path, tmp_path: Path, config: dict[str, Any], named: str
) -> None:
    folder = changed(students, tmp_path / "changed", **config)
    with pytest.raises(InputError, match=f"adapter_config.json: .*{named}"):
        VllmStudent.load(folder)
    assert LLMEngine.started == []


def test_embeddings_that_were_trained_along_are_refused(students: Path, tmp_path: Path) -> None:
    """PEFT saves them without a word in adapter_config.json where tokens were added."""
    from safetensors.torch import load_file, save_file

    folder = changed(students, tmp_path / "changed")
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.model.embed_tokens.weight"] = torch.zeros(2, 2)
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"embed_tokens\.weight"):
        VllmStudent.load(folder)


def test_a_folder_without_a_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"student\.json: missing"):
        VllmStudent.load(tmp_path)


def test_a_dialog_that_is_too_long_is_not_asked(students: Path, dialogs: list[Dialog]) -> None:
    long = Dialog.start("edits", "summary", "a" * 10_000)
    refused, written = complete(VllmStudent.load(students / "sft"), [Request(long), Request(dialogs[0])])

    assert refused.program is None and "too long for the model" in str(refused.reason)
    assert written.completion_tokens > 0
    assert len(LLMEngine.started[0].asked) == 1


@pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None or not torch.cuda.is_available(), reason="needs vLLM and a GPU"
)
def test_vllm_itself_writes_turns_and_knows_nats(students: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the fake
    card = StudentCard.load(students / "base")
    dialog = Dialog.start(card.format, card.feedback, "Write the function `double`.")
    student, theirs = VllmStudent.load(students / "sft", batch=4), Student.load(students / "sft")

    completions = complete(student, [Request(dialog), *(Request(dialog, 1.0, seed) for seed in range(7))])

    assert len(completions) == 8 and all(one.completion_tokens for one in completions)
    turn = "```python\ndef double(n):\n    return 2 * n\n```"
    assert student.nats(dialog, turn) == pytest.approx(theirs.nats(dialog, turn), rel=0.02)  # in bfloat16
