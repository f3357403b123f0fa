"""Section `students` of params.yaml: students to compare with those of a preset, by name."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import NonNegativeInt, model_validator

from tutee_evaluator.engines.baselines import BASELINES
from tutee_evaluator.engines.openai import StudentEndpointConfig
from tutee_grader.config import Section
from tutee_trainer.method import load_methods

NAME = r"[\w.-]+"


class NamedStudent(Section):
    """A row of section `students` of params.yaml: a student to compare with those of a preset.

    `source` is PRESET/METHOD, the folder of an adapter, or a registered version (`models:/tutee-COURSE/3`,
    `models:/tutee-COURSE@champion`); in its place `endpoint` is a model behind an OpenAI-compatible endpoint.
    With `examples` it is prompted: told what is wanted, and shown that many dialogs of training students. The
    text of a source alone stands for the row that has nothing else.
    """

    source: str | None = None
    endpoint: StudentEndpointConfig | None = None
    examples: NonNegativeInt | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_one(self) -> "NamedStudent":
        if (self.source is None) == (self.endpoint is None):
            raise ValueError("needs `source` or `endpoint`, and not both")
        return self


def is_method(name: str) -> bool:
    """Whether a stage of the pipeline rolls out a method of this name."""
    return name in BASELINES or name in load_methods()


def check_names(rows: Mapping[str, NamedStudent]) -> None:
    """Raises ValueError for a name that cannot be a file's, or is that of a method."""
    for name in rows:
        if not re.fullmatch(NAME, name):
            raise ValueError(f"{name!r} is not a name of letters, digits, '_', '.' and '-'")
        if is_method(name):
            raise ValueError(f"{name} is the name of a method; choose another one")
