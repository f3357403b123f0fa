"""How fast the grader is, compared with the usual way and with a lower bound, on the same programs."""

import contextlib
import json
import marshal
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.fresh_python import as_instructors, grade_in_fresh_pythons
from tutee_grader.assignment import Assignment
from tutee_grader.errors import InputError
from tutee_grader.forms.stdio import ScriptTest
from tutee_grader.grader import Grader
from tutee_grader.sandbox.worker import ENVIRONMENT, INSIDE
from tutee_grader.verdict import Outcome

Program = tuple[Assignment, str]
FORK = Path(__file__).with_name("fork.py")
LIMITS = (Outcome.TIMEOUT, Outcome.OUT_OF_MEMORY, Outcome.OUTPUT_LIMIT)


def bench_grader(
    programs: Sequence[Program], workers: int | None = None, sample: int = 300, rounds: int = 3
) -> dict[str, Any]:
    """Grade `sample` of the programs in three ways, `rounds` times each in turn; print and return the
    comparison.

    The ways: this grader with full isolation; the usual way, a fresh Python process for every program (one
    thread per core, tests and program in one interpreter, no isolation); the lower bound, a bare fork that
    only executes the program. Figures are medians over the rounds. Programs that go over a limit (of time,
    memory or output), which the other ways do not enforce, are counted and timed separately. All of it is
    done twice: with the tests as they are, and with the same tests in an instructor's file (`instructors`).
    """
    workers = workers or len(os.sched_getaffinity(0))
    distinct = list(dict.fromkeys(programs))
    if not distinct:
        raise InputError("no program to grade")
    chosen = random.Random(0).sample(distinct, min(sample, len(distinct)))
    result = _compare(chosen, workers, rounds)
    print(_report(result))
    rewritten = {assignment: as_instructors(assignment) for assignment, _ in chosen}
    result["instructors"] = _compare(
        [(rewritten[assignment], source) for assignment, source in chosen], workers, rounds
    )
    print("the same tests, in a file of the instructor's (unittest, or falcon for whole scripts):")
    print(_report(result["instructors"]))
    result = {"bench": "grader", **result}
    print(json.dumps(result))
    return result


def _compare(chosen: Sequence[Program], workers: int, rounds: int) -> dict[str, Any]:
    with Grader(workers) as grader:
        began = time.perf_counter()
        verdicts = grader.grade(chosen)
        all_s = time.perf_counter() - began
    endless = [any(t.outcome in LIMITS for t in verdict.tests) for verdict in verdicts]
    quick = [program for program, is_endless in zip(chosen, endless, strict=True) if not is_endless]
    graded_100 = [v.grade == 100 for v, is_endless in zip(verdicts, endless, strict=True) if not is_endless]
    passed: list[list[bool]] = []
    ours, usual, lower_bound = [], [], []
    with Grader(workers) as grader:
        for _ in tqdm(range(rounds), desc="bench", disable=None):
            ours.append(_ours(grader, quick))
            lower_bound.append(_lower_bound(quick, workers))
            usual.append(_measured(lambda: passed.append(grade_in_fresh_pythons(quick, workers))))
    result: dict[str, Any] = {
        "programs": len(quick),
        "tests": sum(len(assignment.tests) for assignment, _ in quick),
        "workers": workers,
        "over_limits": sum(endless),
        "first_pass_s": round(all_s, 2),
        "same_verdict": statistics.mean(a == b for a, b in zip(graded_100, passed[-1], strict=True)),
    }
    for name, rows in (("grader", ours), ("usual", usual), ("lower_bound", lower_bound)):
        result[f"{name}_per_s"] = round(statistics.median(len(quick) / wall_s for wall_s, _ in rows), 1)
        result[f"{name}_cpu_ms"] = round(statistics.median(1000 * cpu_s / len(quick) for _, cpu_s in rows), 2)
    result["ratio"] = round(_median_ratio(usual, ours, 0), 2)
    result["cpu_ratio"] = round(_median_ratio(usual, ours, 1), 2)
    result["share_of_lower_bound"] = round(_median_ratio(lower_bound, ours, 0), 3)
    result["cpu_share_of_lower_bound"] = round(_median_ratio(lower_bound, ours, 1), 3)
    return result


def _median_ratio(ones: list[tuple[float, float]], others: list[tuple[float, float]], part: int) -> float:
    return statistics.median(one[part] / other[part] for one, other in zip(ones, others, strict=True))


def _report(result: dict[str, Any]) -> str:
    apart = (
        f"{result['over_limits']} that go over a limit are left apart; with them a pass took "
        f"{result['first_pass_s']} s"
    )
    share = (
        f"{result['ratio']:.1f} times the usual way, "
        f"{100 * result['share_of_lower_bound']:.0f}% of the lower bound"
    )
    cpu = f"{result['cpu_ratio']:.1f} times and {100 * result['cpu_share_of_lower_bound']:.0f}%"
    ways = {
        "grader": "this grader, fully isolated",
        "usual": "the usual way, a fresh python for each",
        "lower_bound": "the lower bound, a bare fork, no tests",
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
                # Its own and its children's, in user and in system mode.
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _lower_bound(programs: Sequence[Program], workers: int) -> tuple[float, float]:
    """Each of `workers` processes executes a share: wall seconds of the slowest, CPU seconds of all."""
    python = os.path.realpath(sys.executable)
    command = [python, "-s", "-S", "-P", "-W", "ignore", str(FORK)]
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
