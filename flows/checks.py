"""What the gate asks of a model's files before it looks at any figure: that they are whole and safe."""

from pathlib import Path

from tutee_grader.errors import InputError
from tutee_grader.files import folder_hash
from tutee_serializer.card import MODEL_CARD, StudentCard

WEIGHTS = ".safetensors"
# No other is in a model's folder: above all no pickle (.bin, .pt), which runs code as it is loaded.
SAFE = {WEIGHTS, ".json", ".jinja", ".md", ".parquet", ".txt"}


def incomplete(folder: Path, expected: str) -> list[str]:
    """Why a registered model is not what was trained: its hash is not `expected`, or a file cannot be loaded.

    Empty where it is. Weights that are not finite numbers count as broken.
    """
    if not folder.is_dir():
        return [f"{folder} is missing"]
    problems = []
    if folder_hash(folder, but=MODEL_CARD) != expected:
        problems.append("its files are not those that were registered")
    try:
        StudentCard.load(folder)
    except InputError as error:
        problems.append(str(error))
    weights = sorted(folder.glob(f"*{WEIGHTS}"))
    if not weights:
        problems.append(f"it has no weights (*{WEIGHTS})")
    return problems + [problem for file in weights if (problem := _broken(file))]


def unsafe(folder: Path) -> list[str]:
    """Files of a model's folder of other kinds than SAFE, which may run code as they are loaded."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in SAFE)
    return [f"{file.relative_to(folder)} is of none of the kinds {', '.join(sorted(SAFE))}" for file in files]


def _broken(file: Path) -> str | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        return f"{file.name} cannot be loaded ({error})"
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return f"{file.name}: {name} holds numbers that are not finite"
    return None
