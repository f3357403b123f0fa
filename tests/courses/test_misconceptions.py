"""Each misconception does harm somewhere, and mending it brings back the student's own correct program."""

from collections import defaultdict
from random import Random

import pytest
from authored import works
from habits import Habits
from hypothesis import given
from hypothesis import strategies as st
from misconceptions import LIBRARY

CANONICAL = Habits(0, "even", '"', "    ", True, False, False, None, ())


@pytest.fixture(scope="module")
def grades(demo_assignments, grader):
    """Grades by misconception, held at the first place of every program that has one.

    An assignment's own mistakes stand under (assignment, name).
    """
    asked = []
    endless = set()
    for work in works():
        for style in work.styles:
            program = work.program(style, CANONICAL)
            for name, bugs in work.bugs(style, CANONICAL).items():
                key = name if name in LIBRARY else (work.assignment, name)
                # A program that never ends costs its whole limit: once is enough.
                if key in endless:
                    continue
                if bugs[0].kind == "endless":
                    endless.add(key)
                asked.append((key, work.assignment, program.with_bugs(bugs[:1])))
    verdicts = grader.grade([(demo_assignments[name], code) for _, name, code in asked])
    found = defaultdict(list)
    for (key, _, _), verdict in zip(asked, verdicts, strict=True):
        found[key].append(verdict.grade)
    return found


def test_every_misconception_of_the_library_does_harm(grades):
    assert [name for name in LIBRARY if min(grades.get(name, [100])) == 100] == []


def test_every_mistake_an_assignment_invites_does_harm(grades):
    invited = {(work.assignment, mistake.name) for work in works() for mistake in work.mistakes}
    assert sorted(one for one in invited if min(grades.get(one, [100])) == 100) == []


def test_most_bugs_do_harm(grades):
    every = [grade for found in grades.values() for grade in found]
    assert sum(grade < 100 for grade in every) > 0.9 * len(every)


def test_a_syntax_bug_does_not_compile():
    for work in works():
        for style in work.styles:
            program = work.program(style, CANONICAL)
            for bugs in work.bugs(style, CANONICAL).values():
                for bug in bugs:
                    if bug.kind == "syntax":
                        with pytest.raises(SyntaxError):
                            compile(program.with_bugs([bug]), "student", "exec")


@given(seed=st.integers(0, 10_000))
def test_a_bug_changes_the_program_on_its_own_lines_only(seed):
    random = Random(seed)
    work = random.choice(works())
    style = random.choice(sorted(work.styles))
    hand = Habits.draw(random)
    program = work.program(style, hand)
    bug = random.choice([bug for bugs in work.bugs(style, hand).values() for bug in bugs])
    lines = program.with_bugs([bug]).removesuffix("\n").split("\n")
    assert tuple(lines) != program.lines
    assert tuple(lines[: bug.start]) == program.lines[: bug.start]
    after = len(program.lines) - bug.stop
    assert tuple(lines[len(lines) - after :]) == program.lines[bug.stop :]
