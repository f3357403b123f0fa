"""What training a preset takes: memory, tokens and time, before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tutee_trainer.method import load_methods
from tutee_trainer.model import compute_dtype
from tutee_trainer.preset import Preset, TinyModel
from tutee_trainer.pretrained import load_config
from tutee_trainer.training import AdapterMethodConfig

if TYPE_CHECKING:
    import torch

MEASURED_S = 10.0
# Of the products' rate, what training reaches (`tutee bench sft`), and what writing token by token does.
TRAINING_SHARE, WRITING_SHARE = 0.5, 0.15
# Bytes of an adapter's weight: the weight, its gradient and Adam's two moments, in float32.
TRAINED_BYTES = 16
# What a layer keeps of a token for the way back, in multiples of the hidden size, beside the MLP's.
KEPT_PER_LAYER = 12
OVERHEAD = 1.5e9  # Python, torch and the libraries, in bytes


@dataclass(frozen=True)
class Size:
    """A base model's size: parameters of the layers' matrices, and all others (embeddings, norms)."""

    matrices: int
    others: int
    layers: int
    hidden: int
    mlp: int
    vocabulary: int
    bytes_per_matrix_weight: float
    bytes_per_weight: int

    @property
    def parameters(self) -> int:
        return self.matrices + self.others

    @property
    def weights(self) -> float:
        """Bytes of the weights."""
        return self.matrices * self.bytes_per_matrix_weight + self.others * self.bytes_per_weight


@dataclass(frozen=True)
class StageNeeds:
    """What a stage takes: its adapter's bytes, peak memory in bytes, tokens, floating-point operations."""

    name: str
    adapter: float
    memory: float
    tokens: float
    flop: float

    def seconds(self, rate: float) -> float:
        """The time at `rate` floating-point operations per second."""
        return self.flop / (rate * TRAINING_SHARE)


def measure(preset: Preset) -> Size:
    """The size of a preset's base model; raises UnavailableError where a pretrained one cannot be reached."""
    import torch
    from transformers import AutoModelForCausalLM

    if isinstance(preset.model, TinyModel):
        from tutee_trainer.tiny.model import model_config

        vocabulary = preset.tokenizer.vocabulary if preset.tokenizer else 0
        config: Any = model_config(preset.model, vocabulary)
        item, per_matrix = 4, 4.0
    else:
        config = load_config(preset).get_text_config()
        item = torch.empty(0, dtype=compute_dtype(preset)).element_size()
        # Four bits, and half a bit for the scales of each block (double quantisation).
        per_matrix = 4.5 / 8 if preset.model.quantization == "nf4" else item
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    matrices = sum(size for name, size in sizes.items() if "_proj" in name)
    return Size(
        matrices,
        sum(sizes.values()) - matrices,
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        config.vocab_size,
        per_matrix,
        item,
    )


def adapter_parameters(size: Size, rank: int) -> int:
    """The trained weights of an adapter of `rank` on all matrices, roughly: each is a pair of thin ones."""
    # Seven matrices a layer: four between hidden sizes, three between the hidden and the MLP's.
    return size.layers * rank * (4 * 2 * size.hidden + 3 * (size.hidden + size.mlp))


def stages(
    preset: Preset, size: Size, examples: dict[str, int], tokens: dict[str, float]
) -> Iterator[StageNeeds]:
    """What each method that the preset configures takes.

    `examples` counts, by the table a method learns from, what it trains on; `tokens` the mean tokens of one.
    """
    for name, method in load_methods().items():
        config = preset.methods.get(method.section)
        if method.start is None or not isinstance(config, AdapterMethodConfig) or method.arguments is None:
            continue
        table = "prompts" if method.uses_grader else method.learns_from
        settings = method.arguments(preset, examples[table])
        steps, rank = settings["max_steps"], getattr(config, "rank", None) or preset.lora.rank
        trained = adapter_parameters(size, rank)
        seen = steps * config.batch * tokens[table]
        length = preset.dialog.max_length
        kept = KEPT_PER_LAYER * size.hidden + 3 * size.mlp
        per_token = (1 if settings["activation_checkpointing"] else kept / size.hidden) * size.hidden
        activations = config.micro_batch * length * size.layers * per_token * 2
        if settings["activation_checkpointing"]:
            activations += config.micro_batch * length * kept * 2  # one layer at a time, computed anew
        # Forward 2, backward 2 (frozen weights have no gradient), 2 where activations are computed anew,
        # and 2 for the reference.
        work = 4 + 2 * settings["activation_checkpointing"] + 2 * (method.learns_from == "pairs")
        flop = seen * size.parameters * work
        if method.uses_grader:
            written = steps * config.batch * preset.dialog.max_new_tokens / 2
            flop += written * size.parameters * 2 * TRAINING_SHARE / WRITING_SHARE
        yield StageNeeds(
            name, trained * 4, size.weights + trained * TRAINED_BYTES + activations + OVERHEAD, seen, flop
        )


def measure_rate(dtype: torch.dtype, seconds: float = MEASURED_S) -> float:
    """Floating-point operations per second of this machine's matrix products of that type."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = 4096 if device == "cuda" else 1024
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    _wait(one @ other)
    started, products = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        product = one @ other
        products += 1
        if products % 8 == 0:
            _wait(product)
    _wait(product)
    return products * 2 * side**3 / (time.perf_counter() - started)


def _wait(tensor: torch.Tensor) -> None:
    """Until a GPU has computed the tensor."""
    float(tensor[0, 0])
