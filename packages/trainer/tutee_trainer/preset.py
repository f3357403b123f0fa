"""A preset: which model is trained, and how. The one place that says what a preset may hold."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from tutee_grader.config import Section, describe_errors
from tutee_grader.errors import InputError

FOLDER = Path("presets")


class PresetError(InputError):
    """A preset that cannot be used. The message lists every problem found, one a line."""


Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class TinyModel(Section):
    """The shape of a Qwen3 model with random weights."""

    hidden_size: Count
    layers: Count
    heads: Count
    kv_heads: Count
    head_size: Count
    mlp_size: Count

    @model_validator(mode="after")
    def _heads_divide(self) -> "TinyModel":
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self


class PretrainedModel(Section):
    """A model of the Hugging Face hub, or a local folder of one. `nf4` is QLoRA's 4-bit, CUDA only."""

    pretrained: Annotated[str, Field(min_length=1)]
    quantization: Literal["nf4", "none"] = "nf4"


class Tokenizer(Section):
    """The byte-level BPE tokenizer of a tiny model; `vocabulary` counts its tokens, markers included."""

    vocabulary: Annotated[int, Field(ge=300)]


class Base(Section):
    """How the tiny base is trained, whole. `tokens` and `batch_tokens` count padded tokens.

    `practice` is the share of synthetic dialogs, `renamed` that of dialogs with other variable names,
    `no_feedback` that of real dialogs without the grader's words. `prompt_weight` is the weight in the
    loss of a token that the student does not write; the student's own weigh 1.
    """

    tokens: Count
    batch_tokens: Count
    learning_rate: Rate
    embedding_learning_rate: Rate
    warmup: Annotated[float, Field(gt=0, le=1)] = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    prompt_weight: Annotated[float, Field(ge=0, lt=1)] = 0.5
    practice: Annotated[float, Field(ge=0, lt=1)] = 0.0
    renamed: Share = 0.3
    no_feedback: Share = 0.2
    evaluations: Count = 6
    patience: Count = 2
    seed: int = 0


class Lora(Section):
    """A LoRA adapter: its rank, its scale times the rank, dropout, and the layers it sits on."""

    rank: Count
    alpha: Count
    dropout: Share = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Stage(Section):
    """What every adapter's training has in common.

    `batch` counts examples (dialogs, pairs, completions) per optimizer step, `micro_batch` those that are
    on the device at once. `steps` caps the optimizer steps below what `epochs` asks for.
    """

    learning_rate: Rate
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Share = 0.1
    epochs: Rate = 1.0
    steps: Count | None = None
    batch: Count = 16
    micro_batch: Count = 1
    seed: int = 0

    @model_validator(mode="after")
    def _batch_divides(self) -> "Stage":
        if self.batch % self.micro_batch:
            raise ValueError(f"batch ({self.batch}) must be a multiple of micro_batch ({self.micro_batch})")
        return self


class Sft(Stage):
    """SFT and PARA: loss on the student's turns only."""


class Dpo(Stage):
    """DPO from the SFT adapter, widened to a larger rank where `rank` and `alpha` say so."""

    beta: Rate = 0.5
    rank: Count | None = None
    alpha: Count | None = None


class Dapo(Stage):
    """DAPO from the SFT adapter: `samples` completions a prompt, rewarded by the grader.

    `max_prompt` caps a prompt's tokens; the oldest turns go first. `candidates` prompts are tried ahead, and
    those kept whose samples earn different rewards (None: all prompts, untried).
    """

    samples: Annotated[int, Field(ge=2)] = 4
    temperature: Rate = 1.0
    epsilon: Rate = 0.2
    epsilon_high: Rate = 0.28
    max_prompt: Count
    candidates: Count | None = None

    @model_validator(mode="after")
    def _samples_divide(self) -> "Dapo":
        if self.batch % self.samples:
            raise ValueError(f"batch ({self.batch}) must be a multiple of samples ({self.samples})")
        return self


class Dialog(Section):
    """How the student is spoken to. `max_length` and `max_new_tokens` count tokens."""

    format: Literal["code", "dual", "edits"]
    feedback: Literal["summary", "full"] = "summary"
    max_length: Count
    max_new_tokens: Count

    @model_validator(mode="after")
    def _room_for_a_prompt(self) -> "Dialog":
        if self.max_new_tokens >= self.max_length:
            raise ValueError(
                f"max_new_tokens ({self.max_new_tokens}) leaves no room for a prompt in max_length "
                f"({self.max_length})"
            )
        return self


def _kind(model: Any) -> str:
    held = model if isinstance(model, dict) else {}
    return "_pretrained" if "pretrained" in held or isinstance(model, PretrainedModel) else "_tiny"


class Preset(Section):
    """One file of presets/, parsed. `base` and `tokenizer` belong to a tiny model only."""

    name: str
    model: Annotated[
        Annotated[TinyModel, Tag("_tiny")] | Annotated[PretrainedModel, Tag("_pretrained")],
        Discriminator(_kind),
    ]
    tokenizer: Tokenizer | None = None
    base: Base | None = None
    lora: Lora
    sft: Sft
    dpo: Dpo
    dapo: Dapo
    dialog: Dialog

    @model_validator(mode="after")
    def _sections_fit_the_model(self) -> "Preset":
        tiny = isinstance(self.model, TinyModel)
        for section in ("tokenizer", "base"):
            if tiny and getattr(self, section) is None:
                raise ValueError(f"section {section} is missing: a model with random weights needs it")
            if not tiny and getattr(self, section) is not None:
                raise ValueError(f"section {section} has no use: a pretrained model brings its own")
        room = self.dialog.max_length - self.dialog.max_new_tokens
        if self.dapo.max_prompt > room:
            raise ValueError(
                f"dapo.max_prompt ({self.dapo.max_prompt}) exceeds max_length - max_new_tokens ({room})"
            )
        return self

    @classmethod
    def load(cls, preset: str | Path, folder: Path = FOLDER) -> "Preset":
        """Reads presets/NAME.yaml for a name, or the file itself for a path that ends in .yaml.

        Raises PresetError, which lists every problem of the file, or the presets there are.
        """
        path = Path(preset) if str(preset).endswith((".yaml", ".yml")) else folder / f"{preset}.yaml"
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            there = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) or f"none in {folder}/"
            raise PresetError(
                f"preset {str(preset)!r}: there is no {path}; presets there are: {there}"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise PresetError(f"{path}: cannot be read ({error})") from error
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise PresetError(f"{path}: not YAML: {error}") from error
        if not isinstance(values, dict):
            raise PresetError(f"{path}: expected sections such as model: and dialog:, found {values!r:.60}")
        if "name" in values:
            raise PresetError(f"{path}: name: the file's own name is the preset's; remove this key")
        try:
            return cls(name=path.stem, **values)
        except ValidationError as error:
            raise PresetError("\n".join(f"{path}: {problem}" for problem in describe_errors(error))) from None
