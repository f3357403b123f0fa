"""`next_submission` and the service's process, a real one of BentoML as `tutee serve` starts it."""

import os
import shutil
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from serving.payloads import MAX_ATTEMPTS, MAX_BYTES, MAX_CHARACTERS
from serving.run import check_port, serve
from tutee_grader.errors import InputError, UnavailableError

MODEL = "tutee-toy-sft-v7"


def next_submission(client, **body):
    return client.post("/next_submission", json={"assignment": "double", **body})


def test_repeated_requests_lead_from_the_first_attempt_to_the_right_one(client, trajectory):
    history, grades = [], []
    for program in trajectory:
        answer = next_submission(client, history=history).json()
        assert answer["code"] == program
        assert answer["reason"] is None
        assert answer["attempt"] == len(history) + 1
        assert answer["model"] == MODEL
        grades.append(answer["verdict"]["grade"])
        history.append({"code": program, "feedback": answer["verdict"]["feedback"]})
    assert grades == [0, 50, 100]


def test_missing_feedback_is_the_graders(client, trajectory):
    history = [{"code": program} for program in trajectory[:2]]
    assert next_submission(client, history=history).json()["code"] == trajectory[2]


def test_greedy_is_what_the_evaluators_engine_gives(client, bundle, trajectory):
    from tutee_evaluator.engines import Request, complete
    from tutee_evaluator.engines.transformers import Student
    from tutee_serializer.dialogs.dialog import Dialog

    task = client.get("/assignments").json()[0]["task"]
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
    expected = complete(Student.load(bundle / "student", device="cpu"), map(Request, dialogs))
    answers = []
    for history in histories:
        entries = [{"code": program, "feedback": feedback} for program, feedback in history]
        answers.append(next_submission(client, history=entries).json())
    assert [(a["code"], a["reason"]) for a in answers] == [(e.program, e.reason) for e in expected]


def test_a_seed_gives_the_same_program_beside_other_requests(client):
    def sample(seed):
        answer = next_submission(client, temperature=1.5, seed=seed).json()
        return answer["code"], answer["reason"]

    alone = sample(3)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(sample, [3, 1, 2, 3, 4, 5, 6, 3]))
    assert [together[0], together[3], together[7]] == [alone] * 3
    assert len(set(together)) > 1


def test_concurrent_requests_get_their_own_answers(client, trajectory):
    histories = [[{"code": program} for program in trajectory[:steps]] for steps in (0, 1, 2)] * 4
    with ThreadPoolExecutor(12) as pool:
        answers = pool.map(lambda history: next_submission(client, history=history).json(), histories)
        assert [answer["code"] for answer in answers] == list(trajectory) * 4


def test_an_unknown_assignment_is_an_error_that_lists_the_known_ones(client):
    answer = next_submission(client, assignment="triple")
    assert answer.status_code == 400
    (problem,) = answer.json()["detail"]
    assert problem["loc"] == ["assignment"]
    assert problem["msg"] == "there is no assignment 'triple'; there are: double, echo"


@pytest.mark.parametrize(
    "field, body",
    [
        ("history", {"history": [{"code": ""}] * (MAX_ATTEMPTS + 1)}),
        ("history.0.code", {"history": [{"code": "#" * (MAX_CHARACTERS + 1)}]}),
        ("history.0.feedback", {"history": [{"code": "", "feedback": "!" * (MAX_CHARACTERS + 1)}]}),
        ("history.0.code", {"history": [{}]}),
        ("temperature", {"temperature": -0.1}),
        ("temperature", {"temperature": "warm"}),
        ("seed", {"seed": -1}),
        ("tempreature", {"tempreature": 1}),
    ],
)
def test_an_invalid_field_is_named(client, field, body):
    answer = next_submission(client, **body)
    assert answer.status_code == 400
    assert [".".join(map(str, problem["loc"])) for problem in answer.json()["detail"]] == [field]


def test_the_longest_valid_history_is_answered(client):
    long = "x = 1\n" * (MAX_CHARACTERS // 6)
    history = [{"code": "x = 1\n", "feedback": "No."}] * (MAX_ATTEMPTS - 1) + [
        {"code": long, "feedback": "No."}
    ]
    answer = next_submission(client, history=history)
    assert answer.status_code == 200
    assert answer.json()["attempt"] == MAX_ATTEMPTS + 1


def test_a_body_that_is_too_long_is_rejected(client):
    for path in ("/next_submission", "/v1/chat/completions"):
        answer = client.post(
            path, content=b" " * (MAX_BYTES + 1), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 413
        assert f"{MAX_BYTES:,}" in answer.json()["error"]["message"]


def test_bentomls_own_client_works(client, trajectory):
    import bentoml

    with bentoml.SyncHTTPClient(str(client.base_url)) as student:
        answer = student.next_submission(assignment="double", history=[])
    assert answer["code"] == trajectory[0]


def test_a_program_cannot_read_the_services_environment(bundle):
    """Grades as the service does, but in this process, where the verdict shows what a program returned."""
    import asyncio

    from serving.students import ServedStudent

    secret = "a secret of the service"
    os.environ["TUTEE_SECRET"] = secret
    reads = [
        "import os\ndef double(n): return 'ran', repr(dict(os.environ))",
        "def double(n): return 'ran', open('/proc/self/environ').read()",
        f"def double(n): return 'ran', open('/proc/{os.getpid()}/environ').read()",
        "import subprocess\ndef double(n): return 'ran', subprocess.check_output('env')",
    ]
    student = ServedStudent(bundle)
    try:
        verdicts = [asyncio.run(student.grade(student.assignments["double"], program)) for program in reads]
    finally:
        student.close()
        del os.environ["TUTEE_SECRET"]
    assert "'ran'" in str(verdicts[0].tests[0].got)
    assert all(secret not in str(verdict.tests) and verdict.grade == 0 for verdict in verdicts)


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


def test_the_services_telemetry_is_off(client, service):
    family = psutil.Process(service.pid).children(recursive=True)
    worker = [process for process in family if "_bentoml_impl.worker.service" in process.cmdline()]
    assert worker
    assert all(process.environ()["BENTOML_DO_NOT_TRACK"] == "True" for process in worker)


def test_a_port_in_use_is_one_clear_message(bundle):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"port {port} of 127.0.0.1 is in use") as caught:
            serve(bundle, port=port)
    assert caught.value.exit_code == 3
    check_port("127.0.0.1", port)


def test_a_student_that_cannot_be_loaded_ends_the_service(bundle, tmp_path):
    broken = shutil.copytree(bundle, tmp_path / "broken")
    (broken / "assignments" / "echo" / "tests.yaml").unlink()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(UnavailableError, match="could not start"):
        serve(broken, port=port)
    check_port("127.0.0.1", port)


def test_a_folder_without_a_student_is_an_error_before_anything_starts(tmp_path):
    with pytest.raises(InputError, match=r"about\.json: missing") as caught:
        serve(tmp_path)
    assert caught.value.exit_code == 2


def test_ctrl_c_stops_the_service_and_all_it_started(own_service):
    family = psutil.Process(own_service.pid).children(recursive=True)
    own_service.send_signal(signal.SIGINT)
    assert own_service.wait(30) == 0
    assert psutil.wait_procs(family, timeout=10)[1] == []
    check_port("127.0.0.1", own_service.port)
    log = own_service.log.read_text()
    assert f"{MODEL} is ready at http://127.0.0.1:{own_service.port}" in log
    assert "Traceback" not in log.split("serve: stopping")[-1]
