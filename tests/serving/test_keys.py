"""API keys: what lies on the disk, what a running service makes of it, and the command."""

import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.places import Places
from serving.keys import PER_MINUTE, Keys, KeysFile, add_key, revoke_key
from serving.token_bucket import TokenBucket
from tutee_grader.errors import InputError

REPOSITORY = Path(__file__).parents[2]
SHA256 = "0" * 64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.json"


def test_a_key_is_recognised_with_its_name_and_rate(file: Path) -> None:
    secrets = {"autograder": add_key(file, "autograder"), "script": add_key(file, "script", per_minute=30)}
    keys = Keys.load(file)
    found = {name: keys.find(secret) for name, secret in secrets.items()}
    assert {name: (key.name, key.per_minute) for name, key in found.items()} == {
        "autograder": ("autograder", PER_MINUTE),
        "script": ("script", 30),
    }
    assert len(keys) == 2


@pytest.mark.parametrize("change", [str.upper, lambda key: key[:-1], lambda key: key + "a", lambda _: ""])
def test_nothing_but_the_key_is_recognised(file: Path, change) -> None:
    secret = add_key(file, "autograder")
    assert Keys.load(file).find(change(secret)) is None


def test_what_lies_in_the_file_is_no_key(file: Path) -> None:
    secret = add_key(file, "autograder")
    [entry] = Keys.load(file).keys
    assert secret.removeprefix("tutee_") not in file.read_text()
    assert Keys.load(file).find(entry.sha256) is None


def test_keys_are_random_and_of_256_bits(file: Path) -> None:
    made = {add_key(file, f"key-{number}").removeprefix("tutee_") for number in range(20)}
    assert len(made) == 20
    assert all(len(key) * 6 >= 256 for key in made)  # base64: six bits each


def test_only_its_owner_can_read_the_file(file: Path) -> None:
    file.parent.mkdir()
    left_by_a_killed_command = file.with_name(f".{file.name}.part")
    left_by_a_killed_command.touch(mode=0o644)
    before = os.umask(0)
    try:
        add_key(file, "autograder")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        revoke_key(file, "autograder")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_commands_at_the_same_time_lose_no_key(file: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: add_key(file, f"key-{number}"), range(40)))
    assert {key.name for key in Keys.load(file).keys} == {f"key-{number}" for number in range(40)}


def test_a_file_that_changes_is_read_again(file: Path) -> None:
    watched = KeysFile(file)
    assert not watched.read()
    first = add_key(file, "first")
    assert watched.read().find(first)
    second = add_key(file, "second")
    revoke_key(file, "first")
    assert watched.read().find(first) is None
    assert watched.read().find(second)
    file.unlink()
    assert not watched.read()


def test_a_file_that_does_not_change_is_not_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = add_key(file, "autograder")
    watched = KeysFile(file)
    watched.read()
    monkeypatch.setattr(Keys, "load", lambda _: pytest.fail("read again"))
    assert watched.read().find(secret)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Invalid JSON"),
        ("[]", "should be an object"),
        ('{"keys": [{"name": "a"}]}', "`keys.0.sha256`: missing"),
        ('{"keys": [{"name": "a", "sha256": "secret"}]}', "`keys.0.sha256`"),
        (f'{{"keys": [{{"name": "a", "sha256": "{SHA256}", "rate": 1}}]}}', "`keys.0.rate`: unknown key"),
        (f'{{"keys": {[{"name": "a", "sha256": SHA256}] * 2}}}'.replace("'", '"'), "two keys have one name"),
    ],
)
def test_a_broken_file_is_refused_by_name_and_field(file: Path, text: str, problem: str) -> None:
    file.parent.mkdir()
    file.write_text(text)
    watched = KeysFile(file)
    for _ in range(2):  # not only the first time
        with pytest.raises(InputError) as raised:
            watched.read()
        assert str(raised.value).startswith(f"{file}: ")
        assert problem in str(raised.value)
    file.unlink()
    assert not watched.read()


@pytest.mark.parametrize(("name", "per_minute"), [("", 1), ("a b", 1), ("x" * 65, 1), ("a", 0), ("a", -1)])
def test_a_key_with_wrong_settings_is_not_made(file: Path, name: str, per_minute: int) -> None:
    with pytest.raises(InputError, match="name" if per_minute > 0 else "per_minute"):
        add_key(file, name, per_minute)
    assert not file.exists()


def test_a_bucket_gives_its_rate_and_no_more() -> None:
    now = 0.0
    bucket = TokenBucket(60, lambda: now)
    assert [bucket.take() for _ in range(60)] == [0] * 60
    assert bucket.take() == 1
    now = 0.5
    assert bucket.take() == 0.5
    now = 1.0
    assert bucket.take() == 0
    assert bucket.take() == 1
    now = 3600.0  # an hour's rest saves up a minute's requests
    assert [bucket.take() for _ in range(61)] == [0] * 60 + [1]


@pytest.fixture
def tutee(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs `tutee keys ...` in a project; returns what it printed, or raises what it raised."""
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["keys", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_the_command_makes_lists_and_revokes_keys(tutee) -> None:
    file = Places("").api_keys
    assert "tutee keys add NAME" in tutee("list")
    first, second = tutee("add", "autograder").strip(), tutee("add", "script", "--per-minute", "30").strip()
    assert Keys.load(file).find(first).name == "autograder"
    assert Keys.load(file).find(second).per_minute == 30
    assert tutee("list").splitlines() == [
        f"autograder  {PER_MINUTE} requests a minute",
        "script  30 requests a minute",
    ]
    tutee("revoke", "autograder")
    assert Keys.load(file).find(first) is None
    assert Keys.load(file).find(second)


def test_the_command_says_what_is_wrong(tutee) -> None:
    tutee("add", "autograder")
    before = Places("").api_keys.read_bytes()
    with pytest.raises(InputError, match="there is a key 'autograder' already"):
        tutee("add", "autograder")
    with pytest.raises(InputError, match="there is no key 'script'; there are: autograder"):
        tutee("revoke", "script")
    assert Places("").api_keys.read_bytes() == before


def test_the_key_file_is_in_neither_git_nor_dvc() -> None:
    file = str(Places("").api_keys)
    subprocess.run(["git", "check-ignore", "--quiet", file], cwd=REPOSITORY, check=True)
    ignored = (REPOSITORY / ".dvcignore").read_text().splitlines()
    assert f"/{file}" in ignored
