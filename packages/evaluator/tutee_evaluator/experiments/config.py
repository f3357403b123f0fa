"""The file of an experiment: which policies are played against which class."""

import re
import string
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, field_validator, model_validator

from tutee_evaluator.endpoint import Endpoint, EndpointConfig
from tutee_evaluator.experiments.policies import (
    FunctionPolicy,
    GraderPolicy,
    HintsPolicy,
    Policy,
    TutorPolicy,
)
from tutee_grader.config import Section, describe_errors
from tutee_grader.errors import InputError
from tutee_grader.feedback import Level

NAME = r"^[\w.-]+$"
Primary = Literal["solved", "area"]


class PolicyConfig(Section):
    """A policy, by exactly one of these.

    `level` is one of the grader's; `hints` a YAML file with a list of hints for each assignment; `endpoint` a
    tutor behind an OpenAI-compatible endpoint, asked with the text of the file `prompt` (`TutorPolicy` has
    its fields); `function` a Python function, MODULE:NAME. Files are relative to the experiment's.
    """

    level: Level | None = None
    hints: Path | None = None
    endpoint: EndpointConfig | None = None
    prompt: Path | None = None
    function: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"level": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        kinds = ("level", "hints", "endpoint", "function")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none of them"
            raise ValueError(f"needs one of `level`, `hints`, `endpoint` and `function`, and has {said}")
        if (self.endpoint is None) != (self.prompt is None):
            raise ValueError("`endpoint` and `prompt` belong together: a tutor and what it is asked")
        return self


class ClassConfig(Section):
    """The class: `start: history` continues held-out students after their first submission.

    With `start: task` as many students begin each assignment from nothing, and nothing tells one from
    another but what is drawn. `students` null: all held-out ones, or 30 that begin.
    """

    start: Literal["history", "task"] = "history"
    students: PositiveInt | None = None
    assignments: tuple[str, ...] | None = None
    seed: int = 1


class ExperimentConfig(Section):
    """An experiment. `student` is what `tutee compare` takes; `question` heads the report.

    Each trajectory is drawn `samples` times, with the same random numbers under every policy, and goes on
    for `steps` submissions at most. `primary` is the outcome that the answer is about, fixed before the
    experiment; `effect` is a difference of it that would matter.
    """

    course: str
    student: str
    policies: Annotated[dict[str, PolicyConfig], Field(min_length=2)]
    question: str | None = None
    preset: str | None = None
    students: ClassConfig = Field(default=ClassConfig(), alias="class")
    samples: PositiveInt = 4
    steps: PositiveInt = 6
    primary: Primary = "solved"
    effect: PositiveFloat | None = None
    seed: int = 1

    @field_validator("policies")
    @classmethod
    def _have_names(cls, policies: dict[str, PolicyConfig]) -> dict[str, PolicyConfig]:
        if wrong := [name for name in policies if not re.fullmatch(NAME, name)]:
            raise ValueError(f"{', '.join(wrong)}: a policy's name is of letters, digits, '_', '.' and '-'")
        return policies

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads an experiment's file; raises InputError with every problem at once."""
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; docs/policies.md shows one") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{path}: cannot be read as YAML: {error}") from error
        if not isinstance(values, dict):
            raise InputError(f"{path}: holds no `course:`, `student:` and `policies:`")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InputError("\n".join(f"{path}: {problem}" for problem in describe_errors(error))) from None


def make_policies(
    configs: Mapping[str, PolicyConfig], folder: Path, assignments: list[str], seed: int
) -> dict[str, Policy]:
    """The policies that are to be played on `assignments`; raises InputError with every problem at once."""
    policies: dict[str, Policy] = {}
    problems: list[str] = []
    for name, config in configs.items():
        try:
            policies[name] = _make(config, folder, assignments, seed)
        except InputError as error:
            problems.append(f"policy {name}: {error}")
    if problems:
        raise InputError("\n".join(problems))
    return policies


def _make(config: PolicyConfig, folder: Path, assignments: list[str], seed: int) -> Policy:
    if config.level is not None:
        return GraderPolicy(config.level)
    if config.hints is not None:
        return HintsPolicy(_hints(folder / config.hints, assignments))
    if config.endpoint is not None and config.prompt is not None:
        return TutorPolicy(Endpoint(config.endpoint), _prompt(folder / config.prompt), seed)
    return _function(str(config.function), folder)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _prompt(path: Path) -> str:
    text = _text(path)
    named = string.Template(text).get_identifiers()
    if unknown := [f"${name}" for name in named if name not in TutorPolicy.FIELDS]:
        known = ", ".join(f"${name}" for name in TutorPolicy.FIELDS)
        raise InputError(f"{path}: has no value for {', '.join(unknown)}; there are {known}, and $$ is a $")
    return text


def _hints(path: Path, assignments: list[str]) -> dict[str, list[str]]:
    try:
        values = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: cannot be read as YAML: {error}") from error
    hints = values if isinstance(values, dict) else {}
    wrong = [
        name
        for name in assignments
        if not isinstance(hints.get(name), list) or not hints[name] or not all(map(_is_text, hints[name]))
    ]
    if wrong:
        names = ", ".join(wrong)
        raise InputError(f"{path}: has no list of hints for {names}; add one, as `NAME: [hint, ...]`")
    return hints


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _function(name: str, folder: Path) -> FunctionPolicy:
    module, _, function = name.partition(":")
    sys.path.insert(0, str(folder.resolve()))
    try:
        found = getattr(import_module(module), function, None)
    except (Exception, SystemExit) as error:  # whatever the module does as it is imported
        where = f"{folder.resolve()} or what is installed"
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"{name}: cannot be imported from {where}: {problem}") from error
    finally:
        sys.path.remove(str(folder.resolve()))
    if not callable(found):
        raise InputError(f"{name}: {module} has no function {function}")
    return FunctionPolicy(name, found)
