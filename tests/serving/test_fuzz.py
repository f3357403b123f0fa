"""Requests that schemathesis makes from the service's own OpenAPI: no 5xx, no answer against the schema."""

import subprocess
import sys
from pathlib import Path

import pytest

# Whether a valid request is accepted depends on more than its form: is there such an assignment, does the
# model read so many tokens? And a POST that is no JSON is refused as such on every path (415), before it is
# known whether the path takes a POST (405).
EXCLUDED = "positive_data_acceptance,unsupported_method"


def fuzz(port: int, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """schemathesis keeps what it found in `folder`."""
    command = [Path(sys.executable).parent / "schemathesis", "run", f"http://127.0.0.1:{port}/docs.json"]
    more = ["--exclude-checks", EXCLUDED, "--continue-on-failure", "--no-color", *options]
    return subprocess.run([*command, *more], capture_output=True, text=True, cwd=folder)


def test_examples_work_and_random_requests_break_nothing(client, port, tmp_path):
    found = fuzz(port, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "8", "--seed", "1")
    assert found.returncode == 0, found.stdout
    assert "4 passed" in found.stdout.split("Fuzzing")[0]  # the examples of all four


@pytest.mark.long
def test_many_requests_break_nothing(client, port, tmp_path):
    found = fuzz(port, tmp_path, "--max-examples", "200")
    print(found.stdout[-2000:])
    assert found.returncode == 0, found.stdout


def test_generators_are_told_the_truth_about_the_version(client):
    described = client.get("/docs.json").json()
    assert described["openapi"].startswith("3.1")
    assert set(described["paths"]) == {
        "/next_submission", "/rollout", "/steer", "/v1/chat/completions", "/v1/models", "/v1/models/{name}",
        "/about", "/assignments", "/livez", "/readyz", "/metrics",
    }  # fmt: skip


def test_the_metrics_count_requests_by_route_and_not_by_path(client):
    def series() -> int:
        return len(client.get("/metrics").text.splitlines())

    client.get("/nowhere")
    before = series()
    for number in range(20):
        assert client.get(f"/nowhere/{number}").status_code == 404
    assert series() == before
    text = client.get("/metrics").text
    assert 'tutee_requests_total{endpoint="other",status="404"}' in text
    assert 'tutee_champion{course="toy",model="tutee-toy-v7"} 1.0' in text
