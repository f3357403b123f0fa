"""The load that `tutee bench serve` puts on a server, and the figures that it makes of the answers."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from benchmarks import load
from benchmarks.load import Answer, Load, LoadProcess, put, summarize
from benchmarks.serve import seconds_until_normal

FINE = 200, {}, json.dumps({"model": "toy", "usage": {"completion_tokens": 7}})
Reply = tuple[int, dict[str, str], str]


@contextmanager
def serving(reply: Callable[[dict[str, Any]], Reply | None]) -> Iterator[str]:
    """The address of a server; where `reply` to a body is None, it closes the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            replied = reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if replied is None:
                self.close_connection = True
                return
            status, headers, text = replied
            self.send_response(status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(load: Load) -> list[Answer]:
    return asyncio.run(put(load))


def test_all_clients_are_at_work_and_send_each_request_once() -> None:
    together = threading.Barrier(4)  # no request is answered before four are there
    bodies: list[dict[str, Any]] = []

    def reply(body: dict[str, Any]) -> Reply:
        bodies.append(body)
        together.wait(timeout=10)
        return FINE

    with serving(reply) as url:
        answers = run(Load(url, [{"text": "a"}, {"text": "b"}], clients=4, requests=12, first=100))
    assert [(answer.status, answer.model, answer.tokens) for answer in answers] == [(200, "toy", 7)] * 12
    assert sorted(body["seed"] for body in bodies) == list(range(100, 112))
    assert {body["seed"] % 2: body["text"] for body in bodies} == {0: "a", 1: "b"}


def test_every_kind_of_failure_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "AWAY_S", 0.0)
    replies: list[Reply | None] = [
        FINE,
        (500, {}, "oh"),
        (429, {"Retry-After": "3"}, "later"),
        None,
        (200, {}, "no JSON"),
        (200, {}, "{}"),
    ]
    with serving(lambda body: replies[body["seed"]]) as url:
        answers = run(Load(url, [{}], clients=1, requests=6))
    assert [answer.status for answer in answers] == [200, 500, 429, 0, 0, 0]
    assert [answer.retry_after for answer in answers] == [None, None, "3", None, None, None]
    assert [answer.problem for answer in answers[:3]] == ["", "oh", "later"]
    assert all(answer.problem for answer in answers[3:])
    summary = summarize([answers])
    assert (summary.requests, summary.errors) == (6, 5)


def test_a_client_that_was_turned_away_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "AWAY_S", 0.3)
    with serving(lambda body: (429, {"Retry-After": "1"}, "") if body["seed"] == 0 else FINE) as url:
        first, second = run(Load(url, [{}], clients=1, requests=2))
    assert (first.status, second.status) == (429, 200)
    assert second.sent - first.done >= 0.3


def test_a_load_in_a_process_of_its_own_ends_when_it_is_stopped() -> None:
    seen: list[int] = []
    busy = threading.Event()

    def reply(body: dict[str, Any]) -> Reply:
        seen.append(body["seed"])
        if len(seen) == 10:
            busy.set()
        return FINE

    with serving(reply) as url:
        process = LoadProcess(Load(url, [{}], clients=2))
        assert busy.wait(60)
        assert not process.ends_within(0)
        answers = process.stop()
    assert len(answers) == len(seen) >= 10
    assert all(answer.status == 200 for answer in answers)


def test_rates_count_what_was_answered_in_time_and_percentiles_every_answer() -> None:
    # Of the first run's answers one is there at 10.1, in the warm-up, and one at 11.3, too late.
    slow = [Answer(10.0, 0.1, 200, "m", 9), Answer(10.1, 0.3, 200, "m", 5), Answer(10.1, 0.3, 500)]
    slow += [Answer(10.5, 0.8, 200, "m", 9)]
    quick = [Answer(20.0 + at / 10, 0.25, 200, "m", 1) for at in range(5)]
    summary = summarize([slow, quick], warm_up_s=0.2, seconds=1.0)
    assert (summary.requests, summary.errors) == (9, 1)
    assert summary.requests_per_second == (1 + 5) / 2
    assert summary.tokens_per_second == (5 + 5) / 2
    # Without seconds, all of a run counts: up to 11.3 and up to 20.65.
    assert summarize([slow, quick]).requests_per_second == pytest.approx((3 + 5) / (1.3 + 0.65), abs=0.01)


def test_percentiles_are_of_the_answers_times() -> None:
    answers = [Answer(0.0, ms / 1000, 200) for ms in range(100, -1, -1)]  # 0 to 100 ms
    summary = summarize([[*answers, Answer(0.0, 9.0, 429)]])
    assert (summary.p50_ms, summary.p95_ms, summary.p99_ms) == (50.0, 95.0, 99.0)


def test_without_an_answer_there_are_no_percentiles() -> None:
    summary = summarize([[Answer(0.0, 0.5, 0, problem="refused")]])
    assert (summary.requests, summary.errors, summary.p50_ms) == (1, 1, None)


def test_times_are_normal_when_the_median_of_five_is() -> None:
    def after(*seconds: float) -> float | None:
        sent = [50.0 + sum(seconds[:at]) for at in range(len(seconds))]
        answers = [Answer(at, taken, 200) for at, taken in zip(sent, seconds, strict=True)]
        return seconds_until_normal(answers, usual_s=0.5, since=49.0)

    # Sent at 50, 52, 54, 54.1, 56.1 and 56.2: the second to the sixth are the first five, there at 56.3.
    assert after(2, 2, 0.1, 2, 0.1, 0.1, 2, 0.1) == 7.3
    assert after(0.1, 0.1, 0.1, 0.1, 0.1) == 1.5
    assert after(2, 2, 2, 2, 0.1, 0.1) is None
    assert seconds_until_normal([Answer(50.0, 0.1, 500)] * 5, usual_s=0.5, since=49.0) is None
