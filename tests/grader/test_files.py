"""A folder is whole or not there."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tutee_grader.errors import UnavailableError
from tutee_grader.files import atomic_dir


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_dir(tmp_path / "sft") as folder:
            (folder / text).write_text(text)
    assert [path.name for path in tmp_path.rglob("*")] == ["sft", "second"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    with atomic_dir(tmp_path / "sft") as folder:
        (folder / "weights").write_text("good")
    with pytest.raises(KeyError), atomic_dir(tmp_path / "sft") as folder:
        (folder / "weights").write_text("half")
        raise KeyError
    assert [path.name for path in tmp_path.rglob("*")] == ["sft", "weights"]
    assert (tmp_path / "sft" / "weights").read_text() == "good"


def test_a_killed_run_leaves_no_half_folder(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from tutee_grader.files import atomic_dir\n"
        "with atomic_dir(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'weights').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "sft")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "sft").exists()
    with atomic_dir(tmp_path / "sft") as folder:
        (folder / "weights").write_text("good")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["sft", "weights"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where a folder should be")
    with pytest.raises(UnavailableError, match="models") as raised, atomic_dir(tmp_path / "models" / "sft"):
        pass
    assert raised.value.exit_code == 3
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
