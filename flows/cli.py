"""The command line: `tutee SUBCOMMAND`. It says what went wrong, and ends with the exit code that fits.

0 done, 1 a gate or check said no, 2 the user's input is wrong, 3 the environment lacks something, 70 a bug.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from flows import telemetry
from flows.commands import course, machine, stages, students
from flows.errors import lack_of
from flows.guard import end_with_retrain

app = typer.Typer(
    help="Turns a course's submission logs into artificial students.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def allow(
    weak_sandbox: Annotated[
        bool,
        typer.Option(
            "--allow-weak-sandbox",
            help="Run student programs though a protection is missing.",
        ),
    ] = False,
) -> None:
    if weak_sandbox:
        from tutee_grader.grader import ALLOW_WEAK

        os.environ[ALLOW_WEAK] = "1"


PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Students": (
        students.retrain,
        students.status,
        students.promote,
        students.rollback,
        students.forget,
        students.serve,
    ),
    "Courses": (
        course.validate,
        course.import_,
        course.regrade,
        course.simulate,
        course.export,
    ),
    "Stages of the pipeline": (
        stages.source,
        stages.ingest,
        stages.grade,
        stages.serialize,
        stages.train,
        stages.pairs,
        stages.rollout,
        stages.report,
    ),
    "Machine": (machine.doctor, machine.bench),
}
for panel, commands in PANELS.items():
    for command in commands:
        app.command(command.__name__.rstrip("_"), rich_help_panel=panel)(command)

# For the processes that train. OpenMP's threads spin for milliseconds while they wait, by default: with more
# work than cores that doubles the time of a step, and not to spin at all doubles it where cores are free.
# Memory that is given back to the system after a step has to be zeroed for the next.
FASTER = {
    "GOMP_SPINCOUNT": "10000",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}
BUG = 70  # EX_SOFTWARE of sysexits.h


def main() -> None:
    telemetry.turn_off()
    for variable, value in FASTER.items():
        os.environ.setdefault(variable, value)
    # Libraries warn each other's authors of changes to come; a user can do nothing about it.
    warnings.simplefilter("ignore", FutureWarning)
    end_with_retrain()
    try:
        app()
    except Exception as error:  # noqa: BLE001 - nothing is hidden: a bug is shown in full
        code, message = getattr(error, "exit_code", None), str(error)
        if code not in (2, 3) and (lack := lack_of(error)):
            code, message = 3, lack
        if not isinstance(code, int):
            traceback.print_exc()
            code, message = BUG, "this is a bug of tutee; the lines above say where"
        print(f"tutee: {message}", file=sys.stderr)
        sys.exit(code)


if __name__ == "__main__":
    main()
