"""How fast the grader is, beside the usual way and beside the floor, on the same programs in the same run."""

import ast
import marshal
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tutee_grader.assignment import Assignment, CallTest, ClauseTest, ScriptTest
from tutee_grader.errors import GraderInputError
from tutee_grader.grader import Grader
from tutee_grader.verdict import Outcome
from tutee_grader.worker import INSIDE

Program = tuple[Assignment, str]


def bench_grader(
    programs: Sequence[Program], workers: int | None = None, sample: int = 300, rounds: int = 3
) -> dict[str, Any]:
    """Grade `sample` of the programs in three ways, `rounds` times each in turn; print and return the
    comparison.

    The ways: this grader with full isolation; the usual way, a fresh Python process for every program (one
    thread per core, tests and program in one interpreter, no isolation); the floor, a bare fork that only
    executes the program. Figures are medians over the rounds. Programs that time out are counted and timed
    apart.
    """
    workers = workers or len(os.sched_getaffinity(0))
    distinct = list(dict.fromkeys(programs))
    if not distinct:
        raise GraderInputError("no program to grade")
    chosen = random.Random(0).sample(distinct, min(sample, len(distinct)))
    with Grader(workers) as grader:
        began = time.perf_counter()
        verdicts = grader.grade(chosen)
        all_s = time.perf_counter() - began
        slow = [any(t.outcome == Outcome.TIMEOUT for t in verdict.tests) for verdict in verdicts]
        quick = [program for program, is_slow in zip(chosen, slow, strict=True) if not is_slow]
        ours, usual, floor = [], [], []
        for _ in range(rounds):
            ours.append(len(quick) / _timed(lambda: grader.grade(quick)))
            floor.append(len(quick) / _floor(quick, workers))
            usual.append(len(quick) / _timed(lambda: _usual(quick, workers)))
        agree = _agreement(grader, quick, workers)
    result = {
        "bench": "grader",
        "programs": len(quick),
        "tests": sum(len(assignment.tests) for assignment, _ in quick),
        "workers": workers,
        "grader_per_s": round(statistics.median(ours), 1),
        "usual_per_s": round(statistics.median(usual), 1),
        "floor_per_s": round(statistics.median(floor), 1),
        "ratio": round(statistics.median(a / b for a, b in zip(ours, usual, strict=True)), 2),
        "share_of_floor": round(statistics.median(a / b for a, b in zip(ours, floor, strict=True)), 3),
        "timeouts": sum(slow),
        "first_pass_s": round(all_s, 2),
        "same_verdict": agree,
    }
    print(_shown(result))
    return result


def _shown(result: dict[str, Any]) -> str:
    apart = (
        f"{result['timeouts']} that time out are left apart; with them a pass took {result['first_pass_s']} s"
    )
    share = f"{result['ratio']:.1f} times the usual way, {100 * result['share_of_floor']:.0f}% of the floor"
    alike = f"the usual way says pass or fail alike for {100 * result['same_verdict']:.1f}%"
    return "\n".join(
        [
            f"{result['programs']} programs, {result['tests']} tests, {result['workers']} workers ({apart})",
            f"  this grader, fully isolated             {result['grader_per_s']:>9,.1f} programs/s",
            f"  the usual way, a fresh python for each  {result['usual_per_s']:>9,.1f} programs/s",
            f"  the floor, a bare fork, no tests        {result['floor_per_s']:>9,.1f} programs/s",
            f"  {share}; {alike}",
        ]
    )


def _timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _floor(programs: Sequence[Program], workers: int) -> float:
    """Seconds that the slowest of the workers took for its share."""
    python = os.path.realpath(sys.executable)
    command = [python, "-s", "-S", "-P", "-W", "ignore", str(INSIDE / "floor.py")]
    processes = []
    for first in range(workers):
        share = [
            (
                assignment.form,
                source,
                [test.stdin for test in assignment.tests if isinstance(test, ScriptTest)],
            )
            for assignment, source in programs[first::workers]
        ]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": str(INSIDE)}
        )
        processes.append((process, marshal.dumps(share)))
    with ThreadPoolExecutor(workers) as threads:
        outputs = threads.map(lambda pair: pair[0].communicate(pair[1])[0], processes)
        return max(float(output) for output in outputs)


def _usual(programs: Sequence[Program], workers: int) -> list[bool]:
    """Whether each program passes, by a fresh Python process each, as many at a time as there are workers."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as threads:
        return list(
            threads.map(lambda item: _usual_one(Path(folder) / str(item[0]), *item[1]), enumerate(programs))
        )


def _usual_one(folder: Path, assignment: Assignment, source: str) -> bool:
    folder.mkdir()
    (folder / "program.py").write_text(source, encoding="utf-8")
    for name in _student_modules(assignment.test_source or ""):
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    (folder / "check.py").write_text(_usual_test(assignment), encoding="utf-8")
    seconds = 2 * assignment.limits.seconds + 5
    command = [sys.executable, "check.py"]
    done = subprocess.run(command, cwd=folder, timeout=seconds, capture_output=True, check=False)
    return done.returncode == 0


def _student_modules(test_source: str) -> set[str]:
    """The names by which an instructor's file imports the student's program."""
    names = set()
    for node in ast.walk(ast.parse(test_source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"pytest", "cs110"}


def _usual_test(assignment: Assignment) -> str:
    """The test script that an instructor would write, to be run beside the student's program."""
    if assignment.form == "unittest":
        return _RUN_TESTS.replace("SOURCE", repr(assignment.test_source)).replace("INSIDE", repr(str(INSIDE)))
    if assignment.form == "falcon":
        text = _RUN_FALCON.replace("SOURCE", repr(assignment.test_source)).replace(
            "INSIDE", repr(str(INSIDE))
        )
        return text.replace("MAX_SCORE", repr(assignment.max_score))
    lines = []
    for test in assignment.tests:
        if isinstance(test, CallTest):
            *statements, call = ast.parse(test.call).body
            lines += [ast.unparse(statement) for statement in statements]
            lines.append(f"got, want = {ast.unparse(call)}, {test.returns!r}")
            near = f" or abs(got - want) <= {test.tolerance}" if test.tolerance is not None else ""
            lines.append(f"assert got == want{near}")
        elif isinstance(test, ClauseTest):
            lines.append(f"assert {test.name}")
        elif isinstance(test, ScriptTest):
            lines.append(f"run({test.stdin!r}, {test.stdout!r})")
    head = (
        _RUN_SCRIPT
        if assignment.form == "stdio"
        else "from program import *\nnan, inf = float('nan'), float('inf')\n"
    )
    return head + "\n".join(lines)


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


def _agreement(grader: Grader, programs: Sequence[Program], workers: int) -> float:
    """The share of the programs for which the usual way says the same: pass or not."""
    ours = [verdict.grade == 100 for verdict in grader.grade(programs)]
    return statistics.mean(a == b for a, b in zip(ours, _usual(programs, workers), strict=True))
