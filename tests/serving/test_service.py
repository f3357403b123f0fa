"""The service's process, a real one of BentoML's: what it listens on, and what programs see of it."""

import asyncio
import os

import psutil
import pytest

from serving.grading import Graders
from tutee_grader.assignment import Assignment


def test_nothing_listens_beyond_loopback(client, service, port):
    family = [psutil.Process(service.pid), *psutil.Process(service.pid).children(recursive=True)]
    listening = {
        connection.laddr
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert ("127.0.0.1", port) in {(address.ip, address.port) for address in listening}
    assert {address.ip for address in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "program",
    [
        "import os\ndef double(n): return 'ran', repr(dict(os.environ))",
        "def double(n): return 'ran', open('/proc/self/environ').read()",
        "def double(n): return 'ran', open('/proc/PID/environ').read()",
        "import subprocess\ndef double(n): return 'ran', subprocess.check_output('env')",
    ],
)
def test_a_program_cannot_read_the_services_environment(course_file, monkeypatch, program):
    """Graded as the service does, but in this process, where the verdict shows what a program returned."""
    monkeypatch.setenv("TUTEE_SECRET", "a secret of the service")
    graders = Graders()
    try:
        assignment = Assignment.load(course_file.parent / "assignments" / "double")
        named = program.replace("PID", str(os.getpid()))
        verdict = asyncio.run(graders.grade(assignment, named))
    finally:
        graders.close()
    assert "a secret of the service" not in str(verdict.tests) and verdict.grade == 0
    assert ("'ran'" in str(verdict.tests[0].got)) == program.startswith("import os")


def test_the_services_secret_is_there_to_be_read(service):
    """Or the test above would show nothing."""
    family = psutil.Process(service.pid).children(recursive=True)
    (worker,) = [process for process in family if "_bentoml_impl.worker.service" in process.cmdline()]
    assert worker.environ()["TUTEE_SECRET"] == "a secret of the service"
