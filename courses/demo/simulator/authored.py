"""The authored solutions: `solutions/NAME.yaml`, styles of each assignment and the mistakes it invites."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml
from habits import Habits
from misconceptions import LIBRARY, Bug, Program

FOLDER = Path(__file__).parent / "solutions"
AUTHORED_WEIGHT = 2.5  # how common a mistake is that the assignment itself invites


@dataclass(frozen=True)
class Mistake:
    """A mistake that one assignment invites: in a canonical line, `old` becomes `new`."""

    name: str
    kind: str
    old: str
    new: str

    def make(self, line: str) -> str:
        """The line with the mistake in it; the same line where it does not fit."""
        before = r"\b" if self.old[0].isalnum() else ""
        after = r"\b" if self.old[-1].isalnum() else ""
        whole = before + re.escape(self.old) + after
        return re.sub(whole, lambda _: self.new, line, count=1)


@dataclass(frozen=True)
class Work:
    """What is known of one assignment. `styles`: canonical solutions by the style's name."""

    assignment: str
    week: int
    styles: dict[str, tuple[str, ...]]
    mistakes: tuple[Mistake, ...]

    def program(self, style: str, habits: Habits) -> Program:
        """The correct program in this style, as a student of these habits writes it."""
        return Program((*self._header(habits), *(habits.write(line) for line in self.styles[style])))

    def bugs(self, style: str, habits: Habits) -> dict[str, list[Bug]]:
        """Every bug that could be in that program, by the misconception's name."""
        program = self.program(style, habits)
        found = {name: known.bugs(program) for name, known in LIBRARY.items()}
        offset = len(self._header(habits))
        for mistake in self.mistakes:
            for number, line in enumerate(self.styles[style], offset):
                wrong = mistake.make(line)
                if wrong != line:
                    bug = Bug(mistake.name, mistake.kind, number, number + 1, (habits.write(wrong),))
                    found.setdefault(mistake.name, []).append(bug)
        return {name: bugs for name, bugs in found.items() if bugs}

    def _header(self, habits: Habits) -> tuple[str, ...]:
        if habits.comment is None:
            return ()
        return (habits.comment.format(title=self.assignment.replace("_", " ")),)


@lru_cache(maxsize=1)
def works() -> tuple[Work, ...]:
    """All assignments, in the order of the weeks."""
    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        styles = {name: tuple(text.rstrip("\n").split("\n")) for name, text in values["styles"].items()}
        mistakes = tuple(Mistake(**mistake) for mistake in values["mistakes"])
        found.append(Work(file.stem, values["week"], styles, mistakes))
    return tuple(sorted(found, key=lambda work: work.week))


def weight(name: str) -> float:
    """How common a misconception is in the class."""
    return LIBRARY[name].weight if name in LIBRARY else AUTHORED_WEIGHT
