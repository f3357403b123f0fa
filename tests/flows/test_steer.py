"""`tutee steer`: what it refuses before it loads a model."""

import pytest

from flows.steering import read_config
from tutee_grader.errors import InputError


def test_weights_are_read_and_wrong_ones_are_named() -> None:
    assert read_config("0,0.5, 2", candidates=4).weights == (0.0, 0.5, 2.0)
    with pytest.raises(InputError, match="--weights 0;1: not numbers"):
        read_config("0;1")
    with pytest.raises(InputError, match=r"weights.*greater than or equal to 0"):
        read_config("-1,0")
    with pytest.raises(InputError, match="weights"):
        read_config("nan")


def test_it_needs_a_trained_student(project) -> None:
    done = project.tutee("steer", "small", "nobody")
    assert done.returncode == 2
    assert "'nobody' names no student" in done.stderr
