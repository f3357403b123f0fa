"""How fast the grader is, compared with the usual way and with a lower bound, on the same programs."""

import ast
import contextlib
import json
import marshal
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.fresh_python import PLAIN, QUICKEST, as_instructors, grade_in_fresh_pythons
from tutee_grader.assignment import Assignment
from tutee_grader.errors import InputError
from tutee_grader.forms.stdio import ScriptTest
from tutee_grader.grader import Grader
from tutee_grader.processes import usable_cores
from tutee_grader.sandbox.worker import ENVIRONMENT, INSIDE
from tutee_grader.verdict import Outcome

Program = tuple[Assignment, str]
FORK = Path(__file__).with_name("fork.py")
WAYS = {
    "grader": "this grader, fully isolated",
    "usual": "the usual way, a fresh python for each",
    "quickest": "a fresh python by its quickest start",
    "lower_bound": "the lower bound, a bare fork, no tests",
}
EVERY = 25  # one program of so many is made to loop for ever
_ENDLESS = ast.parse("while True: pass").body[0]
LIMITS = (Outcome.TIMEOUT, Outcome.OUT_OF_MEMORY, Outcome.OUTPUT_LIMIT)


def bench_grader(
    programs: Sequence[Program], workers: int | None = None, sample: int = 300, rounds: int = 3
) -> dict[str, Any]:
    """Grade `sample` of the programs in four ways, `rounds` times each in turn; print and return
    the comparison.

    The ways: this grader with full isolation; the usual way, a fresh `python check.py` for every program (one
    thread per core, tests and program in one interpreter, no isolation); the same by Python's quickest start,
    `python -S -s -E check.py`; the lower bound, a bare fork that only executes the program. Figures are
    medians over the rounds. Programs that go over a limit (of time, memory or output) are counted and timed
    apart. Then 4% of the programs are made to loop for ever, and the batch is graded once by this grader and
    in the usual way. All of it is done twice: with the tests as they are, and with the same tests in an
    instructor's file (`instructors`).
    """
    workers = workers or usable_cores()
    distinct = list(dict.fromkeys(programs))
    if not distinct:
        raise InputError("no program to grade")
    chosen = random.Random(0).sample(distinct, min(sample, len(distinct)))
    print(
        f"A fresh python is {Path(sys.executable).name} {platform.python_version()} of this environment, as "
        f"`python check.py`; its quickest start is `python {' '.join(QUICKEST)} check.py`, without `site`, "
        "so without any installed package: for scripts that need none, as these do."
    )
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
    over_limits = [any(t.outcome in LIMITS for t in verdict.tests) for verdict in verdicts]
    quick = [program for program, is_over in zip(chosen, over_limits, strict=True) if not is_over]
    graded_100 = [v.grade == 100 for v, is_over in zip(verdicts, over_limits, strict=True) if not is_over]
    passed: list[bool] = []
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with Grader(workers) as grader:
        for _ in tqdm(range(rounds), desc="bench", disable=None):
            times["grader"].append(_ours(grader, quick))
            times["lower_bound"].append(_lower_bound(quick, workers))
            for way, options in (("quickest", QUICKEST), ("usual", PLAIN)):
                began, cpu = time.perf_counter(), _cpu_s()
                passed = grade_in_fresh_pythons(quick, workers, options)
                times[way].append((time.perf_counter() - began, _cpu_s() - cpu))
        endless = _with_endless(grader, quick, workers)
    result: dict[str, Any] = {
        "programs": len(quick),
        "tests": sum(len(assignment.tests) for assignment, _ in quick),
        "workers": workers,
        "over_limits": sum(over_limits),
        "first_pass_s": round(all_s, 2),
        "same_verdict": statistics.mean(a == b for a, b in zip(graded_100, passed, strict=True)),
    }
    for way, rows in times.items():
        result[f"{way}_per_s"] = round(statistics.median(len(quick) / wall_s for wall_s, _ in rows), 1)
        result[f"{way}_cpu_ms"] = round(statistics.median(1000 * cpu_s / len(quick) for _, cpu_s in rows), 2)
    ours = times["grader"]
    result["ratio"] = round(_median_ratio(times["usual"], ours, 0), 2)
    result["cpu_ratio"] = round(_median_ratio(times["usual"], ours, 1), 2)
    result["ratio_quickest"] = round(_median_ratio(times["quickest"], ours, 0), 2)
    result["cpu_ratio_quickest"] = round(_median_ratio(times["quickest"], ours, 1), 2)
    result["share_of_lower_bound"] = round(_median_ratio(times["lower_bound"], ours, 0), 3)
    result["cpu_share_of_lower_bound"] = round(_median_ratio(times["lower_bound"], ours, 1), 3)
    return result | endless


def _with_endless(grader: Grader, programs: Sequence[Program], workers: int) -> dict[str, Any]:
    """The time of a batch of which every 25th program loops for ever, by this grader and in the usual way."""
    batch = [
        (assignment, looping(source, number) if number % EVERY == 0 else source)
        for number, (assignment, source) in enumerate(programs)
    ]
    began = time.perf_counter()
    grader.grade(batch)
    ours_s = time.perf_counter() - began
    began = time.perf_counter()
    grade_in_fresh_pythons(batch, workers)
    usual_s = time.perf_counter() - began
    endless = len(range(0, len(batch), EVERY))
    return {
        "endless": endless,
        "endless_grader_s": round(ours_s, 2),
        "endless_usual_s": round(usual_s, 2),
        # All the time of the workers: a program's own leaves out its waits for a core, which others cause.
        "endless_each_s": round(ours_s * workers / endless, 2),
        "endless_ratio": round(usual_s / ours_s, 2),
    }


def looping(source: str, number: int) -> str:
    """The program with an endless loop at the start of each of its functions, or of itself if it has none."""
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError):
        module = ast.Module([], [])
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        function.body.insert(0, _ENDLESS)
    if not functions:
        module.body.insert(0, _ENDLESS)
    # The number keeps programs apart: this grader grades equal ones once.
    return f"{ast.unparse(module)}\n# {number}\n"


def _median_ratio(ones: list[tuple[float, float]], others: list[tuple[float, float]], part: int) -> float:
    return statistics.median(one[part] / other[part] for one, other in zip(ones, others, strict=True))


def _report(result: dict[str, Any]) -> str:
    over = (
        f"{result['over_limits']} that go over a limit are left apart; with them a pass took "
        f"{result['first_pass_s']} s"
    )
    rows = [
        f"  {words:<40}{result[f'{way}_per_s']:>8,.1f} programs/s"
        f"{result[f'{way}_cpu_ms']:>8,.2f} ms of CPU each"
        for way, words in WAYS.items()
    ]
    by_cpu = (
        f"{result['cpu_ratio']:.1f} times, {result['cpu_ratio_quickest']:.1f} times and "
        f"{100 * result['cpu_share_of_lower_bound']:.0f}%"
    )
    return "\n".join(
        [
            f"{result['programs']} programs, {result['tests']} tests, {result['workers']} workers ({over})",
            *rows,
            f"  {result['ratio']:.1f} times a fresh python, "
            f"{result['ratio_quickest']:.1f} times its quickest start, "
            f"{100 * result['share_of_lower_bound']:.0f}% of the lower bound",
            f"  (by CPU time, less disturbed by other work: {by_cpu})",
            f"  a fresh python says pass or fail alike for {100 * result['same_verdict']:.1f}%",
            f"  with {result['endless']} of them looping for ever "
            f"(at most {result['endless_each_s']} s each): "
            f"{result['endless_grader_s']} s, a fresh python {result['endless_usual_s']} s, "
            f"{result['endless_ratio']:.1f} times",
        ]
    )


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
