"""Sections of configuration files, and the one way their errors are put into words."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, ValidationError


class Section(BaseModel):
    """A section of params.yaml, a preset or a course file: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def describe_errors(error: ValidationError) -> Iterator[str]:
    """One line per problem: the field, what is wrong with it, and the value where that is short.

    pydantic puts the `Tag` of a union's member into a field's path; a tag that begins with an underscore is
    left out again, because no file holds it.
    """
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("_"))
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown key; remove it or correct its spelling"
        elif problem["type"] == "missing":
            message = "missing; add it"
        value = problem["input"]
        shown = f" (value: {value!r})" if isinstance(value, str | int | float | bool) else ""
        yield f"`{place}`: {message}{shown}" if place else f"{message}{shown}"
