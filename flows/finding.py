"""Finds a student by name: a method of a preset, any adapter's folder, a registered version, an endpoint."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.named import NAME, NamedStudent
from flows.places import Places
from flows.registry import Registry
from tutee_evaluator.engines.baselines import BASELINES
from tutee_evaluator.engines.openai import StudentEndpointConfig
from tutee_grader.errors import InputError
from tutee_serializer.card import FILE as CARD
from tutee_serializer.card import StudentCard
from tutee_trainer.method import load_methods

_VERSION = re.compile(rf"models:/tutee-(?P<course>{NAME})(/(?P<number>\d+)|@(?P<alias>{NAME}))")


@dataclass(frozen=True)
class FoundStudent:
    """A student that can be rolled out: a model in a folder or behind an endpoint plays it."""

    name: str
    row: NamedStudent
    model: Path | StudentEndpointConfig

    @property
    def reads(self) -> StudentCard | StudentEndpointConfig:
        """Who says of which format and level of feedback the dialogs are that the student reads."""
        return StudentCard.load(self.model) if isinstance(self.model, Path) else self.model

    @property
    def description(self) -> str:
        """One sentence for the report."""
        model = self.model
        what = f"From {self.row.source}" if isinstance(model, Path) else f"{model.model} at {model.url}"
        if self.row.examples is None:
            return f"{what}."
        return f"{what}, prompted with {self.row.examples or 'no'} examples of other students."


def find_student(text: str, rows: Mapping[str, NamedStudent], places: Places) -> FoundStudent:
    """The student that `text` names: one of `rows` (`students` of params.yaml), or what a `source` may be.

    Raises InputError, saying what could be named, where there is none.
    """
    row = rows.get(text) or NamedStudent(source=text)
    name = text if text in rows else re.sub(r"[^\w.]+", "-", text.removeprefix("models:/")).strip("-")
    return FoundStudent(name, row, row.endpoint or _folder(str(row.source), places, rows))


def _folder(source: str, places: Places, rows: Mapping[str, NamedStudent]) -> Path:
    if source.startswith("models:/"):
        return _registered(source, places.root)
    preset, _, method = source.rpartition("/")
    for folder in (Places(places.course, preset or places.preset, places.root).model(method), Path(source)):
        if (folder / CARD).exists():
            return folder
    named = f"one of `students` of params.yaml ({', '.join(rows)}), " if rows else ""
    raise InputError(
        f"{source!r} names no student; it may be a method ({', '.join((*BASELINES, *load_methods()))}), "
        f"{named}PRESET/METHOD of a trained model, the folder of an adapter (which holds {CARD}), or a "
        f"registered version (models:/tutee-{places.course}/3)"
    )


def _registered(source: str, root: Path) -> Path:
    found = _VERSION.fullmatch(source)
    if found is None:
        raise InputError(f"{source}: is neither models:/tutee-COURSE/NUMBER nor models:/tutee-COURSE@ALIAS")
    registry = Registry(Places(found["course"], root=root))
    if found["number"]:
        return registry.folder(registry.get(int(found["number"])))
    version = registry.get_by_alias(found["alias"])
    if version is None:
        raise InputError(f"{source}: {registry.model} has no version with the alias {found['alias']}")
    return registry.folder(version)
