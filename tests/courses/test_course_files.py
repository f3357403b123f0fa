"""The two course files that come with the repository can be read."""

import pytest

from tutee_serializer.course import Course


def test_demo_says_that_it_is_synthetic(demo):
    course = Course.load(demo / "course.yaml")
    assert (course.name, course.synthetic) == ("demo", True)
    good, broken = course.load_assignments()
    assert (len(good), broken) == (12, {})


def test_dublin_is_read_by_its_course_file_alone(demo):
    file = demo.parent / "dublin" / "course.yaml"
    if not (file.parent / "../../../shared/data/dublin/submissions.csv").exists():
        pytest.skip("the Dublin data (figshare 12610958) is not at ../shared/data/dublin")
    course = Course.load(file)
    assert (course.name, course.synthetic, course.simulator) == ("dublin", False, None)
    assert course.semesters.train == ["2015", "2016"]
    good, broken = course.load_assignments()
    assert len(good) > 20
    assert len(broken) == 1
