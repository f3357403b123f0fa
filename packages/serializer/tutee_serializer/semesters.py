"""Which semesters a course trains and tests on: what its course file asks for, and what its log has."""

import datetime
import re
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from pydantic import Field, ValidationInfo, field_validator

from tutee_grader.config import Section
from tutee_serializer.schemas import TRAJECTORY

EACH_SEMESTER = "`semesters: {train: all, test: latest}`"
WITHIN_ONE = "`semesters: {split: students, test: 0.2}`"


class Semesters(Section):
    """Section `semesters` of a course file: what is trained on, and what is held out to test on.

    By semester: `test` lists semesters or is `latest`, the newest one in the log; `train` lists semesters or
    is `all`, every one that is not test, or a number, so many before the first test semester. Only a list
    holds names, so a semester called latest is written `[latest]`.

    Within semesters: `split: students` holds out the share `test` of the students, with all their work,
    and `split: time` the share `test` of the trajectories, those begun last. `train` is then left out.
    """

    split: Literal["students", "time"] | None = None
    train: list[str] | Literal["all"] | int | None = Field(None, validate_default=True)
    test: list[str] | Literal["latest"] | float | None = Field(None, validate_default=True)

    @field_validator("train", mode="plain")
    @classmethod
    def _read_train(cls, train: Any, info: ValidationInfo) -> list[str] | Literal["all"] | int | None:
        if info.data.get("split"):
            if train is not None:
                raise ValueError("what `split` does not hold out is trained on; remove `train`")
            return None
        if train == "all":
            return "all"
        if isinstance(train, int) and not isinstance(train, bool):
            if train < 1:
                raise ValueError("at least 1 semester before the test semester is needed")
            return train
        return _names(train, "`all`, or a number of semesters before the test semester")

    @field_validator("test", mode="plain")
    @classmethod
    def _read_test(cls, test: Any, info: ValidationInfo) -> list[str] | Literal["latest"] | float:
        if info.data.get("split"):
            if not isinstance(test, float) or not 0 < test < 1:
                raise ValueError("with `split` it is the share to hold out, between 0 and 1, such as 0.2")
            return test
        if test == "latest":
            return "latest"
        names = _names(test, "`latest`")
        train = info.data.get("train")
        if isinstance(train, list) and (both := sorted(set(names) & set(train))):
            raise ValueError(f"{', '.join(both)} cannot be both train and test")
        return names


def _names(value: Any, others: str) -> list[str]:
    """Names of semesters; YAML may have read one as a number or a date."""
    kinds = (str, int, float, datetime.date)
    good = isinstance(value, list) and all(
        isinstance(name, kinds) and not isinstance(name, bool) for name in value
    )
    if not good or not value:
        raise ValueError(f'write a list of semesters, such as ["2025"], or {others}')
    return [str(name) for name in value]


@dataclass(frozen=True)
class Roles:
    """What each semester of a log is for.

    `found` counts the submissions of each, oldest first; `train` and `test` are of these, in the same order.
    They share none, but where `asked` splits within semesters each is both. `students` counts who there are.
    Work begun at `cut` or later is for testing where the split is by time.
    """

    asked: Semesters
    found: dict[str, int]
    train: list[str]
    test: list[str]
    students: int
    cut: datetime.datetime | None = None

    @property
    def used(self) -> list[str]:
        """The semesters with a role, oldest first."""
        return [name for name in self.found if name in self.train or name in self.test]

    def __str__(self) -> str:
        asked = self.asked
        if asked.split is None:
            window = f" (up to {asked.train} before)" if isinstance(asked.train, int) else ""
            latest = " (the latest)" if asked.test == "latest" else ""
            return f"train {_listed(self.train)}{window}; test {_listed(self.test)}{latest}"
        what = f"{_listed(list(self.found))}, not told apart"
        if len(self.found) == 1:
            what = f"one, {_listed(list(self.found))}"
        if asked.split == "students":
            return f"{what}: split by student, {asked.test:.0%} of {self.students:,} students for testing"
        cut = f"{self.cut:%Y-%m-%d %H:%M:%S} UTC" if self.cut else "the cut"
        return (
            f"{what}: split by time, the {asked.test:.0%} of trajectories that begin at {cut} or later for "
            "testing; of the others, what was submitted before is trained on and the rest left out"
        )

    def problems(self) -> list[str]:
        """Why this log cannot be trained and tested on as the course file asks, in words."""
        asked = self.asked
        counts = ", ".join(f"{name} ({count:,})" for name, count in self.found.items())
        log = (
            f"the log has submissions of {counts}" if counts else "the log has no submission that can be used"
        )
        if asked.split == "students" and self.students < 2:
            return [f"`semesters.split: students` needs two students or more; {log}"]
        if asked.split == "time" and self.cut is None:
            return [f"`semesters.split: time` needs work that begins at two moments or more; {log}"]
        if asked.split:
            return []
        problems = []
        for key, names in (("train", asked.train), ("test", asked.test)):
            if isinstance(names, list) and (absent := [name for name in names if name not in self.found]):
                problems.append(f"no submission is of `semesters.{key}` {_listed(absent)}; {log}")
        if isinstance(asked.train, list) and (both := set(asked.train) & set(self.test)):
            problems.append(
                f"{_listed(sorted(both))} is the latest semester, and `semesters.train` names it; {log}"
            )
        elif not self.train and not isinstance(asked.train, list):
            problems.append(
                f"`semesters.train: {asked.train}` leaves nothing to train on; {log}. A course with a single "
                f"semester can be split in it: {WITHIN_ONE}"
            )
        return problems


def resolve(asked: Semesters, submissions: pl.DataFrame) -> Roles:
    """What each semester of a log is for; it depends on the rows, not on their order.

    `submissions` needs the columns semester, student, assignment and submitted_at. Leaving out the
    semesters without a role changes no other's.
    """
    found = _in_order(submissions)
    names = list(found)
    students = submissions["student"].n_unique()
    if asked.split:
        cut = _cut(submissions, asked.test) if asked.split == "time" else None
        return Roles(asked, found, names, names, students, cut)
    test = names[-1:] if asked.test == "latest" else [name for name in names if name in _as_list(asked.test)]
    others = [name for name in names if name not in test]
    if isinstance(asked.train, int):
        end = names.index(test[0]) if test else len(names)
        train = names[max(end - asked.train, 0) : end]
    elif asked.train == "all":
        train = others
    else:
        train = [name for name in others if name in _as_list(asked.train)]
    return Roles(asked, found, train, test, students)


def _in_order(submissions: pl.DataFrame) -> dict[str, int]:
    """The submissions of each semester, oldest first: by the median of their times.

    Where one of the semesters has no times, all go by their names in natural order: 2024-9 before 2024-10.
    Then 2024-autumn comes before 2024-spring, which is right where 2024 is the year that the course began
    in, and wrong for calendar years: call those 2024-1-spring and 2024-2-autumn, or list them.
    """
    counted = submissions.group_by("semester").agg(pl.len(), pl.col("submitted_at").median().alias("middle"))
    rows = counted.rows(named=True)
    timed = all(row["middle"] is not None for row in rows)
    rows.sort(key=lambda row: ((row["middle"],) if timed else (), natural(row["semester"])))
    return {row["semester"]: row["len"] for row in rows}


def natural(name: str) -> tuple[list[str | int], str]:
    """A key that sorts names with their numbers as numbers."""
    parts: list[str | int] = list(re.split(r"(\d+)", name.casefold()))
    parts[1::2] = [int(part) for part in parts[1::2]]
    return parts, name


def _cut(submissions: pl.DataFrame, share: Any) -> datetime.datetime | None:
    """When the last `share` of all trajectories begins; None where nothing begins before."""
    begun = submissions.group_by(TRAJECTORY).agg(pl.col("submitted_at").min())["submitted_at"].sort()
    if begun.is_empty() or begun[0] == begun[-1]:
        return None
    held_out = min(max(round(share * len(begun)), 1), len(begun) - 1)
    # Where many begin at the first moment, what begins after it is for testing.
    later = begun.filter(begun > begun[0])
    cut: datetime.datetime = max(begun[len(begun) - held_out], later[0])
    return cut


def _as_list(names: Any) -> list[str]:
    assert isinstance(names, list), names
    return names


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
