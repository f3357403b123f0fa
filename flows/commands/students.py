"""From a course to a served student, and back to the one before."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.stages import CourseArgument, PresetOption


def retrain(
    course: CourseArgument,
    preset: PresetOption = None,
) -> None:
    """Brings a course's students up to date: stages, gate, promotion, Bento; ends with 1 if refused.

    One works in a folder at a time: another waits, and says for which process.
    """
    from flows.environment import DAY_S, check_disk, exclusive_lock
    from flows.parameters import load
    from flows.server import prefect
    from tutee_trainer.pretrained import check

    setup = load(course, preset)
    check(setup.preset)
    places = setup.places
    check_disk()
    with exclusive_lock(places.retrain_lock, wait_s=DAY_S), prefect(places.prefect):
        from flows.retrain import run

        run(places.course, places.preset)


def status(course: CourseArgument, preset: PresetOption = None) -> None:
    """Says which semesters, stages and versions a course has, what is planned, and what is out of date."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from tutee_grader.processes import end_with_parent

    # What is asked of MLflow takes as long as all the rest, most of it to import MLflow.
    with ProcessPoolExecutor(1, get_context("fork"), end_with_parent) as beside:
        beside.submit(_import_mlflow)
        from flows.parameters import load
        from flows.status import status_lines

        for line in status_lines(load(course, preset, logs=False), beside):
            print(line, flush=True)


def _import_mlflow() -> None:
    import mlflow  # noqa: F401


def promote(
    course: CourseArgument,
    preset: PresetOption = None,
    force: Annotated[bool, typer.Option("--force", help="Promote it even if the gate refuses it.")] = False,
    because: Annotated[str | None, typer.Option(help="Why; needed with --force, and recorded.")] = None,
) -> None:
    """Puts the best of the present results to the gate again; ends with 1 where the gate refuses it."""
    from flows.environment import exclusive_lock
    from flows.errors import RefusedError
    from flows.places import Places
    from flows.release import promote_again
    from tutee_grader.errors import InputError

    if force != bool(because):
        raise InputError('--force needs --because "the reason", which is recorded, and the other way round')
    with exclusive_lock(Places(course).retrain_lock):
        released, packed = promote_again(course, preset, because)
    if packed is None:
        raise RefusedError(released.decision)
    print(f"promote: {released.decision}")
    if not released.passed:
        print(f"promote: promoted all the same: {because}")
    print(f"pack: {packed}")


def rollback(
    course: CourseArgument,
    because: Annotated[str, typer.Option(help="Why; it is recorded.")] = "no reason was given",
) -> None:
    """Makes the champion before the present one champion again; the old one cannot pass the gate again."""
    from flows.environment import exclusive_lock
    from flows.places import Places
    from flows.release import roll_back

    with exclusive_lock(Places(course).retrain_lock):
        champion, packed = roll_back(course, because)
    print(f"rollback: champion is {champion}")
    print(f"pack: {packed}")


def schedule(
    courses: Annotated[list[str], typer.Argument(metavar="COURSE...", help="Course files, or names.")],
    preset: PresetOption = None,
    cron: Annotated[str, typer.Option(help="When to retrain, in UTC.")] = "0 3 * * *",
    every: Annotated[int, typer.Option(min=30, help="Seconds between two looks for new logs.")] = 300,
    port: Annotated[int, typer.Option(help="The port of Prefect's page, where no server is named.")] = 4200,
    notify: Annotated[
        str | None, typer.Option(help="A block of Prefect's that tells of failures, as in slack-webhook/us.")
    ] = None,
) -> None:
    """Retrains courses on a schedule and whenever their logs change, until it is stopped."""
    from datetime import timedelta

    from flows.environment import exclusive_lock
    from flows.parameters import load
    from flows.server import prefect

    all_places = [load(course, preset, logs=False).places for course in courses]
    of_all = all_places[0]
    with exclusive_lock(of_all.schedule_lock), prefect(of_all.prefect, port) as address:
        from flows.schedule import Plan, serve_plans

        plans = [
            Plan(places.course, places.preset, cron, timedelta(seconds=every), notify)
            for places in all_places
        ]
        print(f"schedule: {', '.join(plan.course for plan in plans)}: retrain at {cron} (UTC)")
        print(f"schedule: Prefect's page is {address.removesuffix('/api')}", flush=True)
        serve_plans(plans)


def serve(
    courses: Annotated[list[str], typer.Argument(metavar="COURSE...", help="Course files, or names.")],
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than this machine need a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 3000,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(help="A web page's origin that may ask, as in https://lms.example; may be repeated."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Keep what is asked and answered in this folder.", show_default=False)
    ] = None,
) -> None:
    """Serves courses' champions: an API, and a page on which one watches them work."""
    from flows.parameters import load
    from flows.serving_catalog import CatalogFile
    from serving.catalog import FILE
    from serving.keys import Keys
    from serving.run import Address, serve
    from tutee_grader.errors import InputError
    from tutee_grader.files import scratch_dir

    address = Address(host, port)
    setups = [load(course, logs=False) for course in courses]
    places = setups[0].places
    if not address.is_loopback and not Keys.load(places.api_keys):
        raise InputError(
            f"--host {host}: others reach this address, so the service asks for a key, and {places.api_keys} "
            "holds none; `tutee keys add NAME` makes one"
        )
    address.check_free()
    with scratch_dir(places.service(port)) as home:
        file = CatalogFile(setups, home / FILE)
        for course, reason in file.left_out:
            print(f"serve: {course}: left out: {reason}")
        print(f"serve: starting {', '.join(file.courses)} at {address.url} (Ctrl-C stops it)", flush=True)
        environment = {
            "TUTEE_CATALOG": str((home / FILE).resolve()),
            "TUTEE_KEYS": str(places.api_keys.resolve()),
            "TUTEE_CORS_ORIGINS": " ".join(cors_origin or ()),
            "TUTEE_RECORD": str(record.resolve()) if record else "",
        }
        serve(address, home, environment, file.keep_current)


def forget(
    student: Annotated[str, typer.Argument(metavar="STUDENT", help="The student's id, as the log has it.")],
) -> None:
    """Removes a student from every table and report, and marks the models that were trained on them."""
    from flows.commands.summary import count
    from flows.environment import exclusive_lock
    from flows.event_log import logged
    from flows.forget import forget
    from flows.parameters import Parameters
    from flows.places import Places

    Parameters.load()
    with exclusive_lock(Places("").retrain_lock), logged(Places(""), "forget"):
        done = forget(student)
    for table, rows in done.rows.items():
        print(f"forget: {table}: {count(rows, 'rows')} removed")
    for report in done.reports:
        print(f"forget: {report}: removed, it may show their programs")
    for model in done.models:
        print(f"forget: {model}: marked")
    if not done.rows:
        print("forget: no table holds a row of theirs" + (" any more" if done.before else ""))
    print(
        f"forget: {done.pseudonym} "
        + ("was forgotten before, and " if done.before else "")
        + "is left out of every retrain from now on; remove them from the log itself as well"
    )
    for course in done.courses:
        print(f"next        tutee retrain {course}")
