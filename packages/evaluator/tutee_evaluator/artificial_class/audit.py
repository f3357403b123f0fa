"""What an artificial class owes to single real students: the privacy audit of its programs."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from tutee_evaluator.memorisation.figures import LONG
from tutee_evaluator.memorisation.overlap import ANYBODY, Vocabulary, longest_overlaps, texts_of

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment


@dataclass(frozen=True)
class Audit:
    """Counts of programs; a program is the same as another where their words and signs are.

    `verbatim` are those that some real student handed in too, `verbatim_of_one` those that exactly one did
    and that are no text of the course's. `longest` is the longest stretch that only one real student wrote,
    in characters without blanks, and stands in the program `longest_in`; `long` counts the programs that have
    one of LONG characters or more.
    """

    programs: int
    different: int
    verbatim: int
    verbatim_of_one: int
    longest: int
    longest_in: str
    long: int

    @property
    def copies(self) -> str:
        """What is word for word the same, as a sentence."""
        return (
            f"of {self.programs:,} programs ({self.different:,} different ones) {self._share(self.verbatim)} "
            f"are word for word a real student's, {self._share(self.verbatim_of_one)} that of exactly one"
        )

    @property
    def stretches(self) -> str:
        """What is the same in part, as a sentence."""
        return (
            f"the longest stretch that only one real student wrote has {self.longest:,} characters "
            f"({self.longest_in}); {self._share(self.long)} of the programs have one of {LONG} or more"
        )

    def _share(self, part: int) -> str:
        return f"{part / self.programs:.1%}"


def audit(
    attempts: pl.DataFrame, submissions: pl.DataFrame, assignments: "Mapping[str, Assignment]"
) -> Audit:
    """Compares the programs of an artificial class with all of a log's real students, held-out ones too."""
    words = Vocabulary()
    writers: defaultdict[tuple[int, ...], set[str]] = defaultdict(set)
    for student, code in submissions.select("student", "code").unique(maintain_order=True).iter_rows():
        writers[tuple(words(code))].add(student)
    course = list(texts_of(assignments))
    shared = {tuple(words(text)) for text, _ in course}
    programs = attempts["code"].to_list()
    found = [writers.get(tuple(words(program)), set()) for program in programs]
    ones = [
        len(one) == 1 and tuple(words(program)) not in shared
        for one, program in zip(found, programs, strict=True)
    ]
    different = list(dict.fromkeys(programs))
    overlaps = dict(zip(different, longest_overlaps(different, [*course, *_owned(submissions)]), strict=True))
    lengths = [overlaps[program] for program in programs]
    longest = max(lengths)
    return Audit(
        programs=len(programs),
        different=len(different),
        verbatim=sum(map(bool, found)),
        verbatim_of_one=sum(ones),
        longest=longest,
        longest_in=attempts["submission_id"][lengths.index(longest)],
        long=sum(length >= LONG for length in lengths),
    )


def _owned(submissions: pl.DataFrame) -> list[tuple[str, int]]:
    """The real programs with their owners, as for `longest_overlaps`."""
    owners = (
        submissions.group_by("code")
        .agg(pl.col("student").min(), one=pl.col("student").n_unique() == 1)
        .sort("code")
        .with_columns(number=pl.col("student").rank("dense").cast(pl.Int64))
    )
    return [
        (code, number if one else ANYBODY)
        for code, one, number in owners.select("code", "one", "number").iter_rows()
    ]
