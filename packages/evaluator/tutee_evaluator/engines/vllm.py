"""A language model, run by vLLM (0.14 or later), that plays a student."""

import json
from pathlib import Path
from typing import Any

from tutee_evaluator.engines import Completion
from tutee_evaluator.engines.transformers import Student, _base
from tutee_grader.errors import InputError, UnavailableError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.tokens import TokenCounter

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's `max_lora_rank` may be
SEEDS = 2**63  # vLLM's are signed
SCORED = "scored"  # names the request of `score`; those of `add` have numbers


class VllmGenerator:
    """Writes up to `max_new_tokens` tokens after prompts with vLLM's engine, until the token `end`.

    Has the interface of BatchGenerator. `lora` is the LoRARequest of an adapter; None: the base alone.
    """

    def __init__(self, engine: Any, end: int, max_new_tokens: int, lora: Any = None) -> None:
        self._engine, self._lora = engine, lora
        self.end, self.max_new_tokens = end, max_new_tokens
        self.max_length: int = engine.model_config.max_model_len
        self._waiting: list[tuple[str, list[int], dict[str, Any]]] = []
        self._finished: dict[str, Any] = {}

    def add(self, key: int, prompt: list[int], temperature: float = 0.0, seed: int = 0) -> None:
        """Takes a prompt, which `key` names.

        `temperature` 0 takes the likeliest token each time; above, tokens are drawn with `seed`.
        """
        settings = {
            "temperature": temperature,
            "seed": seed % SEEDS,
            "max_tokens": self.max_new_tokens,
            "stop_token_ids": [self.end],
            "ignore_eos": True,  # a turn ends as in training, whatever the model's own settings say
        }
        self._waiting.append((str(key), prompt, settings))

    def collect(self) -> list[tuple[int, list[int]]]:
        """Works until at least one prompt is done: the keys of those that are, and the tokens after them.

        The last token is `end`, or there are `max_new_tokens` without it; there are none after a prompt that
        is longer than `max_length` already. Empty: no prompt is left.
        """
        waiting, self._waiting = self._waiting, []
        done: list[tuple[int, list[int]]] = []
        for key, prompt, settings in waiting:
            if len(prompt) < self.max_length:
                self._send(key, prompt, **settings)
            else:
                done.append((int(key), []))
        while not (done or self._finished) and self._engine.has_unfinished_requests():
            self._step()
        done += [(int(key), list(output.outputs[0].token_ids)) for key, output in self._finished.items()]
        self._finished = {}
        return done

    def score(self, prompt: list[int], turn: list[int]) -> float:
        """The negative log-likelihood of a turn after a prompt, in nats: one pass."""
        # Beside others, vLLM takes the LoRA mapping of the wrong tokens and fails (its issue 29955 and pull
        # request 53842). What `add` took waits for `collect`, so that there are seldom any.
        while self._lora is not None and self._engine.has_unfinished_requests():
            self._step()
        self._send(SCORED, [*prompt, *turn], temperature=0.0, max_tokens=1, prompt_logprobs=0)
        while SCORED not in self._finished:
            self._step()
        places = self._finished.pop(SCORED).prompt_logprobs[len(prompt) :]
        return -sum(place[token].logprob for place, token in zip(places, turn, strict=True))

    def _send(self, key: str, tokens: list[int], **settings: Any) -> None:
        from vllm import SamplingParams, TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY, **settings)
        prompt = TokensPrompt(prompt_token_ids=tokens)
        self._engine.add_request(key, prompt, sampling, lora_request=self._lora)

    def _step(self) -> None:
        self._finished |= {output.request_id: output for output in self._engine.step() if output.finished}


class VllmStudent(Student):
    """A student whose model vLLM runs; prompts are made and turns are read as `Student` does.

    At temperature 0 it writes what `Student` writes, but for rounding. What it draws for a seed is another
    draw than `Student`'s, and may differ with the other requests, as rounding does.
    """

    _generator: Any  # a VllmGenerator

    def __init__(self, generator: VllmGenerator, chat: Chat, card: StudentCard, *, batch: int = 256) -> None:
        self.chat, self.card, self.batch = chat, card, batch
        self.format, self.feedback = card.format, card.feedback
        self._count = TokenCounter(chat)
        self._generator = generator
        self._asked: dict[int, tuple[Dialog, int]] = {}

    @classmethod
    def load(cls, folder: Path | str, *, batch: int = 256) -> "VllmStudent":  # type: ignore[override]
        """The student in `folder`, an adapter with its base or a base alone; on the GPU where there is one.

        `batch` is the number of dialogs continued at once. Raises InputError where `folder` holds no student
        or one that vLLM cannot run, and UnavailableError where vLLM or the model cannot be loaded.
        """
        folder = Path(folder)
        card = StudentCard.load(folder)
        base, revision = _base(folder, card)
        adapter = _lora_settings(folder)
        vllm = _import_vllm()
        import torch
        from transformers import AutoTokenizer

        try:
            if (folder / "tokenizer_config.json").exists():
                tokenizer = AutoTokenizer.from_pretrained(folder)
            else:
                tokenizer = AutoTokenizer.from_pretrained(base, revision=revision)
            arguments = vllm.EngineArgs(
                model=base,
                revision=revision,
                dtype="bfloat16" if torch.cuda.is_available() else "float32",  # as for Student
                max_model_len=-1,  # the model's own, or what the memory has room for
                max_num_seqs=batch,
                enable_prefix_caching=True,
                skip_tokenizer_init=True,
                disable_log_stats=True,
                **adapter,
            )
            engine = vllm.LLMEngine.from_engine_args(arguments)
            lora = _load_adapter(engine, folder) if adapter else None
        except (OSError, ValueError, RuntimeError) as error:
            raise UnavailableError(
                f"{folder}: vLLM cannot load the model (base {base}): {error}; check that the base is there and "
                "the memory large enough, or roll out with transformers"
            ) from error
        chat = Chat(tokenizer)
        return cls(VllmGenerator(engine, chat.end, card.max_new_tokens, lora), chat, card, batch=batch)

    def _read(self, tokens: list[int], dialog: Dialog, prompt_tokens: int) -> Completion:
        if tokens:
            return super()._read(tokens, dialog, prompt_tokens)
        reason = f"a prompt of {prompt_tokens} tokens; there is room for {self._generator.max_length}"
        return Completion("", None, reason, prompt_tokens)


def _import_vllm() -> Any:
    try:
        import vllm
    except ImportError as error:
        raise UnavailableError(
            f"vLLM cannot be imported ({error}): pip install 'tutee-evaluator[vllm]'"
        ) from error
    return vllm


def _lora_settings(folder: Path) -> dict[str, Any]:
    """What vLLM's engine has to know about the adapter in `folder`; empty: there is none.

    Raises InputError where vLLM cannot run the adapter.
    """
    from safetensors import safe_open

    file = folder / "adapter_config.json"
    if not file.exists():
        return {}
    with safe_open(folder / "adapter_model.safetensors", "pt") as weights:
        # With LoRA of the head, vLLM gives wrong likelihoods (its issue 51594).
        refused = [name for name in sorted(weights.keys()) if ".lora_" not in name or "lm_head" in name]
    if refused:
        raise InputError(
            f"{folder}: vLLM cannot run an adapter with {', '.join(refused[:3])}: of added tokens, trained "
            "embeddings or a trained head (`modules_to_save`); roll out with transformers"
        )
    config = json.loads(file.read_text(encoding="utf-8"))
    rank = max([config["r"], *config.get("rank_pattern", {}).values()])
    if rank > RANKS[-1]:
        raise InputError(f"{file}: rank {rank}; vLLM takes {RANKS[-1]} at most; roll out with transformers")
    return {"enable_lora": True, "max_lora_rank": min(known for known in RANKS if known >= rank)}


def _load_adapter(engine: Any, folder: Path) -> Any:
    """The LoRARequest of the adapter in `folder`. vLLM loads it now, and not with the first prompt."""
    from vllm.lora.request import LoRARequest

    lora = LoRARequest(folder.name, 1, str(folder.resolve()))
    engine.add_lora(lora)
    return lora
