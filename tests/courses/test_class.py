"""The simulated class: the same every time, learns from feedback, and works like novices."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from statistics import mean, median

import classroom
import pytest
from clues import Sign

SEED = 5
SEMESTERS = {"2024-autumn": 30}
ARMS = ("none", "first", "summary", "full")


@pytest.fixture(scope="module")
def grade(demo_assignments, grader):
    return lambda asked: grader.grade([(demo_assignments[name], code) for name, code in asked])


@pytest.fixture(scope="module")
def simulated(grade):
    return classroom.run(SEED, SEMESTERS, grade)


def _fixed(steps):
    return mean(bool(step.fixed) for step in steps)


def test_feedback_makes_repairs_likelier(simulated, grade):
    """The same class once more, told nothing but the grade."""

    def silent(asked):
        return [replace(verdict, tests=(), status="compiles") for verdict in grade(asked)]

    _, seeing = simulated
    _, blind = classroom.run(SEED, SEMESTERS, silent)
    assert {step.seen[0].sign for step in blind} == {Sign.NONE}
    assert _fixed(seeing) > 1.5 * _fixed(blind)


@pytest.mark.parametrize(("sign", "kind"), [(Sign.SYNTAX, "syntax"), (Sign.NOTHING, "nothing")])
def test_a_bug_is_fixed_when_the_feedback_speaks_of_it(simulated, sign, kind):
    """Of programs with two bugs or more: the kind that the feedback is about, against all others."""
    spoken_of, others = [], []
    for step in simulated[1]:
        if step.seen[0].sign == sign and len(step.before) > 1:
            for bug in step.before:
                (spoken_of if bug.kind == kind else others).append(bug in step.fixed)
    assert len(spoken_of) >= 10
    assert mean(spoken_of) > 2 * mean(others)


def test_a_named_line_leads_to_the_bug(simulated):
    """Crashes that name a line, in programs whose one bug keeps the lines where they were."""
    on_the_line, elsewhere = [], []
    for step in simulated[1]:
        if step.seen[0].sign == Sign.EXCEPTION and len(step.before) == 1 and len(step.before[0].lines) == 1:
            there = step.seen[0].line == step.before[0].start + 1
            (on_the_line if there else elsewhere).append(bool(step.fixed))
    assert len(on_the_line) >= 10
    assert len(elsewhere) >= 10
    assert mean(on_the_line) > mean(elsewhere)


def test_nearly_every_step_changes_the_grade_or_the_code(simulated):
    steps = [pair for rows in simulated[0] for pair in pairwise(rows)]
    assert mean((a.score, a.code) != (b.score, b.code) for a, b in steps) >= 0.85
    assert mean(a.score != b.score for a, b in steps) >= 0.5


def test_trajectories_are_as_long_as_novices(simulated):
    rows, _ = simulated
    lengths = [len(one) for one in rows]
    assert 2.5 < mean(lengths) < 4.5
    assert min(lengths) == 1
    assert 7 <= max(lengths) <= 10
    assert all(row.score < 100 for one in rows for row in one[:-1])
    assert 0.8 < mean(one[-1].score == 100 for one in rows) < 1


def test_a_step_changes_few_lines(simulated):
    changed = []
    for rows in simulated[0]:
        for one, other in pairwise(rows):
            lines, others = one.code.split("\n"), other.code.split("\n")
            same = 0
            while same < min(len(lines), len(others)) and lines[same] == others[same]:
                same += 1
            tail = 0
            while tail < min(len(lines), len(others)) - same and lines[-1 - tail] == others[-1 - tail]:
                tail += 1
            changed.append(max(len(lines), len(others)) - same - tail)
    assert median(changed) in (1, 2, 3)
    assert mean(lines <= 3 for lines in changed) > 0.85


def test_habits_stay_with_their_owner(simulated):
    """Who indents by a tab, or by two blanks, does so in every program."""
    indents = defaultdict(set)
    for rows in simulated[0]:
        for line in rows[0].code.split("\n"):
            blanks = line[: len(line) - len(line.lstrip())]
            if blanks:
                indents[rows[0].student].add("\t" if "\t" in blanks else len(blanks) % 4)
    kinds = {frozenset(found) for found in indents.values()}
    assert kinds <= {frozenset({"\t"}), frozenset({0}), frozenset({2}), frozenset({0, 2})}
    assert len(kinds) >= 2


def test_a_trajectory_does_not_depend_on_who_else_is_in_the_class(simulated, grade):
    """More students in the class: the first ones do the very same."""
    fewer, _ = classroom.run(SEED, {"2024-autumn": 3}, grade)
    first = [
        rows for rows in simulated[0] if rows[0].student in {"made-up-001", "made-up-002", "made-up-003"}
    ]
    assert fewer == first


# --- arms: feedback randomised by student -----------------------------------------------------------------


@pytest.fixture(scope="module")
def reruns(grade):
    """The trajectories of each student on each assignment, by arm, in two runs."""
    found = defaultdict(dict)
    for number, trajectories in classroom.rerun(SEED, SEMESTERS, grade, ARMS, 2):
        for rows in trajectories:
            found[rows[0].arm][rows[0].student, rows[0].assignment, number] = [row.code for row in rows]
    return found


def test_a_student_begins_in_every_arm_and_run_as_in_the_log(reruns, simulated):
    began = {(rows[0].student, rows[0].assignment): rows[0].code for rows in simulated[0]}
    for arm in reruns.values():
        assert {key[:2]: codes[0] for key, codes in arm.items()} == began


def test_the_count_of_passed_tests_changes_nothing(reruns):
    assert reruns["first"] == reruns["summary"]


def test_runs_differ(reruns):
    both = [
        (codes, reruns["none"][student, assignment, 2])
        for (student, assignment, number), codes in reruns["none"].items()
        if number == 1 and len(codes) > 1
    ]
    assert mean(one != other for one, other in both) > 0.5


def test_saying_nothing_takes_longer_and_showing_all_tests_takes_less(reruns):
    attempts = {arm: mean(map(len, found.values())) for arm, found in reruns.items()}
    assert attempts["none"] > 1.2 * attempts["summary"] > 1.2 * attempts["full"]


def test_a_student_is_in_one_arm_and_the_same_whatever_the_arms():
    drawn, plain = classroom.enrol(SEED, SEMESTERS, ARMS), classroom.enrol(SEED, SEMESTERS)
    assert {student.arm for student in drawn} == set(ARMS)
    assert [replace(student, arm="summary") for student in drawn] == plain
