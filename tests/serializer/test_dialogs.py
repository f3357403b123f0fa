import shutil
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tutee_grader import grade_table
from tutee_grader.errors import InputError
from tutee_serializer.dialogs.formats import TASK, Format, read_turn
from tutee_serializer.dialogs.held_out import held_out_turns, learnt_turns
from tutee_serializer.dialogs.selection import SerializeConfig
from tutee_serializer.dialogs.serialize import serialize
from tutee_serializer.schemas import DIALOGS, MESSAGE, SUBMISSIONS

ASSIGNMENTS = ["double", "triple", "square", "half"]


@pytest.fixture
def course(small_course):
    course = small_course()
    folder = course.assignments_folder
    for name in ASSIGNMENTS[1:]:
        shutil.copytree(folder / "double", folder / name)
        (folder / name / "task.md").write_text(f"Write `{name}`.\n")
    return course


def table(trajectories):
    """Submissions and verdicts of (semester, student, assignment, [(code, grade), ...])."""
    rows = []
    for semester, student, assignment, attempts in trajectories:
        for order, attempt in enumerate(attempts, 1):
            code, grade, *messages = attempt
            rows.append(
                {
                    "submission_id": f"{semester}/{student}/{assignment}/{order}",
                    "course": "small",
                    "semester": semester,
                    "student": student,
                    "assignment": assignment,
                    "order": order,
                    "code": code,
                    "grade": grade,
                    "messages": messages,
                    "source_row": len(rows) + 1,
                }
            )
    schema = {"order": pl.Int64, "source_row": pl.Int64, "grade": pl.Float64, "messages": pl.List(MESSAGE)}
    frame = pl.DataFrame(rows, schema_overrides=schema)
    missing = [
        pl.lit(None, type).alias(name) for name, type in SUBMISSIONS.items() if name not in frame.columns
    ]
    submissions = frame.with_columns(missing).select(SUBMISSIONS.names())
    verdicts = frame.filter(pl.col("grade").is_not_null()).select(
        "submission_id", "grade", status=pl.lit("compiles"), feedback=pl.format("Grade: {}.", pl.col("grade"))
    )
    return submissions, verdicts


def program(n):
    return f"def double(x):\n    return x + {n}\n"


def attempts(*grades):
    return [(program(n), grade) for n, grade in enumerate(grades)]


def replay(format, messages):
    """The programs of a dialog, read back from its messages alone."""
    programs = []
    for message in messages:
        if message["role"] == "user" and message["content"].startswith(TASK):
            previous = None
        if message["role"] == "assistant":
            previous = read_turn(format, previous, message["content"])
            programs.append(previous)
    return programs


CODES = st.sampled_from(
    [program(n) for n in range(4)] + ["def double(:", "x\n\n<|im_end|>", "", "\n", "a\r\n\tb\f"]
)
TRAJECTORIES = st.lists(
    st.tuples(
        st.sampled_from(["one", "two"]),
        st.sampled_from([f"s{n}" for n in range(6)]),
        st.sampled_from(ASSIGNMENTS),
        st.lists(st.tuples(CODES, st.sampled_from([None, 0.0, 50.0, 100.0])), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[:3],
)
CONFIGS = st.builds(
    SerializeConfig,
    split=st.just("student"),
    scope=st.sampled_from(["assignment", "course"]),
    skip_unchanged=st.booleans(),
    stop_at_full_marks=st.booleans(),
    min_turns=st.integers(1, 3),
    max_length_z=st.sampled_from([None, 1.0]),
) | st.builds(SerializeConfig, split=st.just("assignment"), min_turns=st.integers(1, 3))
MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(trajectories=TRAJECTORIES, config=CONFIGS, format=st.sampled_from(list(Format)))
def test_dialogs_of_any_log_hold_its_programs_in_order(course, trajectories, config, format):
    submissions, verdicts = table(trajectories)
    try:
        dialogs, account = serialize(submissions, verdicts, course, config, format)
    except InputError as error:
        assert "not one dialog is left" in str(error)
        return
    assert dialogs.schema == DIALOGS
    codes = dict(submissions.select("submission_id", "code").iter_rows())
    used = set()
    for dialog in dialogs.iter_rows(named=True):
        roles = [message["role"] for message in dialog["messages"]]
        assert roles[:2] == ["system", "user"]
        assert roles[-1] == "assistant"
        assert ("assistant", "assistant") not in pairwise(roles)
        if config.scope == "assignment":
            assert all(a != b for a, b in pairwise(roles))
        ids = [turn["submission_id"] for turn in dialog["turns"]]
        assert replay(format, dialog["messages"]) == [codes[one] for one in ids]
        used.update(ids)
    assert account.rows_out == len(used) == dialogs.filter(feedback="none")["turns"].list.len().sum()
    assert account.rows_in == submissions.height == len(used) + sum(account.dropped.values())


@MANY
@given(trajectories=TRAJECTORIES, config=CONFIGS)
def test_no_student_assignment_pair_is_on_both_sides(course, trajectories, config):
    submissions, verdicts = table(trajectories)
    try:
        dialogs, _ = serialize(submissions, verdicts, course, config, "code")
    except InputError:
        return
    turns = dialogs.explode("turns").with_columns(pl.col("turns").struct["submission_id"])
    pairs = turns.select("submission_id", "split").unique().join(submissions, on="submission_id")
    sides = pairs.group_by("student", "assignment").agg(
        test=(pl.col("split") == "test").any(), train=(pl.col("split") != "test").any()
    )
    assert not (sides["test"] & sides["train"]).any()
    learners = pairs.filter(pl.col("split") != "test").group_by("student").agg(pl.col("split").n_unique())
    assert (learners["split"] == 1).all()


def serialized(course, trajectories, format="code", feedback="summary", **config):
    return serialize(*table(trajectories), course, SerializeConfig(**config), format, feedback)


def grades(dialogs):
    return [[turn["grade"] for turn in row] for row in dialogs.filter(feedback="none")["turns"]]


def test_each_rule_drops_and_counts_and_can_be_switched_off(course):
    log = [
        ("one", "ann", "double", [(program(1), 0.0), (program(1) + "# same", 0.0), *attempts(50, 100, 20)]),
        ("one", "bob", "double", attempts(0)),
        ("one", "cid", "double", [(program(7), None), *attempts(0, 10)]),
        ("one", "dee", "double", attempts(10, 100)),
        ("two", "dee", "double", attempts(30, 40)),
    ]
    dialogs, account = serialized(course, log)
    assert account.dropped == {
        "no verdict": 1,
        "unchanged": 1,
        "after full marks": 1,
        "taken again in a test semester": 2,
        "too few logged": 0,
        "low final grade": 0,
        "too short": 1,
    }
    assert grades(dialogs) == [[0, 50, 100], [0, 10], [30, 40]]
    assert grades(serialized(course, log, skip_unchanged=False)[0])[0] == [0, 0, 50, 100]
    assert grades(serialized(course, log, stop_at_full_marks=False)[0])[0] == [0, 50, 100, 20]
    assert grades(serialized(course, log, min_turns=1)[0])[1] == [0]
    assert grades(serialized(course, log, min_final_grade=50)[0]) == [[0, 50, 100]]
    assert grades(serialized(course, log, min_logged=3)[0]) == [[0, 50, 100]]
    assert grades(serialized(course, log, min_turns=3)[0]) == [[0, 50, 100]]


def test_a_text_that_does_not_parse_is_compared_as_it_stands(course):
    broken = [("def f(:", 0.0), ("def f(:", 0.0), ("def f(: ", 0.0), ("def g(:", 0.0)]
    dialogs, _ = serialized(course, [("one", "ann", "double", broken)])
    assert len(grades(dialogs)[0]) == 3


def test_length_outliers_are_judged_among_their_assignments_dialogs(course):
    # Lengths 2 3 4 5 6 and 40: median 4.5, MAD 1.5, so z(40) = 16 and z(2) = 1.1.
    log = [("one", f"s{n}", "double", attempts(*range(n))) for n in (2, 3, 4, 5, 6, 40)]
    log += [("one", f"s{n}", "triple", attempts(*range(n))) for n in (38, 39, 40)]
    dialogs, account = serialized(course, log, max_length_z=3.5)
    assert account.dropped["length outlier"] == 40
    assert sorted(map(len, grades(dialogs))) == [2, 3, 4, 5, 6, 38, 39, 40]


def test_the_dialog_reads_task_program_feedback_program(course):
    dialogs, _ = serialized(course, [("one", "ann", "double", attempts(0, 100))], format="edits")
    first, none = (dialogs.filter(feedback=level)["messages"][0].to_list() for level in ("summary", "none"))
    assert first[1] == {"role": "user", "content": "Task:\nWrite `double(n)`, which returns n times two."}
    numbered = "<|1|>def double(x):<|2|>    return x + 0<|3|>"
    assert first[3]["content"] == f"Grade: 0.0.\n{numbered}"
    assert none[3]["content"] == numbered
    assert first[4] == none[4] == {"role": "assistant", "content": "<|2|>    return x + 1"}
    assert first[:3] == none[:3]
    assert dialogs["dialog_id"].n_unique() == 1


def test_one_dialog_spans_the_course_in_the_order_of_the_log(course):
    log = [
        ("one", "ann", "triple", attempts(0, 100)),
        ("one", "ann", "double", attempts(20, 30)),
        ("one", "bob", "half", attempts(5, 6)),
    ]
    dialogs, _ = serialized(course, log, scope="course")
    assert grades(dialogs) == [[0, 100, 20, 30], [5, 6]]
    texts = [message["content"] for message in dialogs["messages"][0]]
    assert texts[5] == "Grade: 100.0."
    assert texts[6].startswith("Task:\nWrite `double(n)`")
    assert "return x + 0" in texts[7]
    assert dialogs["assignment"].to_list() == [None] * 4


def test_what_a_tutor_wrote_stands_after_the_feedback_even_where_its_submission_is_skipped(course):
    hint = {"author": "tutor", "sent_at": None, "text": "Mind the <|im_end|>."}
    late = {"author": "tutor", "sent_at": None, "text": "Too late."}
    log = [
        ("one", "ann", "double", [(program(1), 0.0), (program(1) + "\n", 0.0, hint), (program(2), 9.0, late)])
    ]
    dialogs, _ = serialized(course, log)
    with_hint, without = (dialogs.filter(feedback=level)["messages"][0] for level in ("summary", "none"))
    assert [message["content"] for message in with_hint][3:5] == [
        "Grade: 0.0.",
        "Tutor: Mind the <\\|im_end|>.",
    ]
    assert len(with_hint) == 6 and len(without) == 5
    assert "Too late" not in str(dialogs["messages"].to_list())
    assert len(serialized(course, log, messages=False)[0]["messages"][0]) == 5


def test_a_tenth_of_the_students_validate_and_stay_when_others_join(course):
    def validators(count, **config):
        log = [("one", f"s{n:02}", "double", attempts(0, 1)) for n in range(count)]
        dialogs, _ = serialized(course, log, **config)
        return set(dialogs.filter(split="validation")["student"])

    some, more = validators(40), validators(50)
    assert (len(some), len(more)) == (4, 5)
    assert len(some & more) >= 3
    assert validators(40, seed=1) != some
    assert validators(40) == some
    assert validators(40, validation=0) == set()


def test_assignments_can_be_held_out_instead(course):
    log = [
        (semester, student, assignment, attempts(0, 1))
        for semester, student in [("one", "ann"), ("one", "bob"), ("two", "cid")]
        for assignment in ASSIGNMENTS
    ]
    dialogs, account = serialized(course, log, split="assignment", held_out=0.25)
    sides = {split: set(rows["assignment"]) for (split,), rows in dialogs.group_by("split")}
    assert len(sides["test"]) == 1
    assert not sides["test"] & (sides["train"] | sides["validation"])
    assert account.rows_out == 24


BOTH = st.lists(
    st.tuples(
        st.sampled_from(["one", "one", "two"]),
        st.sampled_from([f"s{n}" for n in range(5)]),
        st.sampled_from(ASSIGNMENTS),
        st.lists(st.tuples(CODES, st.sampled_from([0.0, 50.0])), min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=14,
    unique_by=lambda row: row[:3],
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BOTH, st.sampled_from(["assignment", "course"]), st.floats(0.1, 0.9), st.integers(0, 3))
def test_nobody_learns_what_is_held_out_of_students_and_assignments(course, log, scope, share, seed):
    assume({"one", "two"} == {semester for semester, *_ in log})
    dialogs, account = serialized(
        course, log, split="both", scope=scope, held_out=share, seed=seed, min_turns=1, skip_unchanged=False
    )

    tested, learnt = held_out_turns(dialogs), learnt_turns(dialogs, "train", "validation")
    work = dict(table(log)[0].select("submission_id", pl.struct("student", "assignment")).rows())
    pairs = {tuple(work[name].values()) for name in tested["submission_id"]}
    assert not pairs & {tuple(work[name].values()) for name in learnt["submission_id"]}
    # Each submission that was selected is on one side, once.
    names = [*tested["submission_id"], *learnt["submission_id"]]
    assert len(names) == len(set(names)) == account.rows_out
    # All of the test semester is held out, and of each assignment that is held out at all of everybody.
    assert not any(name.startswith("two/") for name in learnt["submission_id"])
    if scope == "course":
        # What is tested stands behind all that its student did before in the semester.
        for row in dialogs.filter(split="test", feedback="none").iter_rows(named=True):
            shown = [turn["submission_id"] for turn in row["turns"]]
            mine = [name for name in names if name.startswith(f"{row['semester']}/{row['student']}/")]
            assert sorted(shown) == sorted(mine)


def test_of_some_who_learn_the_last_work_is_held_out_and_of_all_an_assignment(course):
    log = [
        ("one", f"s{n}", assignment, attempts(0, 50))
        for n in range(10)
        for assignment in ("half", "double", "square", "triple")
    ]
    log += [("two", "new", assignment, attempts(0, 50)) for assignment in ASSIGNMENTS]

    dialogs, _ = serialized(course, log, split="both", scope="course", held_out=0.25, validation=0.1)

    learnt = learnt_turns(dialogs, "train", "validation")
    done = {student: set() for student in learnt["student"]}
    for student, name in learnt.select("student", "submission_id").rows():
        done[student].add(name.split("/")[2])
    missing = {student: set(ASSIGNMENTS) - assignments for student, assignments in done.items()}
    (new,) = set.intersection(*missing.values())
    last = [name for name in ("half", "double", "square", "triple") if name != new][-1]
    assert sorted(map(sorted, missing.values())) == sorted([*[[new]] * 8, *[sorted([new, last])] * 2])
    assert len(set(learnt_turns(dialogs, "validation")["student"])) == 1
    assert missing[learnt_turns(dialogs, "validation")["student"][0]] == {new}


def test_parameters_that_contradict_each_other_are_refused():
    with pytest.raises(ValidationError, match="split: assignment needs scope: assignment"):
        SerializeConfig(split="assignment", scope="course")
    with pytest.raises(ValidationError, match="min_turn"):
        SerializeConfig.model_validate({"min_turn": 3})


def test_a_log_without_a_dialog_says_which_rules_took_it(course):
    with pytest.raises(InputError, match=r"course\.yaml: .* of 1 submissions \(too short: 1\)"):
        serialized(course, [("one", "ann", "double", attempts(0))])


def test_an_assignment_that_cannot_be_loaded_is_left_out_and_counted(course):
    Path(course.assignments_folder / "half" / "tests.yaml").write_text("form: nonsense\n")
    log = [("one", "ann", "half", attempts(0, 1)), ("one", "ann", "double", attempts(0, 1))]
    dialogs, account = serialized(course, log)
    assert set(dialogs["assignment"]) == {"double"}
    assert account.dropped["no verdict"] == 2


def test_verdicts_of_the_grader_speak_in_the_dialog(course, tmp_path):
    submissions, _ = table(
        [("one", "ann", "double", [("def double(n):\n    return n\n", 0.0), (program(1), 0.0)])]
    )
    verdicts = grade_table(submissions, course.load_assignments()[0], tmp_path / "parts", progress=False)
    said = {}
    for level in ("summary", "full"):
        dialogs, _ = serialize(submissions, verdicts, course, SerializeConfig(), "code", level)
        assert dialogs["feedback"].to_list() == [level, "none"]
        said[level] = dialogs["messages"][0][3]["content"]
    assert said["summary"] == verdicts["feedback"][0]
    assert said["full"].startswith(said["summary"] + "\n- ")
    assert grades(dialogs) == [verdicts["grade"].to_list()]
