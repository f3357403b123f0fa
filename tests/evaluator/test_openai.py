"""The engine over HTTP: against this project's own chat, and against an endpoint that fails as told."""

import gc
import socket
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from tutee_evaluator import endpoint as endpoint_module
from tutee_evaluator.engines import Completion, Request, complete
from tutee_evaluator.engines.openai import OpenAIStudent, StudentEndpointConfig
from tutee_grader.errors import InputError, TuteeError, UnavailableError
from tutee_serializer.dialogs.dialog import Dialog

from ..fake_endpoint import FakeEndpoint, Handler, Step, answer, says

KEY = "sk-a-secret-of-ours"
PROGRAM = "def double(n):\n    return 2 * n\n"
TASK = "Write the function `double`."
TURN = f"```python\n{PROGRAM}\n```"


def half_a_body(handler: Handler) -> None:
    handler.send(200, '{"choices": [', length=1000)


def nothing(handler: Handler) -> None:
    handler.close_connection = True


FAULTS = {
    "too many requests": says(429, "slow down"),
    "server error": says(500, "oh"),
    "unavailable": lambda handler: handler.send(503, "<html>busy</html>"),
    "half a body": half_a_body,
    "nothing": nothing,
    "garbage": lambda handler: handler.send(200, "{choices"),
    "no choices": lambda handler: handler.send(200, '{"choices": []}'),
    "an error of its own": lambda handler: handler.send(200, '["odd"]'),
}


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint().running() as endpoint:
        endpoint.always = answer(TURN)
        yield endpoint


@pytest.fixture
def dialog() -> Dialog:
    dialog = Dialog.start("code", "summary", TASK)
    dialog.append("def double(n):\n    return n\n", "1 of 3 tests passed.")
    return dialog


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


Engine = Callable[..., OpenAIStudent]


@pytest.fixture
def pauses() -> list[float]:
    """The seconds of every pause of the engine; none is made."""
    return []


@pytest.fixture
def engine(endpoint: FakeEndpoint, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> Engine:
    def engine(**settings: Any) -> OpenAIStudent:
        student = OpenAIStudent(StudentEndpointConfig(**{"url": endpoint.url, "model": "m", **settings}))
        monkeypatch.setattr(student._endpoint, "_pause", lambda seconds: pauses.append(seconds))
        return student

    return engine


def ask(student: OpenAIStudent, dialog: Dialog) -> Completion:
    return complete(student, [Request(dialog)])[0]


def test_the_dialog_is_sent_as_it_is(endpoint: FakeEndpoint, engine: Engine, dialog: Dialog) -> None:
    complete(engine(), [Request(dialog, 0.7, 5)])

    (sent,) = endpoint.requests
    assert sent["path"] == "/v1/chat/completions"
    assert sent["body"] == {"model": "m", "messages": dialog.messages, "temperature": 0.7, "seed": 5}


def test_the_longest_turn_is_a_setting(endpoint: FakeEndpoint, engine: Engine, dialog: Dialog) -> None:
    ask(engine(max_new_tokens=9), dialog)
    assert endpoint.requests[0]["body"]["max_tokens"] == 9


def test_large_seeds_are_made_small_ones_that_differ(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog
) -> None:
    complete(engine(), [Request(dialog, 1.0, 2**64 - seed) for seed in (1, 2)])
    seeds = {sent["body"]["seed"] for sent in endpoint.requests}
    assert len(seeds) == 2 and max(seeds) < 2**31


def test_the_key_is_that_of_the_named_variable(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER", "another")
    ask(engine(key_variable="OTHER"), dialog)
    assert endpoint.requests[0]["headers"]["Authorization"] == "Bearer another"


def test_a_local_server_needs_no_key(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert ask(engine(), dialog).program == PROGRAM
    assert "Authorization" not in endpoint.requests[0]["headers"]


def test_a_key_with_other_characters_is_refused_unseen(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"“{KEY}”")
    with pytest.raises(UnavailableError, match="OPENAI_API_KEY") as raised:
        engine()
    assert KEY not in str(raised.value)


def test_an_engine_that_is_garbage_collected_closes_its_connections(
    endpoint: FakeEndpoint, dialog: Dialog
) -> None:
    student = OpenAIStudent(StudentEndpointConfig(url=endpoint.url, model="m"))
    ask(student, dialog)
    client = student._endpoint._client
    assert not client.is_closed

    del student
    gc.collect()
    assert client.is_closed


def test_an_answer_is_read_as_students_turns_are(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog
) -> None:
    endpoint.always = answer(f"Here it is:\n{TURN}", prompt_tokens=70, completion_tokens=20)
    completion = ask(engine(), dialog)
    assert completion == Completion(f"Here it is:\n{TURN}", PROGRAM, None, 70, 20, "text around the block")


@pytest.mark.parametrize(
    "step, reason",
    [
        (answer("I give up."), "no code block"),
        (answer("```python\nx", "length", completion_tokens=7), "no end of turn within 7 tokens"),
        (answer(None, "content_filter"), "content_filter"),
    ],
)
def test_a_turn_without_a_program_has_the_reason(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog, step: Step, reason: str
) -> None:
    endpoint.always = step
    completion = ask(engine(), dialog)
    assert completion.program is None and reason in str(completion.reason)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_request_that_fails_is_sent_again(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog, fault: str
) -> None:
    endpoint.steps.append(FAULTS[fault])
    assert ask(engine(), dialog).program == PROGRAM
    assert len(endpoint.requests) == 2


def test_a_silent_endpoint_is_asked_again(endpoint: FakeEndpoint, engine: Engine, dialog: Dialog) -> None:
    over = threading.Event()
    endpoint.steps.append(lambda handler: over.wait() and nothing(handler))
    assert ask(engine(timeout=0.2), dialog).program == PROGRAM
    over.set()
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_after_the_last_attempt_the_turn_has_no_program(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog, fault: str
) -> None:
    endpoint.always = FAULTS[fault]
    completion = ask(engine(attempts=3), dialog)
    assert completion.program is None
    assert str(completion.reason).startswith("the endpoint gave no answer in 3 attempts: ")
    assert len(endpoint.requests) == 3


def test_an_endpoint_that_is_not_there_is_an_outcome(engine: Engine, dialog: Dialog) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    assert "ConnectError" in str(ask(engine(url=url, attempts=2), dialog).reason)


def test_the_wait_doubles_up_to_the_longest(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog, pauses: list[float]
) -> None:
    endpoint.always = says(500)
    ask(engine(attempts=9), dialog)
    least = [1, 2, 4, 8, 16, 32, 60, 60]
    assert all(low <= pause <= 1.5 * low for low, pause in zip(least, pauses, strict=True))


def test_two_requests_do_not_wait_equally_long(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog, pauses: list[float]
) -> None:
    endpoint.steps.extend([says(500)] * 2)
    complete(engine(), [Request(dialog)] * 2)
    assert pauses[0] != pauses[1]


@pytest.mark.parametrize("asked", ["77", "77.0", "date"])
def test_the_wait_that_the_endpoint_asks_for_is_kept(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog, pauses: list[float], asked: str
) -> None:
    header = formatdate(time() + 78, usegmt=True) if asked == "date" else asked
    endpoint.steps.append(says(429, Retry_After=header))
    ask(engine(), dialog)
    assert 76 < pauses[0] < 120


def test_a_request_that_waits_holds_up_no_other(
    endpoint: FakeEndpoint, dialog: Dialog, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected = threading.Event()
    endpoint.steps.append(says(500))
    student = OpenAIStudent(StudentEndpointConfig(url=endpoint.url, model="m", batch=2))
    waits = threading.Event()
    monkeypatch.setattr(student._endpoint, "_pause", lambda _: waits.set() or not collected.wait(60))
    student.add(1, Request(dialog))
    assert waits.wait(60)
    student.add(2, Request(dialog))
    first = student.collect()
    collected.set()

    assert [key for key, _ in first] == [2]
    assert [(key, one.program) for key, one in student.collect()] == [(1, PROGRAM)]
    assert student.collect() == []


def test_a_batch_of_requests_is_under_way_at_once_and_no_more(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog
) -> None:
    active, most = [], []
    together = threading.Barrier(3)

    def count(handler: Handler) -> None:
        active.append(handler)
        together.wait(60)
        most.append(len(active))
        together.wait(60)
        active.remove(handler)
        answer(TURN)(handler)

    endpoint.always = count
    completions = complete(engine(batch=3), [Request(dialog)] * 9)
    assert len(completions) == 9 and set(most) == {3}


@pytest.mark.parametrize(
    "step, error, way_out",
    [
        (says(401, f"Incorrect API key provided: {KEY}"), UnavailableError, "OPENAI_API_KEY"),
        (says(403, f"{KEY} may not"), UnavailableError, "OPENAI_API_KEY"),
        (says(404, f"no model m for {KEY}"), InputError, "`model`"),
        (says(402, f"pay for {KEY}"), UnavailableError, "credit"),
        (says(429, f"{KEY} exceeded", "insufficient_quota"), UnavailableError, "credit"),
        (says(400, f"{KEY}: unsupported", param="temperature"), InputError, "`temperature`"),
    ],
)
def test_what_every_request_would_get_ends_the_work_at_once(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog, step: Step, error: type[TuteeError], way_out: str
) -> None:
    endpoint.always = step
    with pytest.raises(error, match=way_out) as raised:
        ask(engine(), dialog)
    assert KEY not in str(raised.value)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "step",
    [
        says(
            400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded", "messages"
        ),
        says(400, "'max_tokens' is too large; the context length is 10", param="max_tokens"),
        lambda handler: handler.send(400, "the request exceeds the available context size"),
    ],
)
def test_a_dialog_that_is_too_long_is_an_outcome(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog, step: Step
) -> None:
    endpoint.steps.append(step)
    long, short = complete(engine(batch=1, max_new_tokens=9), [Request(dialog)] * 2)
    assert long.program is None and "too long for the model" in str(long.reason)
    assert short.program == PROGRAM
    assert len(endpoint.requests) == 2


def test_a_dialog_that_is_refused_is_an_outcome(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog
) -> None:
    endpoint.steps.append(says(400, "against the policy", "content_filter", "prompt"))
    completion = ask(engine(), dialog)
    assert completion.program is None and "against the policy" in str(completion.reason)


@pytest.mark.parametrize("status", [400, 429, 500])
def test_no_reason_holds_the_key(endpoint: FakeEndpoint, engine: Engine, dialog: Dialog, status: int) -> None:
    endpoint.always = says(status, f"{'x' * 290}{KEY}")
    reason = str(ask(engine(attempts=1), dialog).reason)
    assert "xxx" in reason and "sk-" not in reason


def test_nothing_logs_the_key(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.steps.append(says(500, KEY))
    with caplog.at_level("DEBUG"):
        ask(engine(), dialog)
    assert "HTTP" in caplog.text and KEY not in caplog.text


def test_requests_and_tokens_are_counted_and_priced(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog
) -> None:
    endpoint.steps.extend([says(500), answer(TURN, prompt_tokens=1000, completion_tokens=100), answer(TURN)])
    student = engine(batch=1, prompt_price=2.0, completion_price=10.0)
    complete(student, [Request(dialog)] * 2)
    usage = student.usage
    assert (usage.requests, usage.prompt_tokens, usage.completion_tokens) == (3, 1000, 100)
    assert usage.cost == pytest.approx(0.003)


def test_requests_start_as_far_apart_as_the_rate_says(
    endpoint: FakeEndpoint, dialog: Dialog, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, starts = [100.0], []
    student = OpenAIStudent(
        StudentEndpointConfig(url=endpoint.url, model="m", batch=1, requests_per_minute=30)
    )

    def pause(seconds: float) -> None:
        now[0] += seconds

    def start(handler: Handler) -> None:
        starts.append(now[0])
        answer(TURN)(handler)

    endpoint.always = start
    monkeypatch.setattr(endpoint_module, "monotonic", lambda: now[0])
    monkeypatch.setattr(student._endpoint, "_pause", pause)
    complete(student, [Request(dialog)] * 4)
    assert starts == [100.0, 102.0, 104.0, 106.0]


def test_an_error_ends_the_waits_of_other_requests(endpoint: FakeEndpoint, dialog: Dialog) -> None:
    endpoint.steps.extend([says(429, Retry_After="5"), says(401)])
    student = OpenAIStudent(StudentEndpointConfig(url=endpoint.url, model="m", batch=2))
    with pytest.raises(UnavailableError):
        complete(student, [Request(dialog)] * 2)
    student._threads.shutdown()
    assert len(endpoint.requests) == 2


def test_after_an_error_waiting_requests_are_not_sent(
    endpoint: FakeEndpoint, engine: Engine, dialog: Dialog
) -> None:
    over = threading.Event()
    endpoint.steps.append(says(401))
    endpoint.always = lambda handler: over.wait(60) and answer(TURN)(handler)
    student = engine(batch=1)
    with pytest.raises(UnavailableError):
        complete(student, [Request(dialog)] * 9)
    over.set()
    student._threads.shutdown()
    assert len(endpoint.requests) <= 2  # the second may have been under way


def test_several_dialogs_are_answered_in_the_order_asked(endpoint: FakeEndpoint) -> None:
    def repeat(handler: Handler) -> None:
        answer(f"heard {handler.body['messages'][0]['content']}")(handler)

    client = endpoint_module.Endpoint(endpoint_module.EndpointConfig(url=endpoint.url, model="m", batch=3))
    endpoint.always = repeat
    answered = client.answers([[{"role": "user", "content": str(number)}] for number in range(9)])
    assert [answer.text for answer in answered] == [f"heard {number}" for number in range(9)]
