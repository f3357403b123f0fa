"""`POST /rollout`: a student's whole work as server-sent events, on a real process of BentoML's."""

import json
import time

import pytest

from tutee_evaluator.schemas import StopReason


def events(client, **body):
    with client.stream("POST", "/rollout", json={"assignment": "double", "temperature": 0, **body}) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = "".join(answer.iter_text())
    found = []
    for block in filter(None, text.split("\n\n")):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_a_student_works_until_its_program_is_right(client, trajectory):
    found = events(client, seed=5)
    assert found[0] == ("start", {"model": "tutee-toy-v7", "seeds": [5]})
    steps = [data for name, data in found if name == "step"]
    assert [step["code"] for step in steps] == list(trajectory)
    assert [step["verdict"]["grade"] for step in steps] == [0, 50, 100]
    assert found[-2:] == [("end", {"sample": 0, "stop_reason": "solved"}), ("done", {})]


def test_it_begins_where_the_history_ends_and_makes_no_more_attempts_than_asked_for(client, trajectory):
    history = [{"code": trajectory[0]}]
    found = events(client, history=history, attempts=1)
    (step,) = [data for name, data in found if name == "step"]
    assert (step["code"], step["attempt"]) == (trajectory[1], 2)
    assert ("end", {"sample": 0, "stop_reason": StopReason.STEPS}) in found


def test_steps_are_what_next_submission_gives(client):
    asked = {"assignment": "double", "temperature": 1.5, "seed": 21, "n": 3}
    found = events(client, **asked, attempts=2)
    for number in range(3):
        history = []
        for name, step in found:
            if name == "step" and step["sample"] == number:
                body = {**asked, "n": 1, "seed": 21 + number, "history": history}
                (sample,) = client.post("/next_submission", json=body).json()["samples"]
                assert sample.pop("logprob") == pytest.approx(step.pop("logprob"), rel=1e-5)
                assert {**sample, "sample": number} == step
                if step["code"] is not None:
                    history.append({"code": step["code"], "feedback": step["verdict"]["feedback"]})


def test_a_class_works_at_the_same_time(client):
    found = events(client, n=30, attempts=2, temperature=1, seed=0)
    ends = [data["sample"] for name, data in found if name == "end"]
    assert sorted(ends) == list(range(30))
    first = {data["sample"]: at for at, (name, data) in reversed(list(enumerate(found))) if name == "step"}
    last = [at for at, (name, data) in enumerate(found) if name == "end"]
    assert len(first) == 30 and max(first.values()) > last[0] - 30  # not one after the other


@pytest.mark.parametrize(
    "body, status, code",
    [
        ({"assignment": "triple"}, 400, "unknown_assignment"),
        ({"model": "gpt-9"}, 404, "model_not_found"),
        ({"history": [{"code": "x = 1\n" * 3000}]}, 400, "context_length_exceeded"),
        ({"attempts": 0}, 400, "invalid_value"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_by_a_status(client, body, status, code):
    answer = client.post("/rollout", json={"assignment": "double", **body})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def queue(client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("tutee_queue "))


@pytest.mark.parametrize("path", ["/rollout", "/next_submission"])
def test_a_client_that_goes_stops_its_students(client, path):
    """Thirty students that would work for minutes: each of their programs runs into its time limit."""
    tests = {"form": "calls", "tests": [{"call": "double(2)", "returns": "4"}]}
    endless = [{"code": f"# {number}\nwhile True: pass", "feedback": "No."} for number in range(4)]
    body = {"assignment": {"task": "?", "tests": tests}, "history": endless, "n": 30, "temperature": 1}
    with (
        pytest.raises(Exception, match="timed out"),
        client.stream("POST", path, json=body, timeout=1) as answer,
    ):
        answer.read()
    deadline = time.monotonic() + 20
    while queue(client) > 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    begun = time.monotonic()
    assert client.post("/next_submission", json={"assignment": "double"}).status_code == 200
    assert time.monotonic() - begun < 10
