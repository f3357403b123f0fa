"""From a course to a served student, and back to the one before."""

from typing import Annotated

import typer

from flows.commands.stages import CourseArgument, PresetOption


def retrain(
    course: CourseArgument,
    preset: PresetOption = None,
) -> None:
    """Brings a course's students up to date: stages, registration, gate, promotion, Bento."""
    from flows.environment import check_disk, exclusive_lock
    from flows.parameters import load
    from flows.server import prefect
    from tutee_trainer.pretrained import check

    setup = load(course, preset)
    check(setup.preset)
    places = setup.places
    check_disk()
    with exclusive_lock(places.retrain_lock), prefect(places.prefect):
        from flows.retrain import retrain

        retrain(course, preset)


def status(course: CourseArgument, preset: PresetOption = None) -> None:
    """Lists the stages that are out of date, and the versions that are champion and challenger."""
    from flows.parameters import load
    from flows.pipeline import Pipeline
    from flows.registry import CHALLENGER, CHAMPION, Registry

    places = load(course, preset, logs=False).places
    pipeline = Pipeline.of(places)
    outdated = pipeline.out_of_date()
    for stage in pipeline.stages:
        print(f"{stage}: {outdated.get(stage, 'up to date')}")
    registry = Registry(places)
    registry.fail_dead_runs()
    for alias in (CHAMPION, CHALLENGER):
        version = registry.get_by_alias(alias)
        print(f"{alias}: {registry.describe(version) if version else 'none yet'}")


def promote(course: CourseArgument, preset: PresetOption = None) -> None:
    """Puts the best of the present results to the gate again; ends with 1 where the gate refuses it."""
    from flows.parameters import load
    from flows.pipeline import Pipeline
    from flows.registry import Registry
    from flows.release import pack, promote
    from tutee_grader.files import read_table

    setup = load(course, preset, logs=False)
    places = setup.places
    registry = Registry(places)
    metrics = read_table(places.metrics, "report")
    decision, _ = promote(setup, Pipeline.of(places), registry, metrics, again=True)
    print(f"promote: {decision}")
    print(f"pack: {pack(setup, registry)}")


def rollback(course: CourseArgument) -> None:
    """Makes the champion before the present one champion again."""
    from flows.parameters import load
    from flows.registry import Registry
    from flows.release import pack

    setup = load(course, logs=False)
    registry = Registry(setup.places)
    old, new = registry.roll_back()
    print(f"rollback: champion is {registry.describe(new)} again, no longer version {old.number}")
    print(f"pack: {pack(setup, registry)}")


def serve(
    course: CourseArgument,
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 3000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Serves the champion: an API, and a page on which one watches it work."""
    from flows.parameters import load
    from serving.run import serve

    serve(load(course, logs=False).places.student, host, port)


def forget(
    student: Annotated[str, typer.Argument(metavar="STUDENT", help="The student's id, as the log has it.")],
) -> None:
    """Removes a student from every table and report, and marks the models that were trained on them."""
    from flows.commands.summary import count
    from flows.environment import exclusive_lock
    from flows.forget import forget
    from flows.parameters import Parameters
    from flows.places import Places

    Parameters.load()
    with exclusive_lock(Places("").retrain_lock):
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
