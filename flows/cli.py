"""The command line: `tutee SUBCOMMAND`. It reports what went wrong and ends with the exit code that fits.

0 done, 1 a gate or check refused, 2 the user's input is wrong, 3 the environment lacks something, 70 a bug.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from flows.commands import (
    artificial_class,
    context,
    course,
    experiments,
    keys,
    learner,
    machine,
    probe,
    stages,
    steer,
    students,
)
from flows.environment import collect_less_garbage, exit_with_parent, explain, set_variables

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
        students.schedule,
        students.status,
        students.promote,
        students.rollback,
        students.forget,
        students.serve,
    ),
    "Courses": (
        course.validate,
        course.preview,
        course.regrade,
        course.simulate,
        course.export,
    ),
    "Experiments": (
        experiments.compare,
        experiments.experiment,
        experiments.responsiveness,
        artificial_class.class_,
        experiments.turing,
        probe.probe,
        context.context,
        steer.steer,
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
    "Machine": (machine.doctor, machine.clean, machine.bench),
}
for panel, commands in PANELS.items():
    for command in commands:
        # `class` is a word of Python's, so its function is called class_.
        app.command(command.__name__.rstrip("_"), rich_help_panel=panel)(command)
app.add_typer(keys.app, name="keys", rich_help_panel="Students")
app.add_typer(learner.app, name="learner", rich_help_panel="Experiments")

BUG = 70  # EX_SOFTWARE of sysexits.h


def main() -> None:
    set_variables()
    collect_less_garbage()
    # Libraries warn each other's authors of coming changes; a user can do nothing about it.
    warnings.simplefilter("ignore", FutureWarning)
    exit_with_parent()
    try:
        app()
    except Exception as error:  # noqa: BLE001 - nothing is hidden: a bug is shown in full
        code, message = getattr(error, "exit_code", None), str(error)
        if code not in (2, 3) and (reason := explain(error)):
            code, message = 3, reason
        if not isinstance(code, int):
            traceback.print_exc()
            code, message = BUG, "this is a bug of tutee; the lines above say where"
        from flows.errors import UnreachableError

        if isinstance(error, UnreachableError):
            # Prefect's threads would try for minutes to tell its server what it has missed; what they have
            # printed of that ends in the middle of a line.
            print(f"\ntutee: {message}", file=sys.stderr, flush=True)
            os._exit(code)
        print(f"tutee: {message}", file=sys.stderr)
        sys.exit(code)


if __name__ == "__main__":
    main()
