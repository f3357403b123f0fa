"""Real students' submissions, where this machine has them."""

from pathlib import Path

import pytest

from tutee_serializer.course import Course
from tutee_serializer.errors import CourseError
from tutee_serializer.ingest.ingest import IngestConfig, parse_log

KEY = b"a key only for tests"
FILE = Path(__file__).parents[2] / "courses" / "dublin" / "course.yaml"


@pytest.fixture(scope="module")
def dublin() -> Course:
    try:
        return Course.load(FILE)
    except CourseError as error:
        if "does not exist" not in str(error):
            raise
        pytest.skip(f"the Dublin data (figshare 12610958) is not on this machine: {error}")


def test_dublin_is_read_through_nothing_but_its_course_file(dublin: Course, tmp_path: Path) -> None:
    result = parse_log(dublin, IngestConfig(), KEY)
    # The counts that the data's own README gives, but for the assignment whose test file is no Python.
    assert result.account.rows("in") == 4394
    assert list(result.account.broken_assignments) == ["weird_case"]
    assert result.account.rows("quarantine") == 0
    assert result.submissions.height == 4394 - result.account.rows("filter")
    log = (dublin.folder / str(dublin.logs.path)).read_text()
    assert not any(student in log for student in result.submissions["student"].unique())


def test_dublins_attempts_keep_their_order(dublin: Course, tmp_path: Path) -> None:
    table = parse_log(dublin, IngestConfig(), KEY).submissions
    per_trajectory = table.group_by("semester", "student", "assignment").agg("order")
    assert all(orders == list(range(1, len(orders) + 1)) for orders in per_trajectory["order"].to_list())
