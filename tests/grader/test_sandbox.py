"""The sandbox itself: what it says of itself, what it refuses, and what it survives."""

import contextlib
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tutee_grader import Grader, SandboxError, WeakSandboxError, feedback
from tutee_grader import grader as grader_module
from tutee_grader.doctor import protections
from tutee_grader.errors import UnavailableError
from tutee_grader.sandbox.worker import INSIDE, Worker

RIGHT = "def f(n): return n"


def test_the_protections_are_stated(any_grader):
    for name in ("landlock", "seccomp", "limits", "no new privileges", "no capabilities"):
        assert any_grader.protections[name] is True
    assert any_grader.protections["landlock version"] >= 1


def test_the_doctor_lists_each_protection():
    rows = {name: active for name, active, _ in protections(bubblewrap=False)}
    assert rows == {
        "bubblewrap": False,
        "landlock": True,
        "seccomp": True,
        "limits": True,
        "no new privileges": True,
        "no capabilities": True,
        "scratch": True,
    }


def test_a_missing_protection_is_refused_unless_allowed(monkeypatch, calls):
    monkeypatch.setattr(grader_module, "REQUIRED", ("landlock", "moat"))
    with pytest.raises(WeakSandboxError, match="lacks moat"):
        Grader(1, bubblewrap=False)
    with (
        pytest.warns(UserWarning, match="lacks moat"),
        Grader(1, bubblewrap=False, allow_weak=True) as weak,
    ):
        assert weak.grade([(calls(("f(1)", "1")), RIGHT)])[0].grade == 100.0


def test_what_a_weak_sandbox_says_is_not_kept(monkeypatch, calls, tmp_path):
    monkeypatch.setattr(grader_module, "REQUIRED", ("landlock", "moat"))
    monkeypatch.setenv("TUTEE_ALLOW_WEAK_SANDBOX", "1")  # as `tutee --allow-weak-sandbox` does
    assignment, file = calls(("f(1)", "1")), tmp_path / "verdicts.sqlite"
    with pytest.warns(UserWarning, match="allowed"), Grader(1, bubblewrap=False, cache=file) as weak:
        weak.grade([(assignment, RIGHT)])
    assert not file.exists()


@pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed: apt-get install bubblewrap"
)
def test_what_one_mode_of_the_sandbox_says_is_not_passed_off_as_the_others(calls, tmp_path):
    assignment, file = calls(("f(1)", "1")), tmp_path / "verdicts.sqlite"
    grades = []
    for bubblewrap in (False, False, True):
        with Grader(1, bubblewrap=bubblewrap, cache=file) as made:
            grades.append(made.grade([(assignment, RIGHT)])[0].grade)
        with contextlib.closing(sqlite3.connect(file)) as database, database:
            database.execute("UPDATE verdicts SET verdict = replace(verdict, '[100.0,', '[7.0,')")
    assert grades == [100.0, 7.0, 100.0]


def test_bubblewrap_asked_for_and_absent_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(WeakSandboxError, match="apt-get install bubblewrap"):
        Grader(1, bubblewrap=True)


def test_bubblewrap_that_does_not_work_is_said_and_done_without(monkeypatch, tmp_path, calls):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'No permissions to create a new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(WeakSandboxError, match="No permissions"):
        Grader(1, bubblewrap=True)
    with Grader(1) as made:
        assert made.protections["bubblewrap"] is False
        assert "No permissions" in made.protections["bubblewrap error"]
        assert made.grade([(calls(("f(1)", "1")), RIGHT)])[0].grade == 100.0


def test_a_killed_zygote_is_no_fault_of_the_student(any_grader, calls):
    assignment = calls(("f(1)", "1"))
    any_grader.grade([(assignment, RIGHT)])
    for group in any_grader.process_groups():
        os.killpg(group, signal.SIGKILL)
    (verdict,) = any_grader.grade([(assignment, RIGHT + "  # again")])
    assert verdict.grade == 100.0


def test_a_sandbox_that_keeps_failing_is_an_error_of_its_own(calls, monkeypatch):
    from tutee_grader.sandbox.child import Child

    def fail(self):
        raise SandboxError("gone")

    with Grader(1, bubblewrap=False) as broken:
        monkeypatch.setattr(Child, "reaped", fail)
        with pytest.raises(SandboxError, match="3 times in a row"):
            broken.grade([(calls(("f(1)", "1")), RIGHT)])
        monkeypatch.undo()
        assert broken.grade([(calls(("f(1)", "1")), RIGHT)])[0].grade == 100.0


def test_a_worker_that_does_not_start_is_not_taken_for_one_that_did(calls, monkeypatch):
    def refuse(self):
        raise UnavailableError("no process can be made")

    with Grader(1, bubblewrap=False) as made:
        monkeypatch.setattr(Worker, "wait_until_ready", refuse)
        for _ in range(2):
            with pytest.raises(UnavailableError, match="no process"):
                made.grade([(calls(("f(1)", "1")), RIGHT)])
        monkeypatch.undo()
        assert made.grade([(calls(("f(1)", "1")), RIGHT)])[0].grade == 100.0


@pytest.mark.parametrize("refused", ["process", "folder"])
def test_a_machine_that_is_out_of_processes_for_a_while_loses_no_program(calls, monkeypatch, refused):
    # As where another program, or another user, has used up what a container may have.
    from tutee_grader.sandbox import worker

    assignment = calls(("f(1)", "1"))
    with Grader(1, bubblewrap=False) as made:
        place, name = (worker.subprocess, "Popen") if refused == "process" else (worker, "ScratchFolder")
        real = getattr(place, name)
        tries = []

        def refuse_twice(*arguments, **options):
            tries.append(1)
            if len(tries) <= 2:
                raise BlockingIOError(11, "Resource temporarily unavailable")
            return real(*arguments, **options)

        monkeypatch.setattr(place, name, refuse_twice)
        for group in made.process_groups():
            os.killpg(group, signal.SIGKILL)
        verdicts = made.grade([(assignment, f"{RIGHT}  # {number}") for number in range(3)])
        assert [verdict.grade for verdict in verdicts] == [100.0] * 3
        assert len(tries) > 2


def test_a_grader_works_in_a_thread_and_outlives_the_thread_that_made_it(calls):
    assignment = calls(("f(1)", "1"))
    made: list[Grader] = []
    maker = threading.Thread(target=lambda: made.append(Grader(1)))
    maker.start()
    maker.join()
    grades: list[float] = []

    def work(number: int) -> None:
        grades.extend(v.grade for v in made[0].grade([(assignment, f"{RIGHT}  # {number}")]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made[0].close()
    assert grades == [100.0] * 4


def test_an_interrupted_call_leaves_a_grader_that_works(calls):
    assignment = calls(("f(1)", "1"))

    def programs():
        yield 0, assignment, "while True: pass"
        raise KeyboardInterrupt

    with Grader(2, bubblewrap=False) as made:
        with pytest.raises(KeyboardInterrupt):
            list(made._pool.grade(programs()))
        assert made.grade([(assignment, RIGHT)])[0].grade == 100.0


def test_a_program_that_sleeps_is_ended_though_others_keep_the_grader_busy(calls):
    assignment = calls(("f(1)", "1"), limits="{seconds: 0.3}")
    most, given = 8000, 0

    def programs():
        nonlocal given
        yield 0, assignment, "import time\ntime.sleep(1000)"
        while given < most:
            given += 1
            yield given, assignment, f"{RIGHT}  # {given}"

    with Grader(2, bubblewrap=False) as made:
        verdict = next(verdict for index, verdict in made._pool.grade(programs()) if index == 0)
        assert [test.outcome for test in verdict.tests] == ["timeout"]
        assert given < most


def test_a_grader_with_a_worker_for_every_core_keeps_each_to_its_own():
    cores = os.sched_getaffinity(0)
    with Grader(len(cores), bubblewrap=False) as made:
        assert {frozenset(os.sched_getaffinity(group)) for group in made.process_groups()} == {
            frozenset({core}) for core in cores
        }
    if len(cores) > 1:
        with Grader(1, bubblewrap=False) as made:
            assert [os.sched_getaffinity(group) for group in made.process_groups()] == [cores]


POOL_BYTES = 16384  # of Python's allocator
WARM_UP = r"""
import builtins, io, json, random, re, os, subprocess, sys
import comparer, judge, scripts, student, warm_up
role = {"judge": judge, "comparer": comparer, "student": student}[sys.argv[1]]
def seen():
    names = ("__main__", "program", "tests", "cs110", "cs110.autograder")
    streams = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")
    modules = [id(sys.modules.get(name)) for name in names]
    return [*modules, *(id(getattr(sys, name)) for name in streams), id(builtins.input), os.listdir(".")]
before = seen()
warm_up.warm_up(role)
after = seen()
drawn = random.random()
random.seed(scripts.SEED)
read, write = os.pipe()
os.dup2(write, 2)
def free():
    sys._debugmallocstats()
    report = os.read(read, 1 << 16).decode()
    return int(re.search(r"bytes in available blocks += +([\d,]+)", report)[1].replace(",", ""))
free_before = free()
kept = warm_up.fill_free_blocks()
print(json.dumps([before == after, drawn == random.random(), free_before, free()]))
"""


@pytest.mark.parametrize("role", ["student", "comparer", "judge"])
def test_a_warm_up_leaves_no_trace_and_no_free_blocks(role, tmp_path):
    run = subprocess.run(
        [sys.executable, "-s", "-S", "-P", "-c", WARM_UP, role],
        env={"PYTHONPATH": str(INSIDE)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    is_as_before, draws_alike, free_before, free_after = json.loads(run.stdout)
    assert is_as_before
    assert draws_alike
    assert free_after < min(5 * POOL_BYTES, free_before / 3)  # four pools are the report's own


def test_closing_leaves_no_process():
    made = Grader(2, bubblewrap=False)
    groups = made.process_groups()
    assert len(groups) == 2
    made.close()
    for group in groups:
        with pytest.raises(ProcessLookupError):
            os.killpg(group, 0)


def test_a_caller_that_is_killed_leaves_no_process():
    code = (
        "from tutee_grader import Assignment, Grader\n"
        "from tutee_grader.assignment import Limits\n"
        "from tutee_grader.forms.calls import CallTest\n"
        "import threading\n"
        "g = Grader(1, bubblewrap=False)\n"
        "print(*g.process_groups(), flush=True)\n"
        "a = Assignment('a', '', 'calls', (CallTest('f()', 'f()', 1),), limits=Limits(60))\n"
        "g.grade([(a, 'while True: pass')])\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    group = int(caller.stdout.readline())
    caller.kill()
    caller.wait()
    caller.stdout.close()
    # The group ends by itself: wait for its last process through a descriptor of the zygote, which leads
    # the group.
    try:
        zygote = os.pidfd_open(group)
    except ProcessLookupError:
        return
    assert select.select([zygote], [], [], 20)[0], "the zygote outlived its caller by 20 s"
    os.close(zygote)


def test_many_programs_leave_memory_processes_and_descriptors_flat(grader, calls):
    assignment = calls(("f(1)", "1"))

    def round_of(number: int) -> None:
        programs = [f"def f(n):\n    return [n, '{number} {index}' * 1000]\n" for index in range(250)]
        grader.grade([(assignment, program) for program in programs])

    def state() -> tuple[int, int, int]:
        groups = grader.process_groups()
        zygotes = sum(_resident_pages(pid) for pid in groups)
        return len(list(Path("/proc/self/fd").iterdir())), len(groups), zygotes

    round_of(0)
    before = state()
    for number in range(1, 4):
        round_of(number)
    after = state()
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 64, "pages of 4 KiB, over 750 programs"


def _resident_pages(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


@pytest.mark.skipif(
    shutil.which("unshare") is None, reason="unshare is not installed: apt-get install util-linux"
)
def test_an_ordinary_user_is_protected_as_well():
    code = (
        "import os\n"
        "from tutee_grader import Assignment, Grader, feedback\n"
        "from tutee_grader.forms.calls import CallTest\n"
        "assert os.getuid() == 1234\n"
        "with Grader(1, bubblewrap=False) as g:\n"
        "    a = Assignment('a', '', 'calls', (CallTest('f()', 'f()', 1),))\n"
        "    programs = ['def f(): return 1', 'def f(): return open(\"/etc/passwd\").read()']\n"
        "    good, bad = g.grade([(a, program) for program in programs])\n"
        "    print(good.grade, feedback(bad))\n"
    )
    command = ["unshare", "--user", "--map-user=1234", "--map-group=1234", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "unshare" in done.stderr:
        pytest.skip(f"user namespaces are forbidden here (sysctl): {done.stderr.strip()}")
    assert done.stdout.startswith("100.0 "), done.stderr
    assert "Permission denied: '/etc/passwd'" in done.stdout


def test_the_time_a_program_waits_for_a_core_is_not_its_own(calls):
    # Many more busy programs than cores, each needing about half its limit: none may time out.
    assignment = calls(("f()", "1"), limits="{seconds: 0.6}")
    program = "import time\ndef f():\n    while time.process_time() < 0.3: pass\n    return 1\n"
    workers = 4 * len(os.sched_getaffinity(0))
    with Grader(workers, bubblewrap=False) as crowded:
        verdicts = crowded.grade([(assignment, f"{program}# {index}") for index in range(workers)])
    assert [feedback(verdict) for verdict in verdicts] == ["The only test passed."] * workers
