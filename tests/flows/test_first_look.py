"""`tutee preview` and `tutee validate` on a log whose assignments are not all written."""

import shutil


def add_rows(project, names: tuple[str, ...]) -> None:
    log = project.folder / "courses/small/log.csv"
    rows = (f"another,{name},one,{attempt},pass\n" for name in names for attempt in (1, 2))
    log.write_text(log.read_text() + "".join(rows))


def test_a_preview_works_before_the_assignments_folder_exists(project) -> None:
    shutil.rmtree(project.folder / "courses/small/assignments")
    done = project.tutee("preview", "small")
    assert done.returncode == 0, done.stderr
    assert "double         48 rows of 16 students  no folder" in done.stdout
    assert "such as courses/small/assignments/double" in done.stdout


def test_a_preview_works_where_the_assignments_folder_is_empty(project) -> None:
    shutil.rmtree(project.folder / "courses/small/assignments/double")
    done = project.tutee("preview", "small")
    assert done.returncode == 0, done.stderr
    assert "no folder" in done.stdout


def test_validate_lists_every_assignment_without_a_folder_and_says_that_ingest_would_stop(project) -> None:
    add_rows(project, tuple(f"other_{number}" for number in range(12)))
    done = project.tutee("validate", "small")
    assert done.returncode == 0, done.stderr
    assert "assignments 12 more in the log have no folder" in done.stdout
    for number in range(12):
        assert f"other_{number} " in done.stdout
    assert "72 rows, of which 24 (33.3%) go to quarantine" in done.stdout
    assert "`ingest.max_quarantined` of params.yaml is 0.2" in done.stdout
