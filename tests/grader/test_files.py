"""A folder is whole or not there; a table has the columns of its schema, or says which it lacks."""

import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tutee_grader.errors import InputError, UnavailableError
from tutee_grader.files import atomic_dir, read_table, scan_tables, write_table

TESTS = pl.List(pl.Struct({"name": pl.String, "message": pl.String}))
SCHEMA = pl.Schema({"code": pl.String, "order": pl.Int64, "tests": TESTS})


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


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = pl.DataFrame([("pass", 1, [{"name": "a", "message": "b"}])], SCHEMA, orient="row")
    for written in (table, table.clear(), table.with_columns(new=1)):
        write_table(written, tmp_path / "table.parquet")
        assert read_table(tmp_path / "table.parquet", SCHEMA, "grade").equals(written)


def test_an_older_table_is_named_with_its_columns_and_the_command_that_makes_it_anew(tmp_path: Path) -> None:
    older = {"order": pl.String, "tests": pl.List(pl.Struct({"name": pl.String}))}
    write_table(pl.DataFrame(schema=older), tmp_path / "table.parquet")
    with pytest.raises(InputError) as raised:
        read_table(tmp_path / "table.parquet", SCHEMA, "grade")
    assert str(raised.value) == (
        f"{tmp_path / 'table.parquet'}: written by another version of tutee: `code` is missing, `order` is "
        "String and not Int64, `tests` is List(Struct({'name': String})) and not List(Struct({'name': "
        "String, 'message': String})); remove it, then run `tutee grade`"
    )


def test_all_tables_that_cannot_be_used_are_named_at_once(tmp_path: Path) -> None:
    good, missing, text = (tmp_path / f"{name}.parquet" for name in ("good", "missing", "text"))
    write_table(pl.DataFrame(schema=SCHEMA), good)
    text.write_text("no table")
    with pytest.raises(InputError) as raised:
        scan_tables({missing: "rollout sft", good: "rollout dpo", text: "rollout dapo"}, SCHEMA)
    first, second = str(raised.value).splitlines()
    assert first == f"{missing}: missing; run `tutee rollout sft` first"
    assert second.startswith(f"{text}: not a Parquet table (")
    assert second.endswith("; remove it, then run `tutee rollout dapo`")
