"""What peers make likely: what training students did after programs like the last one, and how often."""

from collections import Counter, defaultdict
from collections.abc import Mapping

from tutee_evaluator.engines.baselines.nearest import Successor, Successors
from tutee_evaluator.engines.baselines.revisions import Change, Revisions

# The shares of the last program itself, of what peers submitted next, and of their edits made in it, before
# they are weighted by how the grade changes (docs/experiments.md).
OF_LAST, OF_NEAREST, OF_TRANSFERRED = 0.2, 0.4, 0.4
# How many revisions of the same task the changes on all tasks, and all changes, count for.
ON_ALL_TASKS, AT_ALL_GRADES = 6, 3


class Peers:
    """Programs that a student may submit next, each with a probability: two stages.

    First how the grade changes: as often as training students' grades did from the same one (in tens) on the
    same task, where they are few as on all tasks (a Dirichlet prior). Then a program: the last one again,
    what peers submitted after programs like it, or the edits of these peers made in the last program; a
    peer's program stands for how the peer's own grade changed. Where no program does, it is the last one.
    """

    def __init__(self, revisions: Revisions) -> None:
        self.successors = Successors(revisions)
        self._all: Counter[Change] = Counter()
        self._at_grade: defaultdict[int, Counter[Change]] = defaultdict(Counter)
        self._on_task: defaultdict[tuple[str, int], Counter[Change]] = defaultdict(Counter)
        for task, found in revisions.items():
            for one in found:
                tens = round(one.grade / 10)
                for counts in (self._all, self._at_grade[tens], self._on_task[task, tens]):
                    counts[one.change] += 1

    def chances(self, task: str, program: str, grade: float | None) -> dict[str, float]:
        """The programs that may follow `program`, which has this grade, if it is known; they add up to 1."""
        shares = self._shares(task, program)
        if grade is not None:
            shares = self._weighted(shares, self._changes(task, round(grade / 10)), program)
        chances: dict[str, float] = {}
        for successor, share in shares.items():
            chances[successor.program] = chances.get(successor.program, 0.0) + share
        return chances

    def _shares(self, task: str, program: str) -> dict[Successor, float]:
        shares = {Successor(program, Change.STAYS): OF_LAST}
        for found, share in (
            (self.successors.of(task, program), OF_NEAREST),
            (self.successors.transferred(task, program), OF_TRANSFERRED),
        ):
            for successor in found:
                shares[successor] = shares.get(successor, 0.0) + share / len(found)
        return shares

    def _weighted(
        self, shares: Mapping[Successor, float], changes: Mapping[Change, float], program: str
    ) -> dict[Successor, float]:
        """The shares, where each change has the probability that it is to have."""
        totals = dict.fromkeys(Change, 0.0)
        for successor, share in shares.items():
            totals[successor.change] += share
        weighted = {
            successor: share / totals[successor.change] * changes[successor.change]
            for successor, share in shares.items()
        }
        last = Successor(program, Change.STAYS)
        weighted[last] += sum(chance for change, chance in changes.items() if not totals[change])
        return weighted

    def _changes(self, task: str, tens: int) -> dict[Change, float]:
        """How likely each change is on this task, from a grade of so many tens."""
        overall = _shrunk(self._all, dict.fromkeys(Change, 1 / len(Change)), AT_ALL_GRADES)
        at_grade = _shrunk(self._at_grade.get(tens, Counter()), overall, AT_ALL_GRADES)
        return _shrunk(self._on_task.get((task, tens), Counter()), at_grade, ON_ALL_TASKS)


def _shrunk(counts: Counter[Change], prior: Mapping[Change, float], weight: float) -> dict[Change, float]:
    """The shares of counts to which `weight` more are added, as `prior` has them."""
    total = counts.total() + weight
    return {change: (counts[change] + weight * prior[change]) / total for change in Change}
