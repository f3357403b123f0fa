"""Assignments from folders, and the errors for a wrong folder."""

import pytest

from tutee_grader import Assignment, AssignmentError


def test_a_folder_gives_its_name_task_solution_and_tests(write):
    folder = write(
        "double",
        **{
            "task.md": "# Double\n\nDouble it.\n",
            "solution.py": "def double(n): return 2 * n\n",
            "tests.yaml": "form: calls\ntests:\n  - {call: double(2), returns: '4', weight: 3, name: even}\n",
        },
    )
    assignment = Assignment.load(folder)
    assert (assignment.name, assignment.task, assignment.form) == (
        "double",
        "# Double\n\nDouble it.",
        "calls",
    )
    assert assignment.solution == "def double(n): return 2 * n\n"
    (test,) = assignment.tests
    assert (test.name, test.call, test.returns, test.weight) == ("even", "double(2)", 4, 3.0)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("form: calls\ntests:\n  - {call: 'f(', returns: '1'}\n", 3, "not Python"),
        (
            "form: calls\ntests:\n  - {call: f(1), returns: '1'}\n  - {call: f(2), returns: 'x y'}\n",
            4,
            "Python literal",
        ),
        ("form: calls\ntests:\n  - {call: f(1), return: '1'}\n", 3, "unknown key return"),
        ("form: calls\ntests:\n  - {call: f(1)}\n", 3, "returns is missing"),
        ("form: calls\ntests:\n  - {call: f(1), returns: '1', weight: -2}\n", 3, "weight has value -2"),
        ("form: guess\ntests: []\n", 1, "form has value 'guess'"),
        ("form: calls\ntests: []\n", 2, "at least one test"),
        (
            "form: calls\nlimits: {seconds: 0}\ntests:\n  - {call: f(1), returns: '1'}\n",
            2,
            "seconds has value 0",
        ),
        ("form: calls\nlimits: {seconds: .inf}\n", 2, "seconds has value inf"),
        ("form: calls\nlimits: {seconds: .nan}\n", 2, "seconds has value nan"),
        ("form: calls\nlimits: {memory_mb: 1.5}\n", 2, "memory_mb has value 1.5. It must be of type int"),
        ("form: calls\nlimits: {memory_mb: true}\n", 2, "memory_mb has value True"),
        ("form: calls\nlimits: {output_kb: 4097}\n", 2, "output_kb has value 4097. It must be at most 4096"),
        ("form: calls\nlimits: {hours: 1}\n", 2, "unknown key hours"),
        ("form: stdio\ntests:\n  - {stdin: 3, stdout: '7'}\n", 3, "must both be text"),
        ("form: calls\ntests:\n  - {call: f(1), returns: '1'\n", 4, "expected"),
        ("- a\n", 1, "must be a mapping"),
    ],
)
def test_a_broken_tests_yaml_names_file_and_line(write, text, line, words):
    folder = write(**{"tests.yaml": text})
    with pytest.raises(AssignmentError) as caught:
        Assignment.load(folder)
    assert str(caught.value).startswith(f"{folder / 'tests.yaml'}, line {line}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("assert f(1) == 2 and f('a')==Au0X6", 1, "unknown name 'Au0X6'"),
        ("assert f(1) == 2\nassert f(2) == X", 2, "unknown name 'X'"),
        ("assert f(1) == 2\n\nassert f(2) ==\n", 3, "not Python"),
        ("x = 3\nassert f(x) == 2", 1, "only assert statements"),
        ("assert 1 == 1", 1, "no call of a student's function"),
        ("", 1, "no assert statement"),
        ("assert f(1) == (lambda: 2)", 1, "Lambda cannot be used"),
    ],
)
def test_a_broken_asserts_file_names_file_and_line(write, source, line, words):
    folder = write(**{"test.py": source})
    with pytest.raises(AssignmentError) as caught:
        Assignment.load(folder, tests="asserts")
    assert str(caught.value).startswith(f"{folder / 'test.py'}, line {line}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("form", "source", "line", "words"),
    [
        ("falcon", "def test(): return 1\n", 1, "must define test_passed()"),
        ("falcon", "def test_passed():\nreturn 1\n", 2, "not Python"),
        ("unittest", "def check(): pass\n", 1, "no test"),
        ("unittest", "\n\ndef test_it(capsys): pass\n", 3, "fixtures are not supported: capsys"),
    ],
)
def test_a_broken_instructors_file_names_file_and_line(write, form, source, line, words):
    folder = write(**{"test.py": source})
    with pytest.raises(AssignmentError) as caught:
        Assignment.load(folder, tests=form)
    assert str(caught.value).startswith(f"{folder / 'test.py'}, line {line}: ")
    assert words in str(caught.value)


def test_a_missing_folder_and_a_missing_file_are_named(tmp_path, write):
    with pytest.raises(AssignmentError, match="nowhere: there is no such folder"):
        Assignment.load(tmp_path / "nowhere")
    folder = write()
    with pytest.raises(AssignmentError, match=r"test\.py: missing"):
        Assignment.load(folder, tests="asserts")


def test_each_clause_of_an_assert_is_one_test(write):
    folder = write(**{"test.py": "assert f(1)==1 and f(2)==4 and (f(3)==9 and f(4)==16)\nassert not f(0)\n"})
    names = [test.name for test in Assignment.load(folder, tests="asserts").tests]
    assert names == ["f(1) == 1", "f(2) == 4", "f(3) == 9", "f(4) == 16", "not f(0)"]


def test_no_expected_value_is_among_what_runs_inside(write):
    folder = write(
        **{"test.py": "assert sorted(f([2, 1])) == [11, 22] and abs(f(3) - 44.5) < 0.01 and f(4) in (55, 66)"}
    )
    clauses = [test.clause for test in Assignment.load(folder, tests="asserts").tests]
    assert [clause.calls for clause in clauses] == [("f([2, 1])",), ("f(3)",), ("f(4)",)]


def test_the_fingerprint_changes_with_what_can_change_a_verdict(write):
    text = "form: calls\nlimits: {{seconds: {}}}\ntests:\n  - {{call: f(1), returns: '{}'}}\n"
    prints = {
        Assignment.load(write(f"a{index}", **{"tests.yaml": text.format(*pair)})).fingerprint
        for index, pair in enumerate([(1, 1), (2, 1), (1, 2), (1, 1)])
    }
    assert len(prints) == 3
