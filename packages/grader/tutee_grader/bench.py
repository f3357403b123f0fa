"""How fast the grader is, beside the usual way and beside the floor, on the same programs in the same run."""

import ast
import contextlib
import json
import marshal
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tutee_grader.assignment import Assignment, CallTest, FileTest, ScriptTest, Test
from tutee_grader.errors import InputError
from tutee_grader.grader import Grader
from tutee_grader.instructors import student_modules
from tutee_grader.verdict import Outcome
from tutee_grader.worker import ENVIRONMENT, INSIDE

Program = tuple[Assignment, str]
LIMITS = (Outcome.TIMEOUT, Outcome.OUT_OF_MEMORY, Outcome.OUTPUT_LIMIT)


def bench_grader(
    programs: Sequence[Program], workers: int | None = None, sample: int = 300, rounds: int = 3
) -> dict[str, Any]:
    """Grade `sample` of the programs in three ways, `rounds` times each in turn; print and return the
    comparison.

    The ways: this grader with full isolation; the usual way, a fresh Python process for every program (one
    thread per core, tests and program in one interpreter, no isolation); the floor, a bare fork that only
    executes the program. Figures are medians over the rounds. Programs that go over a limit (of time, memory
    or output), for which the other ways have no end, are counted and timed apart. All of it is done twice:
    with the tests as they are, and with the same tests in a file of the instructor's (`instructors`).
    """
    workers = workers or len(os.sched_getaffinity(0))
    distinct = list(dict.fromkeys(programs))
    if not distinct:
        raise InputError("no program to grade")
    chosen = random.Random(0).sample(distinct, min(sample, len(distinct)))
    result = _compare(chosen, workers, rounds)
    print(_shown(result))
    told = {assignment: as_instructors(assignment) for assignment, _ in chosen}
    result["instructors"] = _compare(
        [(told[assignment], source) for assignment, source in chosen], workers, rounds
    )
    print("the same tests, in a file of the instructor's (unittest, or falcon for whole scripts):")
    print(_shown(result["instructors"]))
    result = {"bench": "grader", **result}
    print(json.dumps(result))
    return result


def as_instructors(assignment: Assignment) -> Assignment:
    """The same tests as an instructor would write them in a file: unittest, or falcon for whole scripts."""
    if assignment.test_source is not None:
        return assignment
    if assignment.form == "stdio":
        cases = [(test.stdin, test.stdout) for test in assignment.tests if isinstance(test, ScriptTest)]
        source = _FALCON_FILE.replace("CASES", repr(cases))
        return replace(assignment, form="falcon", tests=(FileTest("test_passed"),), test_source=source)
    lines = ["import unittest", "from program import *", "nan, inf = float('nan'), float('inf')"]
    lines += ["class Test(unittest.TestCase):"]
    for number, test in enumerate(assignment.tests):
        body = _python_of(test)
        lines += [f"    def test_{number:03}(self):", *(f"        {line}" for line in body)]
    tests = tuple(FileTest(f"Test.test_{number:03}") for number in range(len(assignment.tests)))
    return replace(assignment, form="unittest", tests=tests, test_source="\n".join(lines) + "\n")


def _compare(chosen: Sequence[Program], workers: int, rounds: int) -> dict[str, Any]:
    with Grader(workers) as grader:
        began = time.perf_counter()
        verdicts = grader.grade(chosen)
        all_s = time.perf_counter() - began
    endless = [any(t.outcome in LIMITS for t in verdict.tests) for verdict in verdicts]
    quick = [program for program, is_endless in zip(chosen, endless, strict=True) if not is_endless]
    graded_100 = [v.grade == 100 for v, is_endless in zip(verdicts, endless, strict=True) if not is_endless]
    passed_usually: list[bool] = []
    ours, usual, floor = [], [], []
    with Grader(workers) as grader:
        for _ in tqdm(range(rounds), desc="bench", disable=None):
            ours.append(_ours(grader, quick))
            floor.append(_floor(quick, workers))
            usual.append(_measured(lambda: passed_usually.__setitem__(slice(None), _usual(quick, workers))))
    result: dict[str, Any] = {
        "programs": len(quick),
        "tests": sum(len(assignment.tests) for assignment, _ in quick),
        "workers": workers,
        "over_limits": sum(endless),
        "first_pass_s": round(all_s, 2),
        "same_verdict": statistics.mean(a == b for a, b in zip(graded_100, passed_usually, strict=True)),
    }
    for name, rows in (("grader", ours), ("usual", usual), ("floor", floor)):
        result[f"{name}_per_s"] = round(statistics.median(len(quick) / wall_s for wall_s, _ in rows), 1)
        result[f"{name}_cpu_ms"] = round(statistics.median(1000 * cpu_s / len(quick) for _, cpu_s in rows), 2)
    result["ratio"] = round(_median_ratio(usual, ours, 0), 2)
    result["cpu_ratio"] = round(_median_ratio(usual, ours, 1), 2)
    result["share_of_floor"] = round(_median_ratio(floor, ours, 0), 3)
    result["cpu_share_of_floor"] = round(_median_ratio(floor, ours, 1), 3)
    return result


def _median_ratio(ones: list[tuple[float, float]], others: list[tuple[float, float]], part: int) -> float:
    return statistics.median(one[part] / other[part] for one, other in zip(ones, others, strict=True))


def _shown(result: dict[str, Any]) -> str:
    apart = (
        f"{result['over_limits']} that go over a limit are left apart; with them a pass took "
        f"{result['first_pass_s']} s"
    )
    share = f"{result['ratio']:.1f} times the usual way, {100 * result['share_of_floor']:.0f}% of the floor"
    cpu = f"{result['cpu_ratio']:.1f} times and {100 * result['cpu_share_of_floor']:.0f}%"
    ways = {
        "grader": "this grader, fully isolated",
        "usual": "the usual way, a fresh python for each",
        "floor": "the floor, a bare fork, no tests",
    }
    return "\n".join(
        [
            f"{result['programs']} programs, {result['tests']} tests, {result['workers']} workers ({apart})",
            *(
                f"  {words:<40}{result[f'{way}_per_s']:>8,.1f} programs/s"
                f"{result[f'{way}_cpu_ms']:>8,.2f} ms of CPU each"
                for way, words in ways.items()
            ),
            f"  {share} (by CPU time, less disturbed by other work: {cpu})",
            f"  the usual way says pass or fail alike for {100 * result['same_verdict']:.1f}%",
        ]
    )


def _measured(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of the work and of the processes that it started and saw end."""
    began, cpu = time.perf_counter(), _cpu_s()
    work()
    return time.perf_counter() - began, _cpu_s() - cpu


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _ours(grader: Grader, programs: Sequence[Program]) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of this process, the workers and all their children."""
    grader.grade(programs[:1])
    began, cpu = time.perf_counter(), _cpu_s() + _workers_cpu_s(grader)
    grader.grade(programs)
    return time.perf_counter() - began, _cpu_s() + _workers_cpu_s(grader) - cpu


def _workers_cpu_s(grader: Grader) -> float:
    groups = set(grader.process_groups())
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if os.getpgid(int(process.name)) in groups:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(
                    map(int, fields[11:15])
                )  # its own and its children's, in user and in system mode
    return ticks / os.sysconf("SC_CLK_TCK")


def _floor(programs: Sequence[Program], workers: int) -> tuple[float, float]:
    """Each of `workers` processes executes a share: wall seconds of the slowest, CPU seconds of all."""
    python = os.path.realpath(sys.executable)
    command = [python, "-s", "-S", "-P", "-W", "ignore", str(INSIDE / "floor.py")]
    pipe = subprocess.PIPE
    processes, shares = [], []
    for first in range(workers):
        shares.append(
            marshal.dumps(
                [
                    (
                        assignment.form,
                        source,
                        [t.stdin for t in assignment.tests if isinstance(t, ScriptTest)],
                    )
                    for assignment, source in programs[first::workers]
                ]
            )
        )
        environment = ENVIRONMENT | {"PYTHONPATH": str(INSIDE)}
        processes.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment))
    with ThreadPoolExecutor(workers) as threads:
        outputs = threads.map(lambda process, share: process.communicate(share)[0], processes, shares)
        times = [tuple(map(float, output.split())) for output in outputs]
    return max(wall_s for wall_s, _ in times), sum(cpu_s for _, cpu_s in times)


def _usual(programs: Sequence[Program], workers: int) -> list[bool]:
    """Whether each program passes, by a fresh Python process each, as many at a time as there are workers."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as threads:
        return list(
            threads.map(lambda item: _usual_one(Path(folder) / str(item[0]), *item[1]), enumerate(programs))
        )


def _usual_one(folder: Path, assignment: Assignment, source: str) -> bool:
    folder.mkdir()
    (folder / "program.py").write_text(source, encoding="utf-8")
    for name in student_modules(assignment.test_source or ""):
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    (folder / "check.py").write_text(_usual_test(assignment), encoding="utf-8")
    seconds = 2 * assignment.limits.seconds + 5
    command = [sys.executable, "check.py"]
    done = subprocess.run(command, cwd=folder, timeout=seconds, capture_output=True, check=False)
    return done.returncode == 0


def _usual_test(assignment: Assignment) -> str:
    """The test script that an instructor would write, to be run beside the student's program."""
    if assignment.form == "unittest":
        return _RUN_TESTS.replace("SOURCE", repr(assignment.test_source)).replace("INSIDE", repr(str(INSIDE)))
    if assignment.form == "falcon":
        text = _RUN_FALCON.replace("SOURCE", repr(assignment.test_source)).replace(
            "INSIDE", repr(str(INSIDE))
        )
        return text.replace("MAX_SCORE", repr(assignment.max_score))
    lines: list[str] = []
    for test in assignment.tests:
        lines += _python_of(test)
    head = (
        _RUN_SCRIPT
        if assignment.form == "stdio"
        else "from program import *\nnan, inf = float('nan'), float('inf')\n"
    )
    return head + "\n".join(lines)


def _python_of(test: Test) -> list[str]:
    """The lines that check one test, beside the student's program."""
    if isinstance(test, CallTest):
        *statements, call = ast.parse(test.call).body
        near = f" or abs(got - want) <= {test.tolerance}" if test.tolerance is not None else ""
        return [
            *(ast.unparse(statement) for statement in statements),
            f"got, want = {ast.unparse(call)}, {test.returns!r}",
            f"assert got == want{near}",
        ]
    if isinstance(test, ScriptTest):
        return [f"run({test.stdin!r}, {test.stdout!r})"]
    return [f"assert {test.name}"]


_FALCON_FILE = """
from cs110 import autograder
def test_passed():
    for stdin, stdout in CASES:
        lines = stdin.splitlines()
        out, error = autograder.run_script('program.py', lines)
        want = [line.rstrip() for line in stdout.rstrip().split('\\n')]
        if error or [line.rstrip() for line in out.rstrip().split('\\n')] != want:
            return 0
    return 100
"""
_RUN_SCRIPT = """
import contextlib, io, sys
def run(stdin, stdout):
    sys.stdin, out = io.StringIO(stdin), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        exec(open('program.py').read(), {'__name__': '__main__'})
    assert [line.rstrip() for line in out.getvalue().rstrip().split('\\n')] == \\
        [line.rstrip() for line in stdout.rstrip().split('\\n')]
"""
_RUN_TESTS = """
import io, sys, unittest
sys.path.append(INSIDE)
import pytest_stub
sys.modules['pytest'] = pytest_stub.module()
names = {}
exec(SOURCE, names)
suite = unittest.TestSuite()
for value in list(names.values()):
    if isinstance(value, type) and issubclass(value, unittest.TestCase):
        suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(value))
good = unittest.TextTestRunner(io.StringIO()).run(suite).wasSuccessful()
for name, value in list(names.items()):
    if name.startswith('test') and callable(value):
        for case in getattr(value, 'cases', [{}]):
            value(**case)
sys.exit(not good)
"""
_RUN_FALCON = """
import builtins, sys
sys.path.append(INSIDE)
import instructor, student
builtins.input = student.silent_input
class Asker:
    def ask(self, question):
        import json
        kind, *rest = json.loads(question)
        code = compile(open('program.py').read(), 'program.py', 'exec')
        out, error = student.run_script(code, rest[0].encode(), 1 << 18) if kind == 'script' else (None, None)
        return out.getvalue().decode() if out else '', json.loads('[' + error + ']') if error else None
share, _ = instructor.run_falcon(compile(SOURCE, 'tests.py', 'exec'), ['test_passed'], MAX_SCORE, Asker())
sys.exit(share != 100.0)
"""
