"""docs/operations.md: its units are checked by systemd, its backup and restore are followed literally."""

import contextlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.places import Places
from flows.registry import Registry

from .conftest import Project
from .results import PLACES, git, make_results, start_git

GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
UNIT = re.compile(r"# /etc/systemd/system/(\S+)\n")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    found = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    return [text for of, text in found if of == language]


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed: apt-get install systemd")
    home, units = tmp_path / "tutee", tmp_path / "units"
    units.mkdir()
    home.mkdir()
    (home / ".venv").symlink_to(sys.prefix)
    for text in blocks("ini"):
        (units / UNIT.match(text)[1]).write_text(text.replace("/srv/tutee", str(home)))
    assert {path.suffix for path in units.iterdir()} == {".service", ".timer"}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units.iterdir()], capture_output=True, text=True
    )
    complaints = [
        line for line in done.stderr.splitlines() if str(units) in line or line.startswith("tutee-")
    ]
    assert (done.returncode, complaints) == (0, []), done.stderr


def run(block: str, places: dict[str, str]) -> str:
    """What the commands of a console block print; `places` has other names in place of the guide's."""
    for name, other in places.items():
        block = block.replace(name, other)
    script = "\n".join(["set -e", *(line.removeprefix("$ ") for line in block.splitlines())])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_lost_folder_comes_back_from_its_backup(reported: Project, tmp_path: Path) -> None:
    """In another place, deeper down, and with the champions of before; the origin is a bare repository."""
    origin, home = tmp_path / "origin.git", tmp_path / "tutee"
    for name in ("backup", "safe", "remote"):
        (tmp_path / name).mkdir()
    git("init", "--bare", str(origin))
    shutil.copytree(reported.folder, home)
    with contextlib.chdir(home):
        start_git(tmp_path / "remote")
        git("remote", "add", "origin", str(origin))
        registry = Registry(PLACES)
        for semester in ("one", "two"):
            registry.make_champion(make_results(Project(home), semester)["sft"], "better")
        champion = registry.describe(registry.champion())
        key = PLACES.key.read_bytes()
        Path(".venv").symlink_to(sys.prefix)
    names = {
        "https://git.example.org/teaching/tutee.git": str(origin),
        "make install": f"ln -s {sys.prefix} .venv",
        "/srv/tutee": str(home),
        "/backup/": f"{tmp_path}/backup/",
        "/safe/": f"{tmp_path}/safe/",
        "demo": "small",
    }
    backup, restore = blocks("console")
    run(backup, names)
    shutil.rmtree(home)
    elsewhere = tmp_path / "another" / "machine"
    said = run(restore, {**names, "/srv/tutee": str(elsewhere)})
    assert f"champion    {champion}" in said
    assert "rollback: champion is tutee-small version 2 (SFT" in said
    assert (elsewhere / PLACES.key).read_bytes() == key
    restored = Registry(Places("small", "tiny", elsewhere))
    folder = restored.folder(restored.champion())
    assert folder.is_relative_to(elsewhere)
    assert Project.weights(folder) == "sft of one"
