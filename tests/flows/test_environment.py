import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.environment import LOCK_VARIABLE, exclusive_lock
from tutee_grader.errors import UnavailableError

# A stage that would work for ever; it says that it has begun.
STAGE = (
    "import sys, time; from flows.environment import exit_with_parent; exit_with_parent(); "
    "print('at work', flush=True); time.sleep(600)"
)
RETRAIN = f"""
import subprocess, sys
from pathlib import Path
from flows.environment import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    subprocess.run([sys.executable, "-c", {STAGE!r}])
"""


@pytest.fixture
def retrain(tmp_path: Path):
    started = subprocess.Popen(
        [sys.executable, "-c", RETRAIN, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert started.stdout
    assert started.stdout.readline() == "at work\n"
    yield started
    started.kill()
    started.wait()


def test_a_killed_retrain_takes_its_stage_along(retrain: "subprocess.Popen[str]") -> None:
    retrain.send_signal(signal.SIGKILL)
    retrain.wait(10)
    assert retrain.stdout
    # The stage holds the other end of this pipe: it is closed when the stage has ended.
    assert retrain.stdout.read() == ""


def test_a_second_retrain_is_refused(retrain: "subprocess.Popen[str]", tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"process {retrain.pid}"), exclusive_lock(tmp_path / "lock"):
        pass


def test_the_next_one_goes_on_where_one_was_killed(retrain: "subprocess.Popen[str]", tmp_path: Path) -> None:
    retrain.kill()
    with exclusive_lock(tmp_path / "lock"):
        assert os.environ[LOCK_VARIABLE] == str(tmp_path / "lock")
    assert LOCK_VARIABLE not in os.environ
