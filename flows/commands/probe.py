"""What the representation of a student knows of what comes later."""

from flows.commands.stages import CourseArgument, PresetOption

PROBED = ("base", "para", "sft")


def probe(course: CourseArgument, preset: PresetOption = None) -> None:
    """Predicts what real students do later from the hidden states of BASE, PARA and SFT at a submission."""
    from flows.commands.summary import count
    from flows.environment import disable_hub
    from flows.parameters import load
    from tutee_evaluator.probing.results import probes_table
    from tutee_evaluator.probing.run import probe_students
    from tutee_evaluator.probing.targets import TARGETS
    from tutee_grader.errors import InputError
    from tutee_grader.files import read_table
    from tutee_grader.verdict import VERDICTS
    from tutee_serializer.card import FILE
    from tutee_serializer.schemas import DIALOGS, SUBMISSIONS

    setup = load(course, preset, logs=False, assignments=False)
    disable_hub(setup.preset)
    places = setup.places
    students = {name: places.model(name) for name in PROBED if (places.model(name) / FILE).exists()}
    for name in PROBED:
        if name not in students:
            print(f"probe: {name.upper()} is left out: there is no {places.model(name)}")
    if not students:
        raise InputError(f"{places.models}: none of {', '.join(PROBED)} is there; run `tutee retrain` first")
    probed, counts = probe_students(
        students,
        read_table(places.dialogs, DIALOGS, "serialize"),
        read_table(places.submissions, SUBMISSIONS, "ingest"),
        read_table(places.verdicts, VERDICTS, "grade"),
        places.probing,
        progress=True,
    )
    if probed.table.height:
        print(f"\n{probes_table(probed.table)}\n")
    words = {target.name: target.words for target in TARGETS}
    for name, reason in probed.not_probed.items():
        print(f"probe: {words[name]} is not probed: {reason}")
    at = f"{count(counts.submissions, 'submissions')} of {count(counts.students, 'held-out students')}"
    print(f"probe: {at}, {counts.too_long} left out as too long -> {places.probing}")
    for name, number in counts.cut.items():
        if number:
            print(f"probe: {name.upper()} has not read the oldest turns before {number:,} of them")
