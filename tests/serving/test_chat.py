"""The OpenAI-compatible chat, on a real process of BentoML's."""

import json

import pytest

from serving.payloads import MAX_CHARACTERS
from tutee_serializer.dialogs.formats import system_turn, task_turn, write_turn

MODEL = "tutee-toy-v7"
JSON = {"Content-Type": "application/json"}


def chat(client, *messages, **more):
    body = [{"role": role, "content": content} for role, content in messages]
    return client.post(
        "/v1/chat/completions", json={"model": MODEL, "messages": body, "temperature": 0, **more}
    )


def content(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


@pytest.fixture(scope="module")
def task(client):
    return client.get("/assignments").json()["assignments"][0]["task"]


def test_a_chat_gets_the_same_program_as_next_submission(client, task, trajectory):
    body = {"assignment": "double", "temperature": 0}
    (first,) = client.post("/next_submission", json=body).json()["samples"]
    answer = chat(
        client, ("user", task), ("assistant", trajectory[0]), ("user", first["verdict"]["feedback"])
    )
    (choice,) = answer.json()["choices"]
    assert choice["message"] == {"role": "assistant", "content": trajectory[1], "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert (answer.json()["object"], answer.json()["model"]) == ("chat.completion", MODEL)
    usage = answer.json()["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] > 0


def test_content_may_come_in_parts(client, task, trajectory):
    parts = [{"type": "text", "text": task[:10]}, {"type": "text", "text": task[10:]}]
    assert content(chat(client, ("user", parts))) == trajectory[0]


def test_messages_in_a_row_are_one(client, task, trajectory):
    split = ("user", "Nearly."), ("user", "Look again.")
    joined = (("user", "Nearly.\n\nLook again."),)
    tokens = [
        chat(client, ("user", task), ("assistant", trajectory[0]), *last).json()["usage"]["prompt_tokens"]
        for last in (split, joined)
    ]
    assert tokens[0] == tokens[1]


def test_a_conversation_with_the_services_own_refusal_goes_on(client, task, trajectory):
    refused = {"role": "assistant", "content": None, "refusal": "the student's turn holds no program"}
    messages = [
        {"role": "user", "content": task},
        {"role": "assistant", "content": trajectory[0]},
        {"role": "user", "content": "No."},
    ]
    with_it = client.post(
        "/v1/chat/completions",
        json={
            "model": MODEL,
            "temperature": 0,
            "messages": [*messages, refused, {"role": "user", "content": "Again."}],
        },
    )
    assert with_it.status_code == 200, with_it.text
    joined = chat(client, ("user", task), ("assistant", trajectory[0]), ("user", "No.\n\nAgain."))
    assert with_it.json()["usage"]["prompt_tokens"] == joined.json()["usage"]["prompt_tokens"]


def stream(client, task, system=None, **more):
    opening = [{"role": "system", "content": system}] if system else []
    body = {
        "model": MODEL,
        "messages": [*opening, {"role": "user", "content": task}],
        "temperature": 0,
        "stream": True,
        **more,
    }
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


def test_a_stream_has_the_same_program(client, task, trajectory):
    chunks = stream(client, task, stream_options={"include_usage": True})
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {MODEL}
    assert len({chunk["id"] for chunk in chunks}) == 1
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    assert choices[0]["delta"]["role"] == "assistant"
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == trajectory[0]
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_a_turn_as_it_was_trained_is_streamed_token_by_token(client, task, trajectory):
    chunks = stream(client, task_turn("edits", task), system_turn("edits"))
    pieces = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    assert "".join(filter(None, pieces)) == write_turn("edits", None, trajectory[0])
    assert len(list(filter(None, pieces))) > 10


def test_a_stream_ends_before_a_stop(client, task, trajectory):
    turn = write_turn("edits", None, trajectory[0])
    chunks = stream(client, task_turn("edits", task), system_turn("edits"), stop="return")
    pieces = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    assert "".join(filter(None, pieces)) == turn.partition("return")[0]


def test_a_stream_of_several_choices_has_all_of_them(client, task):
    whole = chat(client, ("user", task), temperature=1, seed=4, n=3).json()["choices"]
    found = {number: "" for number in range(3)}
    for chunk in stream(client, task, temperature=1, seed=4, n=3):
        for choice in chunk["choices"]:
            found[choice["index"]] += choice["delta"].get("content") or ""
    assert found == {choice["index"]: choice["message"]["content"] or "" for choice in whole}
    assert len(set(found.values())) > 1


def test_a_system_message_replaces_the_trained_one(client, task):
    short, long = (
        chat(client, ("system", text), ("user", task)).json()["usage"]["prompt_tokens"]
        for text in ("Hi.", "Hi. " * 50)
    )
    assert long > short + 50


def test_a_turn_without_a_program_says_why(client):
    """On an unknown task and at a high temperature, most of what the student writes is no program."""
    choices = chat(client, ("user", "?"), temperature=2, seed=1, n=6).json()["choices"]
    messages = [choice["message"] for choice in choices]
    assert any(message["content"] is None for message in messages)
    assert all((message["content"] is None) == bool(message["refusal"]) for message in messages)


def test_a_turn_that_is_cut_says_so(client, task):
    answer = chat(client, ("user", task), max_tokens=3).json()
    assert answer["usage"]["completion_tokens"] == 3
    assert answer["choices"][0]["finish_reason"] == "length"


def test_an_answer_ends_before_a_stop(client, task, trajectory):
    before, _, _ = trajectory[0].partition("return")
    answer = chat(client, ("user", task), stop=["nowhere", "return"])
    assert content(answer) == before
    assert answer.json()["choices"][0]["finish_reason"] == "stop"


def test_logprobs_are_those_of_the_turn(client, task, adapter):
    from tutee_evaluator.engines.transformers import Student
    from tutee_serializer.dialogs.dialog import Dialog

    (choice,) = chat(client, ("user", task), logprobs=True).json()["choices"]
    tokens = choice["logprobs"]["content"]
    turn = write_turn("edits", None, choice["message"]["content"])
    assert "".join(token["token"] for token in tokens) == f"{turn}<|im_end|>"
    assert all(bytes(token["bytes"]).decode() == token["token"] for token in tokens)
    nats = Student.load(adapter, device="cpu").nats(Dialog.start("edits", "summary", task), turn)
    assert sum(token["logprob"] for token in tokens) == pytest.approx(-nats, abs=1e-3)


def test_the_models_are_listed(client):
    models = client.get("/v1/models").json()["data"]
    assert [model["id"] for model in models] == [
        "tutee-toy",
        "tutee-toy-challenger",
        "tutee-toy-v6",
        "tutee-toy-v7",
    ]
    assert client.get(f"/v1/models/{MODEL}").json() == models[-1]
    assert client.get("/v1/models/tutee-toy-v8").json()["error"]["code"] == "model_not_found"


def test_what_clients_send_without_need_is_accepted(client, task, trajectory):
    """As LangChain and others send it."""
    neutral = {
        "max_tokens": None, "stop": None, "presence_penalty": 0, "frequency_penalty": 0.0, "logprobs": False,
        "response_format": {"type": "text"}, "tool_choice": "none", "tools": [], "metadata": {"run": "1"},
        "n": 1, "top_p": 1, "top_logprobs": None, "logit_bias": {}, "user": "me", "store": False,
        "parallel_tool_calls": True, "stream": False, "service_tier": "auto", "seed": None,
    }  # fmt: skip
    assert content(chat(client, ("user", task), **neutral)) == trajectory[0]


@pytest.mark.parametrize(
    "body, status, param, message",
    [
        ({"model": "gpt-9"}, 404, "model", "tutee-toy"),
        ({"messages": []}, 400, "messages", "at least 1"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages.0.role", "the task"),
        ({"messages": [{"role": "system", "content": "x"}]}, 400, "messages.0.role", "the task"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages.0.role", "'user'"),
        ({"messages": [{"role": "user", "content": None}]}, 400, "messages.0", "without content"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
            400, "messages", "last message",
        ),
        ({"messages": [{"role": "user", "content": "x"}] * 10_000}, 400, "messages", "at most"),
        ({"logit_bias": {"1": 2}}, 400, "logit_bias", "at most 0"),
        ({"top_p": 0.5}, 400, "top_p", "greater"),
        ({"tools": [{"type": "function"}]}, 400, "tools", "at most 0"),
        ({"store": True}, 400, "store", "not supported"),
        ({"n": 1000}, 400, "n", "less"),
        ({"best_of": 2}, 400, "best_of", "not permitted"),
        ({"messages": [{"role": "user", "content": "x" * (MAX_CHARACTERS + 1)}]}, 400, None, "at most"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 20_000}] * 2}]},
            400, None, "at most",
        ),
        ({"messages": [{"role": "user", "content": "x y " * 4000}]}, 400, "messages", "too long"),
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


def test_a_prompt_beyond_the_context_is_refused_with_openais_code(client):
    for messages in (1, 50):  # so many characters are not even read
        answer = chat(client, *[("user", "x = 1\n" * 3000)] * messages)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_invalid_json_is_an_error_of_openais_shape(client):
    answer = client.post("/v1/chat/completions", content=b"{", headers=JSON)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]["message"]
