"""The baseline that looks up what training students did from a program like the present one."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from itertools import chain, islice, pairwise
from random import Random
from typing import NamedTuple

import polars as pl

from tutee_evaluator.distance import tokens
from tutee_evaluator.engines.baselines.baseline import Baseline
from tutee_evaluator.engines.baselines.revisions import Change, Revision, Revisions, read_revisions
from tutee_evaluator.engines.baselines.transfer import transfer
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.levels import Feedback

# Of how many revisions one is drawn. On Dublin's validation students MIX had skill 0.10 with 1, 0.14 with 4,
# 0.16 with 8 and 0.17 with 32; that many programs are hardly alike in a small course.
K = 8
# Of how many revisions' edits one is drawn, and how many of the nearest are tried until so many fit
# (docs/experiments.md).
TRANSFERRED, TRIED = 32, 200


class Nearest(Baseline):
    """The baseline that submits what a training student did after a program most like the student's last one.

    Likeliest is what followed the nearest program; drawn is one of what followed the `K` nearest ones. For a
    task on which no training student submitted twice it is COPY.
    """

    def __init__(self, format: str, feedback: Feedback, dialogs: pl.DataFrame) -> None:
        super().__init__(format, feedback)
        self.successors = Successors(read_revisions(dialogs, "train"))

    def next_program(self, dialog: Dialog, previous: str, random: Random | None) -> str:
        found = self.successors.of(dialog.task, previous)
        return (random.choice(found) if random else found[0]).program


class Successor(NamedTuple):
    """A program that may come next, and how the grade of the student changed from whom it is known."""

    program: str
    change: Change


class Successors:
    """What training students submitted after the programs most like a given one."""

    def __init__(self, revisions: Revisions) -> None:
        self._indexes = {task: _Index(found) for task, found in revisions.items()}
        # The samples of a start ask for the same.
        self._known: dict[tuple[str, str], list[Revision]] = {}
        self._transferred: dict[tuple[str, str], list[Successor]] = {}

    def of(self, task: str, program: str) -> list[Successor]:
        """What followed the `K` programs most like `program`, in order of likeness.

        `program` itself for a task on which no training student submitted twice.
        """
        found = [Successor(one.next, one.change) for one in self._nearest(task, program)[:K]]
        return found or [Successor(program, Change.STAYS)]

    def transferred(self, task: str, program: str) -> list[Successor]:
        """`program` with the edits that followed the programs most like it, in order of likeness.

        The first `TRANSFERRED` that fit, a program as often as it results; what `of` says, where none fits.
        """
        key = (task, program)
        if key not in self._transferred:
            made = (
                (transfer(one.program, one.next, program), one.change) for one in self._nearest(task, program)
            )
            fitting = (Successor(text, change) for text, change in made if text is not None)
            self._transferred[key] = list(islice(fitting, TRANSFERRED)) or self.of(task, program)
        return self._transferred[key]

    def _nearest(self, task: str, program: str) -> list[Revision]:
        key = (task, program)
        if key not in self._known:
            index = self._indexes.get(task)
            self._known[key] = index.nearest(program) if index else []
        return self._known[key]


class _Index:
    """A task's revisions, by the features of the programs that were revised.

    Likeness is the Jaccard index of the programs' multisets of tokens and pairs of neighbouring tokens. With
    longer n-grams, or revisions from the same grade first, MIX came no closer to validation students.
    """

    def __init__(self, revisions: Sequence[Revision]) -> None:
        self._revisions = revisions
        self._places: defaultdict[Hashable, list[int]] = defaultdict(list)  # revisions by feature
        self._sizes = []
        for place, revision in enumerate(revisions):
            features = _features(revision.program)
            self._sizes.append(len(features))
            for feature in features:
                self._places[feature].append(place)

    def nearest(self, program: str) -> list[Revision]:
        """The revisions of the `TRIED` programs most like `program`, or of all, in order of likeness."""
        features = _features(program)
        shared = Counter(chain.from_iterable(self._places.get(feature, ()) for feature in features))

        def distance(place: int) -> float:
            return 1 - shared[place] / (len(features) + self._sizes[place] - shared[place])

        order = sorted(range(len(self._revisions)), key=distance)  # of two as near, the first
        return [self._revisions[place] for place in order[:TRIED]]


def _features(program: str) -> list[Hashable]:
    """The first, second, ... occurrence of each token and pair of tokens, so that a multiset is a set."""
    found = ["", *tokens(program)]  # the beginning too, so that an empty program has a feature
    counts: Counter[Hashable] = Counter(chain(found, pairwise(found)))
    return [(feature, number) for feature, count in counts.items() for number in range(count)]
