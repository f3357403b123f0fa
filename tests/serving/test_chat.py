"""The OpenAI-compatible chat, in a real BentoML process as `tutee serve` starts it."""

import json

import pytest

from serving.payloads import MAX_CHARACTERS

MODEL = "tutee-toy-sft-v7"
JSON = {"Content-Type": "application/json"}


def chat(client, *messages, **more):
    body = [{"role": role, "content": content} for role, content in messages]
    return client.post(
        "/v1/chat/completions", json={"model": MODEL, "messages": body, "temperature": 0, **more}
    )


@pytest.fixture
def task(client):
    return client.get("/assignments").json()[0]["task"]


def test_a_chat_gets_the_same_program_as_next_submission(client, task, trajectory):
    first = client.post("/next_submission", json={"assignment": "double"}).json()
    feedback = first["verdict"]["feedback"]
    answer = chat(client, ("user", task), ("assistant", trajectory[0]), ("user", feedback))
    assert answer.status_code == 200
    body = answer.json()
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": trajectory[1], "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert (body["object"], body["model"]) == ("chat.completion", MODEL)
    assert (
        body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    )
    assert body["usage"]["completion_tokens"] > 0


def test_content_may_come_in_parts(client, task, trajectory):
    parts = [{"type": "text", "text": task[:10]}, {"type": "text", "text": task[10:]}]
    assert chat(client, ("user", parts)).json()["choices"][0]["message"]["content"] == trajectory[0]


def test_a_stream_sends_the_same_program_in_pieces(client, task, trajectory):
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": task}],
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    assert choices[0]["delta"]["role"] == "assistant"
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == trajectory[0]
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert chunks[-1]["usage"]["completion_tokens"] > 0


def test_a_system_message_replaces_the_trained_one(client, task):
    short, long = (
        chat(client, ("system", text), ("user", task)).json()["usage"]["prompt_tokens"]
        for text in ("Hi.", "Hi. " * 50)
    )
    assert long > short + 50


def test_a_turn_without_a_program_says_why(client, task):
    """On an unknown task and at a high temperature, most of what the student writes is no program."""
    answers = [chat(client, ("user", "?"), temperature=2, seed=seed).json() for seed in range(6)]
    messages = [answer["choices"][0]["message"] for answer in answers]
    assert any(message["content"] is None for message in messages)
    assert all((message["content"] is None) == bool(message["refusal"]) for message in messages)


def test_the_models_are_listed(client):
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["object"]) == (MODEL, "model")
    assert client.get(f"/v1/models/{MODEL}").json() == model


@pytest.mark.parametrize(
    "body, status, param, message",
    [
        ({"model": "gpt-9"}, 404, "model", MODEL),
        ({"messages": []}, 400, "messages", "at least 1"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages.0.role", "expected 'user'"),
        ({"messages": [{"role": "system", "content": "x"}]}, 400, "messages", "last message"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
            400, "messages", "last message",
        ),
        ({"messages": [{"role": "user", "content": "x"}] * 2}, 400, "messages.1.role", "'assistant'"),
        ({"logit_bias": {"1": 2}}, 400, "logit_bias", "not permitted"),
        ({"n": 2}, 400, "n", "1"),
        ({"messages": [{"role": "user", "content": "x" * (MAX_CHARACTERS + 1)}]}, 400, None, "at most"),
    ],
)  # fmt: skip
def test_errors_have_openais_shape(client, body, status, param, message):
    valid = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    answer = client.post("/v1/chat/completions", json={**valid, **body})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert message in error["message"]
    assert param is None or error["param"] == param


def test_invalid_json_is_an_error_of_openais_shape(client):
    answer = client.post("/v1/chat/completions", content=b"{", headers=JSON)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]["message"]
