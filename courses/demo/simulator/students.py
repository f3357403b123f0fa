"""Synthetic students: their skill, habits and misconceptions, and how they work on an assignment."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import clues
from authored import Work, weight
from clues import Clue, Sign
from habits import Habits
from misconceptions import LIBRARY, Bug, Program

MOST_ATTEMPTS = 10
RECURRING = 5  # misconceptions that a student comes back to
RECURS = 5.0  # how much likelier than in the rest of the class

# What somebody who looks for a mistake tries out; the other kinds of bugs are not tried but made.
TRIED = ("bounds", "initial", "case", "value")


@dataclass(frozen=True)
class Student:
    """One synthetic student. `skill` is 0..1; `arm` is the level of feedback they are given."""

    name: str
    semester: str
    skill: float
    habits: Habits
    recurring: frozenset[str]
    arm: str = "summary"

    @classmethod
    def draw(cls, name: str, semester: str, random: Random, arm: str) -> "Student":
        skill = (random.random() + random.random()) / 2
        habits = Habits.draw(random)
        recurring = frozenset(random.sample(sorted(LIBRARY), RECURRING))
        return cls(name, semester, skill, habits, recurring, arm)

    def skill_in(self, week: int) -> float:
        """Skill grows with practice: by a sixth over twelve weeks."""
        return min(1.0, self.skill + week / 72)


@dataclass
class Trajectory:
    """One student at work on one assignment: a correct program in mind, and the bugs still in it."""

    student: Student
    work: Work
    random: Random
    bugs: list[Bug] = field(default_factory=list)
    attempts: int = 0
    finished: bool = False

    def __post_init__(self) -> None:
        self.skill = self.student.skill_in(self.work.week)
        self._take_style(self._choose_style())
        for _ in range(self._first_bugs()):
            self._add_bug()

    @property
    def code(self) -> str:
        return self.program.with_bugs(self.bugs)

    def step(self, seen: Sequence[Clue]) -> list[Bug]:
        """The next attempt, having seen these clues; returns the bugs that were fixed.

        Sets `finished` instead where the student gives up.
        """
        self.attempts += 1
        fixed = self._fix(seen)
        if fixed:
            # A slip of the hand while fixing: the less skilled, the more often.
            if self.random.random() < 0.09 * (1.2 - self.skill):
                self._add_bug(near=fixed[0], kinds=("syntax", "name"))
            return fixed
        if self.attempts >= MOST_ATTEMPTS or self.random.random() < 0.05 * self.attempts * (1.3 - self.skill):
            self.finished = True
            return []
        self._try_something(seen)
        return []

    def _fix(self, seen: Sequence[Clue]) -> list[Bug]:
        """Bugs found with the clues' help, the likeliest first: mostly one, more if more tests are shown."""
        enough = 0.88 if len(seen) == 1 else 0.4
        fixed: list[Bug] = []
        for bug, chance in self._chances(seen):
            if self.random.random() < chance:
                fixed.append(bug)
                if self.random.random() < enough:
                    break
        self.bugs = [bug for bug in self.bugs if bug not in fixed]
        return fixed

    def _chances(self, seen: Sequence[Clue]) -> list[tuple[Bug, float]]:
        """Each bug with the chance that it is found, by the clue that says most; the likeliest first."""
        found = []
        shift = 0  # bugs above may have added or removed lines
        for bug in sorted(self.bugs, key=lambda bug: bug.start):
            lines = range(bug.start + shift, bug.start + shift + len(bug.lines))
            found.append((bug, max(clues.chance(clue, bug, lines, self.skill) for clue in seen)))
            shift += len(bug.lines) - (bug.stop - bug.start)
        return sorted(found, key=lambda pair: -pair[1])

    def _try_something(self, seen: Sequence[Clue]) -> None:
        """An attempt that fixes nothing."""
        roll = self.random.random()
        if roll < 0.68:
            self._try_on_the_spot(seen)
        elif roll < 0.87:
            self._add_bug(kinds=TRIED)
        elif roll < 0.91 and self.attempts >= 3:
            self._take_style(self.random.choice(sorted(self.work.styles)))
            self._add_bug()
        # else: the same program once more, in the hope of a better mood of the grader.

    def _try_on_the_spot(self, seen: Sequence[Clue]) -> None:
        """The right place, and still wrong there: another bug on the lines of one."""
        bug, _ = self._chances(seen)[0]
        kinds = (*TRIED, "syntax") if any(clue.sign == Sign.SYNTAX for clue in seen) else TRIED
        others = [
            other
            for bugs in self.available.values()
            for other in bugs
            if (other.start, other.stop) == (bug.start, bug.stop)
            if other.lines != bug.lines and other.kind in kinds
        ]
        if others:
            self.bugs[self.bugs.index(bug)] = self.random.choice(others)
        else:
            self._add_bug(kinds=TRIED)

    def _choose_style(self) -> str:
        if self.random.random() < 0.1:
            return self.random.choice(sorted(self.work.styles))
        return next(style for style in self.student.habits.taste if style in self.work.styles)

    def _take_style(self, style: str) -> None:
        self.program: Program = self.work.program(style, self.student.habits)
        self.available = self.work.bugs(style, self.student.habits)
        self.bugs = []

    def _first_bugs(self) -> int:
        return self.random.choices(
            (0, 1, 2, 3), weights=(0.04 + 0.24 * self.skill, 0.4, 0.4, 0.6 * (1 - self.skill))
        )[0]

    def _add_bug(self, near: Bug | None = None, kinds: tuple[str, ...] = ()) -> None:
        """One more bug, on lines that hold none yet; `near` keeps it to the lines of another."""
        free: dict[str, list[Bug]] = {}
        syntax = any(bug.kind == "syntax" for bug in self.bugs)
        for name, bugs in self.available.items():
            for bug in bugs:
                fits = not any(bug.touches(held) for held in self.bugs)
                fits = fits and (near is None or bug.touches(near)) and (not kinds or bug.kind in kinds)
                # Novices seldom hand in two syntax errors: the editor shows them the first.
                if fits and not (syntax and bug.kind == "syntax"):
                    free.setdefault(name, []).append(bug)
        if not free:
            return
        weights = [weight(name) * (RECURS if name in self.student.recurring else 1.0) for name in free]
        name = self.random.choices(list(free), weights=weights)[0]
        self.bugs.append(self.random.choice(free[name]))
