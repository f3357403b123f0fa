"""How fast the service is beside one `generate` per request, and what it does under too much load."""

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from http import HTTPStatus
from math import inf
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from benchmarks.load import Answer, Load, LoadProcess, Summary, summarize
from benchmarks.servers import Server, start_service, start_unbatched
from serving.capacity import MAX_TURNS
from serving.catalog import FILE, Catalog, Version
from serving.catalog import Course as ServedCourse
from serving.students import champion_name, version_name
from tutee_grader.errors import InputError, TuteeError
from tutee_grader.files import folder_hash
from tutee_grader.processes import usable_cores
from tutee_serializer.card import FILE as CARD
from tutee_serializer.card import StudentCard
from tutee_serializer.course import Course
from tutee_serializer.dialogs.dialog import Dialog

CLIENTS = (1, 8, 32)
ROUNDS = 2  # of both sides at each number of clients, in turn: a clock that slows down hits both
WARM_UP_S, ROUND_S = 3.0, 5.0
TRIAL_CLIENTS = 4
TRIAL_S = 3.0
SHORT = 8  # tokens of a turn at most, where many requests are sent
OVERLOAD_S = 10.0
RECOVERY_S = 10.0
IN_A_ROW = 5  # answers whose median tells that times are normal again
SWAP_CLIENTS = 8
SWAP_S = 60.0  # at most until a new champion answers
AROUND_SWAP_S = 3.0  # of load before and after each

Bodies = Sequence[dict[str, Any]]


def bench_serve(
    course: Course, students: Sequence[Path], dialogs: pl.DataFrame, requests: int
) -> dict[str, Any]:
    """The service under load, which continues held-out students' dialogs (DIALOGS) of a course.

    Prints and returns the result: rates and times beside `generate`, with the same model and requests;
    `requests` more below the limit of the service's queue; four times as many clients as that takes; and
    champions that change under load. `students` has the folders of the champion and of the one that takes
    its place for a while. Raises InputError where a student or such dialogs are missing.
    """
    missing = [
        f"{folder}: there is no student; `tutee train {folder.name} {course.name}` makes it"
        for folder in students
        if not (folder / CARD).exists()
    ]
    if missing:
        raise InputError("\n".join(missing))
    card = StudentCard.load(students[0])
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {line}", flush=True)

    with TemporaryDirectory(prefix="tutee-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        swap = _catalog(folder / FILE, course, students)
        service = start_service(folder / FILE, folder)
        stack.callback(service.stop)
        others = {threads: start_unbatched(students[0], threads, folder) for threads in {1, usable_cores()}}
        for other in others.values():
            stack.callback(other.stop)
        bodies = [
            {"model": champion_name(course.name), "messages": dialog.messages, "temperature": 1.0}
            for dialog in conversations(dialogs, students[0])
        ]
        service.wait_until_ready()
        other, trial = _fastest(others, bodies)
        say(f"`generate` with {trial} requests/s; the faster is the other side")
        say(f"{len(bodies):,} conversations of held-out students, the same for both sides, at temperature 1")
        table = _compare(service, other, bodies, say)
        other.stop()
        steady = _steady(service, bodies, requests, say)
        overload = _overload(service, bodies, table["service", CLIENTS[0]], say)
        swaps = _swaps(service, bodies, swap, course.name, say)
    ours, theirs = table["service", CLIENTS[-1]], table["generate", CLIENTS[-1]]
    # The turns are drawn otherwise, some longer, so tokens tell more than requests.
    ratio = ours.tokens_per_second / theirs.tokens_per_second
    by_requests = ours.requests_per_second / theirs.requests_per_second
    say(
        f"with {CLIENTS[-1]} clients {ratio:.2f} times the tokens per second of `generate`, and "
        f"{by_requests:.2f} times the requests"
    )
    result = {
        "bench": "serve",
        "preset": card.preset,
        "conversations": len(bodies),
        "table": [
            {"side": side, "clients": clients, **asdict(summary)}
            for (side, clients), summary in table.items()
        ],
        "steady": steady,
        "overload": overload,
        "swaps": swaps,
        "ratio_of_requests": round(by_requests, 2),
        "ratio": round(ratio, 2),
    }
    print(json.dumps(result))
    return result


def conversations(dialogs: pl.DataFrame, folder: Path) -> list[Dialog]:
    """What was said before each submission of the held-out students, in random order.

    As the student in `folder` reads it, without what is too long for it.
    """
    from tutee_evaluator.engines.transformers import Student

    student = Student.load(folder, device="cpu")
    held_out = dialogs.filter(
        pl.col("split") != "train",
        pl.col("format") == student.format,
        pl.col("feedback") == student.feedback,
    )
    found = []
    for row in held_out.unique("dialog_id").sort("dialog_id").iter_rows(named=True):
        whole = Dialog.from_row(row)
        befores = [whole.before(number) for number in range(1, len(whole.grades) + 1)]
        found += [dialog for dialog in befores if not student.too_long(student.prompt(dialog))]
    if not found:
        raise InputError(
            f"no dialog of a held-out student has the format {student.format!r} and the feedback "
            f"{student.feedback!r}, which the student in {folder} was trained on; run `tutee serialize` "
            "with the preset it was trained with"
        )
    random.Random(0).shuffle(found)
    return found


def _catalog(file: Path, course: Course, students: Sequence[Path]) -> Callable[[int], None]:
    """Writes the service's catalog, in which the first student is champion.

    What is returned writes it again with another champion, 1 or 2.
    """
    folders = [folder.resolve() for folder in students]
    assignments, _ = course.load_assignments()
    versions = {
        number: Version(method=StudentCard.load(folder).method, folder=folder)
        for number, folder in enumerate(folders, 1)
    }
    hashes = {folder: folder_hash(folder) for folder in folders}

    def write(champion: int) -> None:
        served = ServedCourse(
            synthetic=course.synthetic,
            assignments=course.assignments_folder.resolve(),
            names=tuple(assignments),
            tests=course.assignments.tests,
            champion=champion,
            versions=versions,
        )
        Catalog(courses={course.name: served}, hashes=hashes).save(file)

    write(1)
    return write


def _fastest(servers: Mapping[int, Server], bodies: Bodies) -> tuple[Server, str]:
    """Of servers with so many threads each the one that answers most; and what was found, in words."""
    for server in servers.values():
        server.wait_until_ready()
        LoadProcess(Load(server.chat, bodies, 1, requests=2)).answers()  # the first ones are slow
    runs: dict[int, list[list[Answer]]] = {threads: [] for threads in servers}
    for _ in range(ROUNDS):
        for threads, server in servers.items():
            load = Load(server.chat, bodies, TRIAL_CLIENTS, seconds=TRIAL_S)
            runs[threads].append(LoadProcess(load).answers())
    rates = {threads: summarize(run, 0.0, TRIAL_S).requests_per_second for threads, run in runs.items()}
    best = max(rates, key=lambda threads: rates[threads])
    for threads, server in servers.items():
        if threads != best:
            server.stop()
    said = " and ".join(f"{threads} thread(s): {rate:.1f}" for threads, rate in rates.items())
    return servers[best], said


def _compare(
    service: Server, other: Server, bodies: Bodies, say: Callable[[str], None]
) -> dict[tuple[str, int], Summary]:
    """Requests to both sides, from 1, 8 and 32 clients."""
    sides = {"service": service, "generate": other}
    table, first = {}, 0
    say("            clients  requests/s  tokens/s   p50 ms   p95 ms   p99 ms  errors  of requests")
    for clients in CLIENTS:
        runs: dict[str, list[list[Answer]]] = {side: [] for side in sides}
        for _ in range(ROUNDS):
            for side, server in sides.items():
                load = Load(server.chat, bodies, clients, seconds=WARM_UP_S + ROUND_S, first=first)
                runs[side].append(LoadProcess(load).answers())
            # Both begin with the same requests; the next ones have not been read by the service before.
            first += max(len(run[-1]) for run in runs.values())
        for side in sides:
            summary = table[side, clients] = summarize(runs[side], WARM_UP_S, ROUND_S)
            say(f"{side:<10} {_row(clients, summary)}")
    return table


def _row(clients: int, found: Summary) -> str:
    times = " ".join(
        f"{'-' if ms is None else f'{ms:,.0f}':>8}" for ms in (found.p50_ms, found.p95_ms, found.p99_ms)
    )
    return (
        f"{clients:>8} {found.requests_per_second:>11.1f} {found.tokens_per_second:>9,.0f} "
        f"{times} {found.errors:>7} "
        f"{found.requests:>12,}"
    )


def _steady(service: Server, bodies: Bodies, requests: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Many requests below the limit of the queue, of short turns: what counts is that each is answered."""
    before = service.memory()
    short = [{**body, "max_tokens": SHORT} for body in bodies]
    answers = LoadProcess(Load(service.chat, short, CLIENTS[-1], requests)).answers()
    memory = [round(size / 1e6) for size in (before, service.memory())]
    found = summarize([answers])
    say(f"{'service':<10} {_row(CLIENTS[-1], found)}")
    say(
        f"{found.errors} errors in these {found.requests:,} requests below the queue's limit, each a turn "
        f"of {SHORT} tokens at most; memory {memory[0]:,} MB before, {memory[1]:,} after"
    )
    return _with_problems({**asdict(found), "memory_mb": memory}, answers)


def _overload(service: Server, bodies: Bodies, usual: Summary, say: Callable[[str], None]) -> dict[str, Any]:
    """Four times as many clients as the queue takes; then one client alone."""
    before = peak = service.memory()
    load = LoadProcess(Load(service.chat, bodies, 4 * MAX_TURNS, seconds=OVERLOAD_S))
    while not load.ends_within(0.2):
        peak = max(peak, service.memory())
    answers = load.answers()
    ended = time.monotonic()
    alone = LoadProcess(Load(service.chat, bodies, 1, seconds=RECOVERY_S)).answers()
    after = service.memory()
    normal_s = seconds_until_normal(alone, (usual.p95_ms or 0.0) / 1000, ended)
    turned_away = [answer for answer in answers if answer.status == HTTPStatus.TOO_MANY_REQUESTS]
    answered = sum(answer.status == HTTPStatus.OK for answer in answers)
    others = len(answers) - answered - len(turned_away)
    untold = sum(not (answer.retry_after or "").isdigit() for answer in turned_away)
    memory = [round(size / 1e6) for size in (before, peak, after)]
    say(
        f"{4 * MAX_TURNS} clients, {MAX_TURNS} at once is the limit: {answered:,} answered, "
        f"{len(turned_away):,} told to come back (429; {untold} without Retry-After), {others} others; "
        f"memory {memory[0]:,} MB before, {memory[1]:,} at most, {memory[2]:,} after"
    )
    say(
        f"a request alone takes its usual time {normal_s} s after that"
        if normal_s is not None
        else f"a request alone does not take its usual time within {RECOVERY_S:.0f} s"
    )
    found = {
        "clients": 4 * MAX_TURNS,
        "answered": answered,
        "turned_away": len(turned_away),
        "without_retry_after": untold,
        "others": others,
        "memory_mb": memory,
        "normal_after_s": normal_s,
    }
    return _with_problems(found, answers)


def seconds_until_normal(answers: Sequence[Answer], usual_s: float, since: float) -> float | None:
    """When IN_A_ROW answers in a row were there, by their median as quick as usual; None: never."""
    for at in range(len(answers) - IN_A_ROW + 1):
        run = answers[at : at + IN_A_ROW]
        if median(answer.seconds if answer.status == HTTPStatus.OK else inf for answer in run) <= usual_s:
            return round(run[-1].done - since, 1)
    return None


def _swaps(
    service: Server, bodies: Bodies, swap: Callable[[int], None], course: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """The other student becomes champion while clients are answered, and then the first one again."""
    load = LoadProcess(Load(service.chat, bodies, SWAP_CLIENTS))
    load.ends_within(AROUND_SWAP_S)
    written = {}
    for champion in (2, 1):
        written[champion] = time.monotonic()
        swap(champion)
        while service.champion(course) != version_name(course, champion):
            if time.monotonic() - written[champion] > SWAP_S or load.ends_within(0.1):
                load.stop()
                raise TuteeError(f"champion {champion} does not answer {SWAP_S:.0f} s after its catalog")
        load.ends_within(AROUND_SWAP_S)
    answers = load.stop()
    waits = []
    for champion, at in written.items():
        model = version_name(course, champion)
        waits.append(round(min(a.done for a in answers if a.sent > at and a.model == model) - at, 1))
    failed = sum(answer.status != HTTPStatus.OK for answer in answers)
    say(
        f"a new champion under {SWAP_CLIENTS} clients: its first answer after {waits[0]} s; the old one's, "
        f"champion again, after {waits[1]} s; {failed} of {len(answers):,} requests failed"
    )
    return _with_problems({"first_answer_s": waits, "requests": len(answers), "failed": failed}, answers)


def _with_problems(found: dict[str, Any], answers: Sequence[Answer]) -> dict[str, Any]:
    """What was found, and what requests that failed were told, but for those that were turned away."""
    told = (HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS)
    problems = sorted({f"{one.status} {one.problem}" for one in answers if one.status not in told})
    return {**found, "problems": problems[:5]} if problems else found
