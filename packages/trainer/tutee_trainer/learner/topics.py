"""The topics of a course: what a teacher says on each, and the words that belong to it."""

import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, RootModel, StringConstraints, ValidationError, field_validator

from tutee_grader.config import Section, describe_errors
from tutee_grader.errors import InputError

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class Topic(Section):
    """One topic: the teacher's `opening` and what they say next, and the `terms` of the subject.

    A term is one word in its singular; a turn that uses one is on the subject. Learners are measured on the
    topics of split `test`, and trained on the others.
    """

    name: Text
    split: Literal["train", "test"] = "train"
    opening: Text
    follow_ups: tuple[Text, ...] = ()
    terms: Annotated[tuple[Text, ...], Field(min_length=1)]

    @field_validator("terms")
    @classmethod
    def _are_words(cls, terms: tuple[str, ...]) -> tuple[str, ...]:
        if long := [term for term in terms if not re.fullmatch(r"\w+", term)]:
            raise ValueError(f"terms are single words, not {', '.join(map(repr, long))}")
        return terms

    @property
    def teacher(self) -> tuple[str, ...]:
        """All that the teacher says, in order."""
        return (self.opening, *self.follow_ups)


class _Topics(RootModel[list[Topic]]):
    pass


def read_topics(path: Path, split: str) -> list[Topic]:
    """The topics of a split in a YAML file: a list of Topic.

    Raises InputError with every problem of the file at once, or where there is no topic of that split.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {error}") from error
    try:
        topics = _Topics.model_validate(values).root
    except ValidationError as error:
        raise InputError("\n".join(f"{path}: {problem}" for problem in describe_errors(error))) from None
    names = [topic.name for topic in topics]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path}: `name`: {', '.join(twice)}: there twice; a topic's name is its own")
    found = [topic for topic in topics if topic.split == split]
    if not found:
        raise InputError(
            f"{path}: no topic has `split: {split}`; learners train on train, are measured on test"
        )
    return found
