"""Everyone named here is synthetic."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutee_grader.errors import InputError, UnavailableError
from tutee_serializer.course import Course
from tutee_serializer.ingest.account import RowAccount
from tutee_serializer.ingest.ingest import IngestConfig, parse_log
from tutee_serializer.ingest.masks import Masker
from tutee_serializer.ingest.privacy import fingerprint, load_key, pseudonym, remove_student

KEY = b"a key for tests only, not a secret"
HEADER = "student,assignment,semester,attempt,time,score,code\n"


def masked(program: str, ids: tuple[str, ...] = (), published: str = "") -> str:
    return Masker(KEY, ids, published).programs(pl.Series([program])).item()


@pytest.mark.parametrize(
    ("program", "secret"),
    [
        ("# mail me: tuuli.meri@kurssi.example\nx = 1", "tuuli.meri@kurssi.example"),
        ("print('ask tuuli.meri@kurssi.example')", "tuuli.meri"),
        ('"""Help: +358 40 123 4567"""\nx = 1', "123 4567"),
        ("# call 040-123 4567\n", "123 4567"),
        ("# phone: 0401234567\n", "0401234567"),
        ("x = 1  # student number 20481632", "20481632"),
        ("# ID: k2048163\n", "2048163"),
        ("# Author: Tuuli Meri\nx = 1", "Tuuli Meri"),
        ("# author: tuuli meri\n", "tuuli meri"),
        ("# Written by Tuuli Meri-Aalto, 2024\n", "Meri-Aalto"),
        ('"""\nName: Tuuli Meri\n"""\n', "Tuuli"),
        ("__author__ = 'Tuuli Meri'\n", "Tuuli"),
        ("# @author Tuuli Meri\nprint('Tuuli says hi')\n", "Tuuli says"),
        ("def broken(:\n  # by: Tuuli Meri\n  'unclosed tuuli@kurssi.example", "tuuli@"),
    ],
)
def test_what_gives_a_student_away_is_masked(program: str, secret: str) -> None:
    assert secret in program
    assert secret not in masked(program)


@pytest.mark.parametrize(
    "program",
    [
        "def add(a, b):\n    # add by adding one\n    return a + b\n",
        "@decorator\ndef f(name):\n    '''name: the name to greet'''\n    return name\n",
        "print('2024-10-01', 3.14159, [1, 2, 3], 12345678)\n",
        "x = a @ b\n# result: 100 200 300\n",
        "name = input('Name: ')\nprint('Hello, ' + name)\n",
        "# count from 1 to 10, then 10 to 1\n",
    ],
)
def test_ordinary_programs_are_left_alone(program: str) -> None:
    assert masked(program) == program


def test_the_same_secret_gets_the_same_mask_everywhere() -> None:
    first = masked("# a@kurssi.example\n").removeprefix("# ").strip()
    assert masked("print('A@kurssi.example')") == f"print('{first}')"
    assert masked("# b@kurssi.example\n") != f"# {first}\n"


def test_an_id_of_the_log_is_masked_wherever_it_stands_and_code_stays_code() -> None:
    program = "# mara-0001\ndef mara0001(n):\n    return 20481632 + n\n"
    changed = masked(program, ("mara-0001", "mara0001", "20481632"))
    for secret in ("mara", "20481632"):
        assert secret not in changed
    compile(changed, "changed", "exec")


def test_what_the_task_itself_says_is_no_secret() -> None:
    program = "print('info@shop.example')"
    assert masked(program, published="Print info@shop.example") == program


def test_masks_are_counted_by_kind_and_repeated_programs_count_again() -> None:
    masker = Masker(KEY, [])
    masker.programs(pl.Series(["# a@kurssi.example, b@kurssi.example\n"] * 3 + ["# Author: Tuuli Meri\n"]))
    assert masker.counts == {"e-mail address": 6, "name": 1}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once = masked(f"# {text}\n# mara@kurssi.example")
    assert masked(once) == once


def test_a_student_keeps_one_pseudonym_under_a_key_and_another_under_another_key() -> None:
    assert pseudonym("mara-0001", KEY) == pseudonym("mara-0001", KEY)
    assert pseudonym("mara-0001", KEY) != pseudonym("mara-0001", b"another key for tests")
    assert pseudonym("mara-0001", KEY) != pseudonym("mara-0002", KEY)


def test_the_key_is_made_once_and_only_its_owner_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TUTEE_KEY", raising=False)
    path = tmp_path / "data" / "pseudonym.key"
    assert load_key(path, ()) == load_key(path, ())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("last", ["secrets.token_hex", "os.fsync", "os.link"])
def test_a_kill_while_the_key_is_made_leaves_none_and_the_next_run_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    monkeypatch.delenv("TUTEE_KEY", raising=False)
    path = tmp_path / "data" / "pseudonym.key"
    module, _, function = last.partition(".")
    killed = (
        f"import os, secrets, signal; from pathlib import Path\n"
        f"from tutee_serializer.ingest.privacy import load_key\n"
        f"{module}.{function} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"load_key(Path({str(path)!r}), ())\n"
    )
    assert subprocess.run([sys.executable, "-c", killed]).returncode == -signal.SIGKILL
    assert not path.exists()
    assert len(load_key(path, ())) == 64


def test_of_two_processes_that_make_the_key_at_the_same_time_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TUTEE_KEY", raising=False)
    path, link, others = tmp_path / "pseudonym.key", os.link, []

    def other_comes_first(*files: str | Path) -> None:
        monkeypatch.setattr(os, "link", link)
        others.append(load_key(path, ()))
        link(*files)

    monkeypatch.setattr(os, "link", other_comes_first)
    assert [load_key(path, ())] == others


def test_a_key_in_the_environment_goes_first_and_may_not_be_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTEE_KEY", KEY.decode())
    assert load_key(tmp_path / "data" / "pseudonym.key", ()) == KEY
    monkeypatch.setenv("TUTEE_KEY", "short")
    with pytest.raises(UnavailableError, match="TUTEE_KEY") as caught:
        load_key(tmp_path / "data" / "pseudonym.key", ())
    assert caught.value.exit_code == 3


def test_a_key_that_cannot_be_written_is_an_error_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TUTEE_KEY", raising=False)
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises(UnavailableError, match="neither read nor written"):
        load_key(tmp_path / "data" / "pseudonym.key", ())


def accounts(folder: Path, **keys: bytes) -> list[Path]:
    """Row accounts of courses, each under its key."""
    files = []
    for course, key in keys.items():
        files.append(folder / "data" / course / "account.json")
        files[-1].parent.mkdir(parents=True)
        files[-1].write_text(json.dumps({"course": course, "key": fingerprint(key)}))
    return files


def test_no_key_is_made_where_tables_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUTEE_KEY", raising=False)
    path = tmp_path / "data" / "pseudonym.key"
    with pytest.raises(InputError, match=f"copy {path} .*, or remove {tmp_path}/data/one to start anew"):
        load_key(path, accounts(tmp_path, one=KEY))
    assert not path.exists()


@pytest.mark.parametrize("variable", [True, False])
def test_the_tables_key_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: bool
) -> None:
    path = tmp_path / "data" / "pseudonym.key"
    written = accounts(tmp_path, one=KEY, two=b"another key for tests")
    monkeypatch.setenv("TUTEE_KEY", KEY.decode() if variable else "")
    if not variable:
        path.write_text(KEY.decode())
    assert load_key(path, written[:1]) == KEY
    with pytest.raises(InputError, match=f"another key, but tables lie in {tmp_path}/data/two, "):
        load_key(path, written)


def test_a_fingerprint_is_not_the_key(tmp_path: Path) -> None:
    assert KEY.decode() not in fingerprint(KEY)
    assert fingerprint(KEY) == fingerprint(KEY) != fingerprint(b"another key for tests")


SECRETS = ("mara-0001", "tuuli.meri@kurssi.example", "+358 40 123 4567", "Tuuli Meri")
PLANTED = (
    HEADER
    + 'mara-0001,double,one,1,,,"# Author: Tuuli Meri, mara-0001\nx = 1"\n'
    + "mara-0001,double,one,2,,,print('tuuli.meri@kurssi.example')\n"
    + "mara-0001,tuuli.meri@kurssi.example,one,3,,,# +358 40 123 4567\n"
    + "mara-0001,double,one\n"
    + "mara-0001,double,two,1,,,# +358 40 123 4567\n"
)


def test_no_planted_secret_reaches_a_file(
    small_course: Callable[..., Course],
    write_ingested: Callable[..., RowAccount],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    write_ingested(small_course(PLANTED), out, max_quarantined=0.5)
    for path in (path for path in out.rglob("*") if path.is_file()):
        table = path.suffix == ".parquet"
        text = str(pl.read_parquet(path).rows()) if table else path.read_text(errors="replace")
        for secret in SECRETS:
            assert secret not in text, f"{secret} is in {path}"
    said = capfd.readouterr()
    assert not any(secret in said.out + said.err for secret in SECRETS)


def test_a_forgotten_student_leaves_every_table_and_does_not_come_back(
    small_course: Callable[..., Course], tmp_path: Path
) -> None:
    students = ("mara-0001", "otso-0002")
    course = small_course(HEADER + "".join(f"{who},double,one,1,,,pass\n" for who in students))
    submissions = parse_log(course, IngestConfig(), KEY).submissions
    gone = pseudonym("mara-0001", KEY)
    theirs = submissions.filter(student=gone)["submission_id"].item()
    tables = [tmp_path / f"{name}.parquet" for name in ("submissions", "verdicts", "dialogs", "sft")]
    submissions.write_parquet(tables[0])
    submissions.select("submission_id", grade=pl.lit(100.0)).write_parquet(tables[1])
    submissions.select("student", dialog_id="submission_id").write_parquet(tables[2])
    submissions.select(dialog_id="submission_id").write_parquet(tables[3])

    assert remove_student(gone, tables) == dict.fromkeys(tables, 1)
    for table in tables:
        rows = pl.read_parquet(table)
        assert rows.height == 1
        assert theirs not in str(rows.rows())
    again = parse_log(course, IngestConfig(), KEY, {gone})
    assert {s.step: s.rows for s in again.account.flow}["student to be forgotten"] == 1
    assert again.submissions.height == 1


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_columns_that_describe_people_lie_apart_and_only_when_asked_for(
    small_course: Callable[..., Course], tmp_path: Path, name: str
) -> None:
    rows = pl.DataFrame({"student": ["mara-0001"], "assignment": ["double"], "semester": ["one"]})
    rows = rows.with_columns(
        attempt=pl.lit(1), code=pl.lit("pass"), gender=pl.lit("woman"), ethnicity=pl.lit("sami")
    )
    log = rows.write_csv() if name.endswith("csv") else rows.write_ndjson()
    columns = {column: column for column in ("student", "assignment", "semester", "attempt", "code")}

    quiet = small_course(log, name, columns=columns, logs={"path": name})
    result = parse_log(quiet, IngestConfig(), KEY)
    assert result.demographics is None

    asked = small_course(log, name, columns={**columns, "demographics": ["gender"]}, logs={"path": name})
    result = parse_log(asked, IngestConfig(), KEY)
    assert result.demographics is not None
    assert result.demographics.rows() == [(result.submissions["student"].item(), "woman")]
    assert "woman" not in str(result.submissions.rows())
