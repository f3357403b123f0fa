"""A preset: which model is trained, and how. The one place that says what a preset may hold.

The sections of the training methods come from their table (`tutee_trainer.methods`).
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError, create_model, model_validator

from tutee_evaluator.rollout.config import RolloutConfig
from tutee_grader.config import Section, describe_errors
from tutee_grader.errors import InputError
from tutee_serializer.dialogs.formats import Format
from tutee_trainer.method import load_methods


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
    def _heads_divide(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self


class PretrainedModel(Section):
    """A chat model that is trained already.

    `pretrained` is its name on the Hugging Face hub, with `revision` (a commit, so that it stays the same
    model), a local folder, or a GGUF file: a path, or PACKAGE/FILE for one in an installed package. `nf4` is
    QLoRA's 4 bits, CUDA only. `dtype` is the type of the weights and products on a CPU, `auto` the faster
    one; a GPU has bfloat16 or float16.
    """

    pretrained: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    quantization: Literal["nf4", "none"] = "nf4"
    dtype: Literal["auto", "float32", "bfloat16"] = "float32"

    @property
    def needs_revision(self) -> bool:
        """Whether this is a name on the hub without a revision."""
        is_file = self.pretrained.endswith(".gguf") or Path(self.pretrained).is_dir()
        return self.revision is None and not is_file


class TokenizerConfig(Section):
    """The byte-level BPE tokenizer of a tiny model; `vocabulary` counts its tokens, markers included."""

    vocabulary: Annotated[int, Field(ge=300)]


class AdapterConfig(Section):
    """A LoRA adapter: its rank, alpha (its scale times the rank), dropout, and the layers that have one."""

    rank: Count
    alpha: Count
    dropout: Share = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class DialogConfig(Section):
    """The dialogs that a student trains on. `max_length` and `max_new_tokens` count tokens.

    `first_is_target`: whether a student also learns to write the first submission on a task, without which
    they cannot begin one. In the published work it is never a target.
    `feedback: arm` tells each student what the log's experiment told the student's arm. `Preset.format` says
    how turns are written where `format` is `edits`.
    """

    format: Literal["code", "dual", "edits"]
    feedback: Literal["summary", "full", "arm"] = "summary"
    first_is_target: bool = True
    max_length: Count
    max_new_tokens: Count

    @model_validator(mode="after")
    def _prompt_fits(self) -> Self:
        if self.max_new_tokens >= self.max_length:
            raise ValueError(
                f"max_new_tokens ({self.max_new_tokens}) leaves no tokens for a prompt in max_length "
                f"({self.max_length})"
            )
        return self


class MethodConfig(Section):
    """The section of a preset that configures a method of training."""

    def check_dialog(self, dialog: DialogConfig) -> None:
        """Raises ValueError where the section does not fit the lengths of `dialog`."""


def _kind(model: Any) -> str:
    keys = model if isinstance(model, dict) else {}
    return "_pretrained" if "pretrained" in keys or isinstance(model, PretrainedModel) else "_tiny"


C = TypeVar("C", bound=MethodConfig)


class Preset(Section):
    """One file of presets/, parsed: these sections, and one for each method (`methods`).

    The sections `base` and `tokenizer` belong to a tiny model only. `parse` and `load` make presets.
    """

    name: str
    model: Annotated[
        Annotated[TinyModel, Tag("_tiny")] | Annotated[PretrainedModel, Tag("_pretrained")],
        Discriminator(_kind),
    ]
    tokenizer: TokenizerConfig | None = None
    lora: AdapterConfig
    dialog: DialogConfig
    rollout: RolloutConfig = RolloutConfig()

    @property
    def format(self) -> Format:
        """How turns are written: a pretrained model's tokenizer holds no markers, so its edits are plain."""
        format = Format(self.dialog.format)
        pretrained = isinstance(self.model, PretrainedModel)
        return Format.PLAIN_EDITS if pretrained and format is Format.EDITS else format

    @property
    def methods(self) -> Mapping[str, MethodConfig]:
        """The sections of the methods, by name."""
        return {name: section for name, section in self if isinstance(section, MethodConfig)}

    def section(self, name: str, kind: type[C]) -> C:
        """The section that configures a method; raises InputError where this preset leaves it out."""
        section = self.methods.get(name)
        if not isinstance(section, kind):
            raise InputError(f"preset {self.name}: section {name} is missing; add it to train this method")
        return section

    @model_validator(mode="after")
    def _sections_fit_each_other(self) -> Self:
        tiny = isinstance(self.model, TinyModel)
        if isinstance(self.model, PretrainedModel) and self.model.needs_revision:
            raise ValueError(
                f"model.revision is missing: {self.model.pretrained} is no local folder, no GGUF file, and "
                "a model of the hub may change; give the commit of the version you want"
            )
        for name, section in (("tokenizer", self.tokenizer), ("base", self.methods.get("base"))):
            if tiny and section is None:
                raise ValueError(f"section {name} is missing: a model with random weights needs it")
            if not tiny and section is not None:
                raise ValueError(f"section {name} has no use: a pretrained model brings its own")
        for section in self.methods.values():
            section.check_dialog(self.dialog)
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "Preset":
        """The preset with this name and these sections; raises ValidationError with every problem."""
        return _with_methods().model_validate(values)

    @classmethod
    def load(cls, path: Path) -> "Preset":
        """Reads a preset's file; its name without .yaml is the preset's.

        Raises PresetError, which lists every problem of the file, or the presets beside the one missing.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            names = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
            raise PresetError(
                f"preset {path.stem!r}: there is no {path}; presets there are: {names or 'none'}"
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
            return cls.parse({"name": path.stem, **values})
        except ValidationError as error:
            raise PresetError("\n".join(f"{path}: {problem}" for problem in describe_errors(error))) from None


@cache
def _with_methods() -> type[Preset]:
    """`Preset` with a field for the section of each method."""
    fields: dict[str, Any] = {
        method.section: (method.config | None, None) if method.optional else (method.config, ...)
        for method in load_methods().values()
    }
    return create_model("Preset", __base__=Preset, **fields)
