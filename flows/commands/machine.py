"""What this machine can do, and how fast."""

from enum import StrEnum
from typing import Annotated

import typer

from flows.commands.stages import PresetOption


class Bench(StrEnum):
    """What can be timed."""

    CODEBLEU = "codebleu"
    GRADER = "grader"
    ROLLOUT = "rollout"
    SERIALIZER = "serializer"
    SERVE = "serve"
    SFT = "sft"


def doctor(
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Run the attacks on the sandbox, too.")] = False,
) -> None:
    """Checks machine, packages, sandbox and services; ends with 3 where one is unfit, 1 if an attack wins."""
    from flows.doctor import checks
    from flows.errors import CheckError
    from tutee_grader.doctor import HEADING, check_sandbox
    from tutee_grader.errors import UnavailableError

    unfit = []
    for check in checks():
        print(check, flush=True)
        if not check.fine:
            unfit.append(check.name)
    if unfit:
        raise UnavailableError(f"unfit: {', '.join(dict.fromkeys(unfit))}; the lines above say what to do")
    if not sandbox:
        return
    print(HEADING)
    held = []
    for result in check_sandbox():
        print(result, flush=True)
        held.append(not result.problems)
    print(f"{sum(held)} of {len(held)} attacks held off")
    if not all(held):
        raise CheckError("an attack succeeded; do not grade programs of strangers here")


def clean(
    course: Annotated[
        str | None,
        typer.Argument(metavar="[COURSE]", help="A course file, or a course's name; all courses without it."),
    ] = None,
    keep: Annotated[int, typer.Option(min=1, help="The latest test semesters of each course that stay.")] = 3,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, this is only shown.")] = False,
) -> None:
    """Shows, or deletes, what takes space of semesters that are past: versions, runs, caches."""
    from flows.clean import find_garbage, shrink_databases
    from flows.environment import exclusive_lock
    from flows.event_log import logged
    from flows.parameters import load
    from flows.places import Places

    name = load(course, logs=False, assignments=False).course.name if course else None
    places = Places(name or "")
    with exclusive_lock(places.retrain_lock):
        found = find_garbage(keep, name)
        for stays in found.stays:
            print(f"stays       {stays}")
        for left in found.left:
            print(f"left alone  {left}")
        freed = sum(garbage.size for garbage in found.garbage)
        if not yes:
            for garbage in found.garbage:
                print(f"to delete   {garbage}")
            print(f"clean: {freed / 1e6:,.1f} MB can be freed; `--yes` deletes it")
            return
        with logged(places, "clean", keep=keep) as line:
            for garbage in found.garbage:
                garbage.delete()
                print(f"deleted     {garbage}", flush=True)
            for file, size in shrink_databases():
                print(f"shrunk      {file}: {size / 1e6:,.1f} MB")
                freed += size
            line["bytes"] = freed
    print(f"clean: {freed / 1e6:,.1f} MB are free again")


def bench(
    what: Bench,
    course: Annotated[
        str, typer.Argument(metavar="COURSE", help="Whose programs or dialogs are used.")
    ] = "demo",
    rows: Annotated[int, typer.Option(help="Submissions for the serializer.")] = 1_000_000,
    starts: Annotated[int, typer.Option(help="Starts of rollouts.")] = 16,
    requests: Annotated[int, typer.Option(min=1, help="Requests below the limit of the service.")] = 10_000,
    preset: PresetOption = None,
) -> None:
    """Times one part beside the usual way, in the same run; the last line is JSON."""
    if what is Bench.SERIALIZER:
        from benchmarks.serializer import bench_serializer

        bench_serializer(rows)
        return
    from flows.parameters import load
    from tutee_grader.files import read_table
    from tutee_serializer.schemas import DIALOGS, SUBMISSIONS

    setup = load(course, preset, logs=False)
    places = setup.places
    if what is Bench.SFT:
        from benchmarks.sft import bench_sft

        bench_sft(setup.preset, places.model("base"), places.dialogs)
        return
    if what is Bench.SERVE:
        from benchmarks.serve import bench_serve

        dialogs = read_table(places.dialogs, DIALOGS, "serialize")
        students = [places.model("dpo"), places.model("sft")]
        bench_serve(setup.course, students, dialogs, requests)
        return
    submissions = read_table(places.submissions, SUBMISSIONS, "ingest")
    if what is Bench.ROLLOUT:
        from benchmarks.rollout import bench_rollout

        dialogs = read_table(places.dialogs, DIALOGS, "serialize")
        config = setup.preset.rollout.model_copy(update={"max_starts": starts})
        bench_rollout(places.model("sft"), dialogs, submissions, config, setup.parameters.engine.batch)
        return
    programs = list(submissions.select("assignment", "code").iter_rows())
    if what is Bench.CODEBLEU:
        from benchmarks.codebleu import bench_codebleu

        bench_codebleu(programs)
        return
    from benchmarks.grader import bench_grader

    assignments, _ = setup.course.load_assignments()
    bench_grader([(assignments[name], code) for name, code in programs])
