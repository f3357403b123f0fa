"""`POST /next_submission`, on a real process of BentoML's."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.payloads import MAX_ATTEMPTS, MAX_CHARACTERS, MAX_SAMPLES

MODEL = "tutee-toy-v7"
OWN = {
    "task": "Write a function `double(n)` that returns twice n.",
    "tests": {"form": "calls", "tests": [{"call": "double(2)", "returns": "4"}]},
}


def ask(client, **body):
    return client.post("/next_submission", json={"assignment": "double", "temperature": 0, **body})


def only(answer):
    assert answer.status_code == 200, answer.text
    (sample,) = answer.json()["samples"]
    return sample


def test_repeated_requests_lead_from_the_first_attempt_to_the_right_one(client, trajectory):
    history, grades = [], []
    for number, program in enumerate(trajectory, 1):
        sample = only(ask(client, history=history))
        assert (sample["code"], sample["reason"], sample["attempt"]) == (program, None, number)
        grades.append(sample["verdict"]["grade"])
        history.append({"code": program, "feedback": sample["verdict"]["feedback"]})
    assert grades == [0, 50, 100]


def test_the_version_that_answered_is_named(client):
    answer = ask(client, model="tutee-toy")
    assert (answer.json()["model"], answer.headers["X-Tutee-Model"]) == (MODEL, MODEL)
    assert ask(client, model="tutee-toy-challenger").headers["X-Tutee-Model"] == "tutee-toy-v6"


def test_missing_feedback_is_the_graders(client, trajectory):
    history = [{"code": program} for program in trajectory[:2]]
    assert only(ask(client, history=history))["code"] == trajectory[2]


def test_what_a_tutor_says_is_read_after_the_feedback(client, trajectory):
    def tokens(**entry):
        history = [{"code": trajectory[0], **entry}]
        return ask(client, history=history).json()["usage"]["prompt_tokens"]

    told = "Look at the second test again."
    assert tokens(feedback="No.", tutor=told) == tokens(feedback=f"No.\n{told}") > tokens(feedback="No.")


def test_greedy_is_what_the_evaluators_engine_gives(client, adapter, trajectory):
    from tutee_evaluator.engines import Request, complete
    from tutee_evaluator.engines.transformers import Student
    from tutee_serializer.dialogs.dialog import Dialog

    task = client.get("/assignments").json()["assignments"][0]["task"]
    strange = "def double(n):\n    return n * n\n"
    histories = [
        [],
        [(strange, "That is a square.")],
        [(trajectory[0], "No."), (trajectory[1], "Nearly.")],
    ]
    dialogs = []
    for history in histories:
        dialogs.append(Dialog.start("edits", "summary", task))
        for program, feedback in history:
            dialogs[-1].append(program, feedback)
    expected = complete(Student.load(adapter, device="cpu"), map(Request, dialogs))
    samples = []
    for history in histories:
        entries = [{"code": program, "feedback": feedback} for program, feedback in history]
        samples.append(only(ask(client, history=entries)))
    assert [(one["code"], one["reason"]) for one in samples] == [(e.program, e.reason) for e in expected]


def test_a_samples_log_probability_is_the_engines(client, adapter):
    from tutee_evaluator.engines.transformers import Student
    from tutee_serializer.dialogs.dialog import Dialog
    from tutee_serializer.dialogs.formats import write_turn

    task = client.get("/assignments").json()["assignments"][0]["task"]
    sample = only(ask(client))
    dialog = Dialog.start("edits", "summary", task)
    nats = Student.load(adapter, device="cpu").nats(dialog, write_turn("edits", None, sample["code"]))
    assert sample["logprob"] == pytest.approx(-nats, abs=1e-3)


def test_a_seed_gives_the_same_program_beside_other_requests(client):
    def sample(seed):
        one = only(ask(client, temperature=1.5, seed=seed))
        return one["code"], one["reason"]

    alone = sample(3)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(sample, [3, 1, 2, 3, 4, 5, 6, 3]))
    assert [together[0], together[3], together[7]] == [alone] * 3
    assert len(set(together)) > 1


def test_each_sample_is_what_its_own_seed_gives(client):
    samples = ask(client, temperature=1.5, seed=11, n=4).json()["samples"]
    assert [(one["sample"], one["seed"]) for one in samples] == [(0, 11), (1, 12), (2, 13), (3, 14)]
    alone = [only(ask(client, temperature=1.5, seed=one["seed"])) for one in samples]
    assert [one["code"] for one in alone] == [one["code"] for one in samples]


def test_without_a_seed_samples_differ_and_the_seed_is_said(client):
    samples = ask(client, temperature=2, n=8).json()["samples"]
    assert len({(one["code"], one["reason"]) for one in samples}) > 1
    again = only(ask(client, temperature=2, seed=samples[5]["seed"]))
    assert again["code"] == samples[5]["code"]


def test_concurrent_requests_get_their_own_answers(client, trajectory):
    histories = [[{"code": program} for program in trajectory[:steps]] for steps in (0, 1, 2)] * 4
    with ThreadPoolExecutor(12) as pool:
        answers = pool.map(lambda history: only(ask(client, history=history)), histories)
        assert [answer["code"] for answer in answers] == list(trajectory) * 4


def test_an_assignment_of_ones_own_is_graded_by_its_own_tests(client, trajectory):
    history = [{"code": trajectory[0]}]
    sample = only(ask(client, assignment=OWN, history=history))
    assert sample["code"] == trajectory[1]
    (test,) = sample["verdict"]["tests"]
    assert (test["name"], test["outcome"], sample["verdict"]["grade"]) == ("double(2)", "passed", 100)


def test_old_turns_that_do_not_fit_are_left_out_and_counted(client, trajectory):
    few, many = ([{"code": trajectory[0], "feedback": "No."}] * turns for turns in (1, MAX_ATTEMPTS))
    assert ask(client, history=few).json()["turns_left_out"] == 0
    answer = ask(client, history=many)
    assert 0 < answer.json()["turns_left_out"] < MAX_ATTEMPTS
    assert only(answer)["attempt"] == MAX_ATTEMPTS + 1


@pytest.mark.parametrize("program", ["x = 1\n" * 3000, "\n" * MAX_CHARACTERS, "é" * MAX_CHARACTERS])
def test_a_program_beyond_the_models_context_is_refused(client, program):
    answer = ask(client, history=[{"code": program, "feedback": "No."}])
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert "tokens" in answer.json()["error"]["message"]


def test_an_unknown_assignment_is_an_error_that_lists_the_known_ones(client):
    answer = ask(client, assignment="triple")
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": "there is no assignment 'triple'; there are: double, echo",
        "type": "invalid_request_error",
        "param": "assignment",
        "code": "unknown_assignment",
    }


def test_an_unknown_model_is_an_error_that_lists_the_known_ones(client):
    answer = ask(client, model="tutee-toy-v9")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "tutee-toy, tutee-toy-challenger, tutee-toy-v6, tutee-toy-v7" in error["message"]


@pytest.mark.parametrize(
    "field, body",
    [
        ("history", {"history": [{"code": ""}] * (MAX_ATTEMPTS + 1)}),
        ("history", {"history": "none"}),
        ("history.0.code", {"history": [{"code": "#" * (MAX_CHARACTERS + 1)}]}),
        ("history.0.code", {"history": [{"code": "a\0b"}]}),
        ("history.0.code", {"history": [{"code": 3}]}),
        ("history.0.feedback", {"history": [{"code": "", "feedback": "!" * (MAX_CHARACTERS + 1)}]}),
        ("history.0.code", {"history": [{}]}),
        ("temperature", {"temperature": -0.1}),
        ("temperature", {"temperature": "warm"}),
        ("seed", {"seed": -1}),
        ("seed", {"seed": True}),
        ("n", {"n": 0}),
        ("n", {"n": MAX_SAMPLES + 1}),
        ("tempreature", {"tempreature": 1}),
        ("assignment.tests", {"assignment": {"task": "x", "tests": {"form": "unittest", "tests": [1]}}}),
        ("assignment.tests", {"assignment": {"task": "x", "tests": {"form": "calls", "tests": []}}}),
        (
            "assignment.tests",
            {"assignment": {"task": "x", "tests": {"form": "calls", "tests": [{}]}}},
        ),
        ("assignment.tests", {"assignment": {**OWN, "tests": {**OWN["tests"], "limits": {"seconds": 99}}}}),
        (None, {"history": [{"code": "#" * MAX_CHARACTERS}] * 11}),
    ],
)
def test_an_invalid_field_is_named(client, field, body):
    answer = ask(client, **body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == field
    assert error["type"] == "invalid_request_error"
    assert error["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b"",
        b"\xff",
        b"[" * 100_000,
        b'{"assignment": "\\ud800"}',
        b'{"assignment": "double", "temperature": NaN}',
        b'{"assignment": "double", "temperature": 1e999}',
        b'{"assignment": "double", "seed": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_broken_body_is_an_error_in_words(client, body):
    answer = client.post("/next_submission", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_the_smallest_temperature_is_no_error(client):
    assert ask(client, temperature=1e-38, seed=1).status_code == 200


HOSTILE = [
    "import os\ndef double(n): os._exit(0)",
    "while True: pass",
    "def double(n): return [0] * 10**10",
    "(" * 9000,
    "x = " + "-" * 15000 + "1",
    "import sys\ndef double(n): return sys.settrace(None) or open('/etc/passwd').read()",
]


@pytest.mark.parametrize("program", HOSTILE)
def test_hostile_code_in_the_history_is_graded_and_harms_nothing(client, program):
    answer = ask(client, history=[{"code": program}])
    assert answer.status_code in (200, 400), answer.text  # some are longer than the model reads
    assert only(ask(client))["attempt"] == 1
