"""The course files that come with the repository can be read."""

import pytest
import yaml

from tutee_serializer.course import Course
from tutee_serializer.errors import CourseError


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


def test_falcon_is_read_without_its_data_and_says_where_they_belong(demo):
    file = demo.parent / "falcon" / "course.yaml"
    if not (file.parent / "../../../shared/data/falcon").exists():
        with pytest.raises(CourseError, match="shared/data/falcon does not exist"):
            Course.load(file)
    assert Course.load(file, logs=False).name == "falcon"


def test_no_course_that_needs_gated_data_is_among_those_that_dvc_reproduces(demo):
    listed = yaml.safe_load((demo.parents[1] / "params.yaml").read_text())["courses"]
    assert "falcon" not in listed
