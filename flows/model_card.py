"""The model card of a registered adapter: README.md in its folder, as the Hugging Face hub reads one."""

import json
from importlib.metadata import metadata, packages_distributions
from pathlib import Path

import polars as pl
import yaml

from flows.parameters import Setup
from flows.places import Places
from tutee_evaluator.metrics.proper import SKILL_OVER
from tutee_evaluator.report.figures import Figure, Figures
from tutee_evaluator.report.tables import with_interval
from tutee_evaluator.schemas import COPY, MIX
from tutee_grader.files import read_table
from tutee_serializer.card import MODEL_CARD
from tutee_serializer.dialogs.canaries import CANARY
from tutee_serializer.schemas import DIALOGS
from tutee_trainer.method import Method, load_methods
from tutee_trainer.preset import PretrainedModel
from tutee_trainer.pretrained import find_source

METRICS = {
    f"energy{SKILL_OVER}{MIX}": "skill over MIX, two look-ups mixed, in the energy score (samples)",
    f"crps{SKILL_OVER}{MIX}": "skill over MIX in the CRPS of the grade (samples)",
    "coverage": "coverage: steps for which there is a program, of those of the real student",
    "grade_proximity": "grade proximity: 1 - difference of the grades / 100",
    "codebleu": "CodeBLEU, as its package computes it",
    "grade_proximity_skill": "skill over COPY in grade proximity",
    "codebleu_skill": "skill over COPY in CodeBLEU",
}
TEMPLATE = Path(__file__).with_name("model_card.jinja")


def model_card(setup: Setup, places: Places, name: str, metrics: pl.DataFrame) -> str:
    """The card of the adapter that method `name` trained; `metrics` are those of the report.

    It counts students and names none.
    """
    from huggingface_hub import ModelCard, ModelCardData

    course, preset, method = setup.course, setup.preset, load_methods()[name]
    model = preset.model if isinstance(preset.model, PretrainedModel) else None
    pretrained, licence = (model.pretrained, _licence(model)) if model else (None, None)
    data = ModelCardData(
        base_model=pretrained,
        library_name="peft",
        license=licence,
        pipeline_tag="text-generation",
        tags=["tutee", "artificial-student", "lora", name, *(["synthetic-data"] if course.synthetic else [])],
    )
    sections = _sections(setup, method)
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        course=course,
        preset=preset,
        method=method,
        pretrained=pretrained,
        licence=licence,
        rollout=setup.preset.rollout,
        splits=_splits(places),
        account=_account(places.account),
        seeds=", ".join(f"{part} {values['seed']}" for part, values in sections.items() if "seed" in values),
        sections=yaml.safe_dump(sections, sort_keys=False).strip(),
        evaluation=_evaluation(Figures(metrics), name),
    )
    return str(card)


def _sections(setup: Setup, method: Method) -> dict[str, dict[str, object]]:
    """The sections of the preset that the adapter and all it started from were trained by."""
    names, methods = {"model", "lora", "dialog", method.section}, load_methods()
    while method.start is not None:
        method = methods[method.start]
        names.add(method.section)
    return setup.preset.model_dump(mode="json", include=names, exclude_none=True)


def _splits(places: Places) -> str:
    dialogs = read_table(places.dialogs, DIALOGS, "serialize").filter(pl.col("feedback") != "none")
    rows = [
        [split, f"{found['student'].n_unique():,}", f"{found.height:,}"]
        for split in ("train", "validation", "test", CANARY)
        if (found := dialogs.filter(pl.col("split") == split)).height
    ]
    return _table(["split", "students", "dialogs"], rows)


def _account(file: Path) -> str:
    """Where every row of the log went, as stage ingest counted them."""
    flow = json.loads(file.read_text(encoding="utf-8"))["flow"]
    rows = [[step["step"], step["kind"], f"{step['rows']:,}"] for step in flow]
    return _table(["step", "kind", "rows"], rows)


def _evaluation(figures: Figures, method: str) -> str:
    rows = [
        [words, _cell(figures.get(method, metric)), _cell(figures.get(COPY, metric))]
        for metric, words in METRICS.items()
    ]
    return _table(["metric", method.upper(), "COPY"], rows)


def _licence(model: PretrainedModel) -> str | None:
    """The licence of a base model, by the package that holds it or its card, in its folder or on the hub.

    None where none is found.
    """
    from huggingface_hub import ModelCard, hf_hub_download

    try:
        source = find_source(model)
        if source.is_gguf:
            distribution = packages_distributions()[source.package or ""][0]
            return str(metadata(distribution).json["license"]).lower()  # as the hub writes it
        folder = Path(source.name)
        card = (
            folder / MODEL_CARD
            if folder.is_dir()
            else hf_hub_download(source.name, MODEL_CARD, **source.keywords)
        )
        data = ModelCard.load(card).data
    except Exception:  # noqa: BLE001 - no network, no such file, no card: the card says that it is unknown
        return None
    return getattr(data, "license", None)


def _cell(figure: Figure | None) -> str:
    return "-" if figure is None else with_interval(figure.value, figure.low, figure.high, ".3f")


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
