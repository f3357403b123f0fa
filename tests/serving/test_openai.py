"""The official client of OpenAI's API, and the evaluator's own engine for it, on the real service."""

import openai
import pytest
from openai import OpenAI

from tutee_evaluator.engines import Request, complete
from tutee_evaluator.engines.openai import OpenAIStudent, StudentEndpointConfig
from tutee_evaluator.engines.transformers import Student
from tutee_serializer.dialogs.dialog import Dialog


@pytest.fixture(scope="module")
def api(client):
    return OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def task(client):
    return client.get("/assignments").json()["assignments"][0]["task"]


def test_a_tutors_session_leads_to_the_right_program(api, task, trajectory):
    messages = [{"role": "user", "content": task}]
    programs = []
    for feedback in ("No.", "Nearly.", "Well done."):
        answer = api.chat.completions.create(model="tutee-toy", messages=messages, temperature=0)
        programs.append(answer.choices[0].message.content)
        messages += [answer.choices[0].message, {"role": "user", "content": feedback}]
    assert programs[0] == trajectory[0]
    assert len(set(programs)) > 1
    assert answer.model == "tutee-toy-v7"


def test_a_stream_is_read(api, task, trajectory):
    options = {"include_usage": True}
    with api.chat.completions.create(
        model="tutee-toy", messages=[{"role": "user", "content": task}], temperature=0, stream=True,
        stream_options=options,
    ) as chunks:  # fmt: skip
        chunks = list(chunks)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == trajectory[0]
    assert chunks[-1].usage.completion_tokens > 0


def test_the_models_are_listed(api):
    assert [model.id for model in api.models.list()][:1] == ["tutee-toy"]
    assert api.models.retrieve("tutee-toy-v6").id == "tutee-toy-v6"


def test_errors_are_the_clients_own(api):
    with pytest.raises(openai.NotFoundError) as caught:
        api.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "x"}])
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as caught:
        api.chat.completions.create(model="tutee-toy", messages=[{"role": "user", "content": "x y " * 4000}])
    assert caught.value.code == "context_length_exceeded"


def test_the_evaluators_engine_writes_what_the_one_on_transformers_does(client, adapter, task, trajectory):
    histories = [[], [(trajectory[0], "No.")], [("x = 1\n", "No.")] * 30, [(trajectory[1], "Hm.")]]
    requests = []
    for history in histories:
        dialog = Dialog.start("edits", "summary", task)
        for program, feedback in history:
            dialog.append(program, feedback)
        requests += [Request(dialog, temperature, seed) for temperature, seed in ((0, 0), (1.2, 3), (2, 4))]
    local = Student.load(adapter, device="cpu")
    endpoint = OpenAIStudent(
        StudentEndpointConfig(
            url=f"{client.base_url}/v1", model="tutee-toy", format="edits", feedback="summary"
        )
    )

    written, asked = complete(local, requests), complete(endpoint, requests)

    found = [(one.program, one.reason, one.prompt_tokens, one.completion_tokens) for one in asked]
    assert found == [(one.program, one.reason, one.prompt_tokens, one.completion_tokens) for one in written]
    assert len({one.program for one in written}) > 1
