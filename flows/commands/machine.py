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
    SFT = "sft"


def doctor(
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Run the attacks on the sandbox, too.")] = False,
) -> None:
    """Reports what this machine offers; ends with 1 where the sandbox lacks something or fails."""
    import os
    import platform
    import shutil

    from flows.errors import CheckError
    from tutee_grader.doctor import check_sandbox, protections, show
    from tutee_grader.grader import REQUIRED

    free = shutil.disk_usage(".").free / 1e9
    print(f"python      {platform.python_version()} on {platform.platform()}")
    print(f"cores       {len(os.sched_getaffinity(0))} that can be used; {free:.0f} GB of disk are free here")
    print(f"accelerator {_accelerator()}")
    missing = []
    for name, active, words in protections():
        print(f"{'yes' if active else 'NO ':<4}{name}: {words}")
        if not active and name in REQUIRED:
            missing.append(name)
    if missing:
        raise CheckError(f"the sandbox lacks {', '.join(missing)}; the grader refuses to run here")
    if sandbox:
        results = check_sandbox()
        print(show(results))
        if any(result.problems for result in results):
            raise CheckError("an attack succeeded; do not grade programs of strangers here")


def bench(
    what: Bench,
    course: Annotated[
        str, typer.Argument(metavar="COURSE", help="Whose programs or dialogs are used.")
    ] = "demo",
    rows: Annotated[int, typer.Option(help="Submissions for the serializer.")] = 1_000_000,
    starts: Annotated[int, typer.Option(help="Starts of rollouts.")] = 16,
    preset: PresetOption = None,
) -> None:
    """Times one part beside the usual way, in the same run; the last line is JSON."""
    if what is Bench.SERIALIZER:
        from benchmarks.serializer import bench_serializer

        bench_serializer(rows)
        return
    from flows.parameters import load
    from tutee_grader.files import read_table

    setup = load(course, preset, logs=False)
    places = setup.places
    if what is Bench.SFT:
        from benchmarks.sft import bench_sft

        bench_sft(setup.preset, places.model("base"), places.dialogs)
        return
    submissions = read_table(places.submissions, "ingest")
    if what is Bench.ROLLOUT:
        from benchmarks.rollout import bench_rollout

        dialogs = read_table(places.dialogs, "serialize")
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


def _accelerator() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none; the preset tiny needs none"
    memory = torch.cuda.get_device_properties(0).total_memory / 1e9
    return f"{torch.cuda.get_device_name(0)}, {memory:.0f} GB"
