"""A language model, run by vLLM, that plays a student: for many rollouts on a GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tutee_evaluator.engines.generator import Written
from tutee_evaluator.engines.local import LocalStudent, base_of, load_tokenizer
from tutee_grader.errors import InputError, UnavailableError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.chat import Chat

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # of which vLLM's `max_lora_rank` is one
SEEDS = 2**63  # vLLM keeps them in 64 bits with a sign
_SCORE = "score"  # the request that is no turn to write

# Fields of PEFT's adapter_config.json that vLLM refuses or reads past when they say anything.
_UNSERVED = ("modules_to_save", "trainable_token_indices", "use_dora", "rank_pattern", "alpha_pattern")


class VllmStudent(LocalStudent):
    """A language model that plays a student, run by vLLM. `batch` dialogs are continued at once.

    It reads and writes what `Student` does, but for rounding: vLLM computes in batches of varying size, so
    that of two tokens that are equally likely it may take either.
    """

    @classmethod
    def load(cls, folder: Path | str, *, batch: int = 128) -> VllmStudent:
        """The student in `folder`: an adapter, which vLLM adds to its base, or a base alone.

        Raises InputError where `folder` holds no student or an adapter that vLLM cannot serve, and
        UnavailableError where vLLM is missing or cannot load the model.
        """
        folder = Path(folder)
        card = StudentCard.load(folder)
        rank = _rank(folder) if (folder / "adapter_config.json").exists() else None
        try:
            from vllm import EngineArgs, LLMEngine
            from vllm.lora.request import LoRARequest
        except ImportError as error:
            raise UnavailableError(
                f"vLLM is not installed ({error}): pip install 'tutee-evaluator[vllm]' in an environment of "
                "its own (it takes no FastAPI that Prefect takes), or use the engine on transformers"
            ) from error
        base, revision = base_of(folder, card)
        lora = {} if rank is None else {"enable_lora": True, "max_lora_rank": rank}
        try:
            tokenizer = load_tokenizer(folder, base, revision)
            length = _context(base, revision, card)
            arguments = EngineArgs(
                model=base,
                revision=revision,
                skip_tokenizer_init=True,  # it is given tokens, by the tokenizer of the student
                dtype="bfloat16",
                max_model_len=length,
                max_num_seqs=batch,
                enable_prefix_caching=True,
                disable_log_stats=True,
                **lora,
            )
            engine = LLMEngine.from_engine_args(arguments)
        except (OSError, RuntimeError, ValueError) as error:  # memory that is too small is any of these
            raise UnavailableError(
                f"{folder}: vLLM cannot load the model (base {base}): {error}; check that the base is there, "
                "that vLLM knows this kind of model, and that the GPU has the memory"
            ) from error
        adapter = None if rank is None else LoRARequest("student", 1, str(folder.resolve()))
        chat = Chat(tokenizer)
        generator = VllmGenerator(engine, chat.end, card.max_new_tokens, length, adapter)
        return cls(generator, chat, card, batch=batch)


class VllmGenerator:
    """Writes up to `max_new_tokens` tokens after prompts, until the token `end`, with vLLM's LLMEngine.

    Prompts join and leave its batch at any time, and what several begin with is read once. `context` is the
    number of tokens that it can hold of one prompt and what is written after it.
    """

    def __init__(self, engine: Any, end: int, max_new_tokens: int, context: int, adapter: Any = None) -> None:
        self._engine, self._adapter = engine, adapter
        self._end, self._max_new_tokens, self._context = end, max_new_tokens, context
        self._done: dict[str, Any] = {}  # vLLM's outputs, by the name of the request

    def add(
        self,
        key: int,
        prompt: list[int],
        temperature: float = 0.0,
        seed: int = 0,
        limit: int | None = None,
        logprobs: bool = False,
    ) -> None:
        """Takes a prompt, which `key` names. At `temperature` 0 `seed` does not matter."""
        self._ask(
            str(key),
            prompt,
            temperature=temperature,
            seed=seed % SEEDS,
            max_tokens=min(limit or self._max_new_tokens, self._max_new_tokens),
            stop_token_ids=[self._end],
            logprobs=0 if logprobs else None,
        )

    def cancel(self, key: int) -> None:
        """Stops writing after a prompt, which is never done; nothing if it is done."""
        self._engine.abort_request([str(key)])

    def written(self, key: int) -> list[int]:
        """None: vLLM gives what it has written at the end."""
        return []

    def step(self) -> list[Written]:
        """Works for a moment, for all prompts; returns what was written after those that are done."""
        if not self._done and self._engine.has_unfinished_requests():
            self._step()
        done, self._done = self._done, {}
        return [_written(int(name), output.outputs[0]) for name, output in done.items()]

    def score(self, prompt: list[int], turn: list[int]) -> float | None:
        """The negative log-likelihood of a turn after a prompt, in nats; None: they exceed the context."""
        tokens = [*prompt, *turn]
        if len(tokens) >= self._context:  # vLLM writes one token after them
            return None
        self._ask(_SCORE, tokens, temperature=0.0, max_tokens=1, prompt_logprobs=0)
        while _SCORE not in self._done:
            self._step()
        chances = self._done.pop(_SCORE).prompt_logprobs[len(prompt) :]
        return -sum(chance[token].logprob for token, chance in zip(turn, chances, strict=True))

    def _ask(self, name: str, tokens: list[int], **sampling: Any) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._engine.add_request(
            name,
            # Both a TokensPrompt and what vLLM makes of one, which its later versions ask for.
            {"type": "token", "prompt_token_ids": tokens},
            SamplingParams(
                ignore_eos=True,  # a turn ends with the chat's token, whatever else the model may end with
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
                **sampling,
            ),
            lora_request=self._adapter,
        )

    def _step(self) -> None:
        for output in self._engine.step():
            if output.finished:
                self._done[output.request_id] = output


def _written(key: int, output: Any) -> Written:
    """What vLLM wrote after a prompt; of its log-likelihoods, those of the tokens that it chose."""
    tokens = list(output.token_ids)
    chances = output.logprobs or []
    return Written(
        key, tokens, [chance[token].logprob for token, chance in zip(tokens, chances, strict=False)]
    )


def _rank(folder: Path) -> int:
    """The least `max_lora_rank` for the adapter in `folder`; raises InputError where vLLM cannot serve it."""
    from peft.utils import load_peft_weights

    file = folder / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    found = [f"{name} {config[name]}" for name in _UNSERVED if config.get(name)]
    if config.get("peft_type") != "LORA":
        found.append(f"peft_type {config.get('peft_type')}")
    if config.get("bias", "none") != "none":
        found.append(f"bias {config['bias']}")
    whole = [name for name in load_peft_weights(str(folder), device="cpu") if "lora_" not in name]
    found += [f"the whole weights {name}" for name in whole[:1]]
    rank = next((rank for rank in RANKS if rank >= config.get("r", 0)), None)
    if rank is None:
        found.append(f"r {config['r']}, more than {RANKS[-1]}")
    if rank is None or found:
        raise InputError(
            f"{file}: vLLM serves no adapter with {', '.join(found)}; use the engine of the library "
            "transformers, or train LoRA matrices alone"
        )
    return rank


def _context(base: str, revision: str | None, card: StudentCard) -> int:
    """The tokens for which vLLM keeps memory: a whole dialog, and a real turn as long as one.

    Students hand in programs that are longer than the model's longest turn, and `nats` is asked of them.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base, revision=revision)
    return min(2 * card.max_length, getattr(config, "max_position_embeddings", sys.maxsize))
