"""The demo course's assignments are sound: enough tests, and every correct program earns 100."""

from dataclasses import replace
from random import Random

from authored import works
from habits import NAMES, NAMINGS, Habits

CANONICAL = Habits(0, "even", '"', "    ", True, False, False, None, ())


def test_twelve_assignments_of_five_to_ten_tests_in_two_forms(demo_assignments):
    assert len(demo_assignments) == 12
    assert [name for name, one in demo_assignments.items() if not 5 <= len(one.tests) <= 10] == []
    assert {str(one.form) for one in demo_assignments.values()} == {"calls", "stdio"}


def test_every_reference_solution_earns_100(demo_assignments, grader):
    verdicts = grader.grade([(one, one.solution) for one in demo_assignments.values()])
    assert [verdict.grade for verdict in verdicts] == [100] * 12


def test_every_assignment_has_authored_solutions_and_a_week_of_its_own(demo_assignments):
    assert {work.assignment for work in works()} == set(demo_assignments)
    assert [work.week for work in works()] == list(range(1, 13))
    assert all(3 <= len(work.styles) <= 6 for work in works())


def test_every_style_earns_100_in_everybodys_hand(demo_assignments, grader):
    drawn = [replace(Habits.draw(Random(f"hand {at}")), naming=at % len(NAMINGS)) for at in range(16)]
    hands = [CANONICAL, *drawn]
    asked = [(work.assignment, style, hand) for work in works() for style in work.styles for hand in hands]
    by_name = {work.assignment: work for work in works()}
    programs = [by_name[name].program(style, hand).with_bugs([]) for name, style, hand in asked]
    verdicts = grader.grade(
        [(demo_assignments[one[0]], program) for one, program in zip(asked, programs, strict=True)]
    )
    failed = [one for one, verdict in zip(asked, verdicts, strict=True) if verdict.grade != 100]
    assert failed == []


def test_no_hand_gives_two_variables_of_a_program_one_name():
    for names in zip(*NAMES.values(), strict=True):
        assert len(set(names)) == len(names)
