"""The scratch of a sandbox: a file system of its own, a folder where that is refused; and its cleaning."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tutee_grader import Assignment, Grader, feedback
from tutee_grader.assignment import MAX_OUTPUT_KB, Limits
from tutee_grader.attacks.scratch import SCRATCH
from tutee_grader.doctor import lay_decoys, protections, run_attack
from tutee_grader.forms.stdio import ScriptTest
from tutee_grader.sandbox import scratch_folder, worker
from tutee_grader.sandbox.inside import scratch
from tutee_grader.sandbox.scratch_folder import PREFIX, ScratchFolder, sweep

MB = 1 << 20
PASSED = "The only test passed."
FILES = (
    "import os\n"
    "def f():\n"
    "    open('a', 'w').write('text')\n"
    "    os.rename('a', 'b')\n"
    "    with open('b', 'a') as file: file.write('s')\n"
    "    open('c', 'w').close()\n"
    "    os.remove('c')\n"
    "    return open('b').read(), os.listdir()\n"
)
FOLDERS = (
    "import os, shutil\n"
    "def f():\n"
    "    os.makedirs('a/b')\n"
    "    open('a/b/c', 'w').close()\n"
    "    os.rename('a/b', 'b')\n"
    "    os.rmdir('a')\n"
    "    found = [names for _, *names in os.walk('.')]\n"
    "    shutil.rmtree('b')\n"
    "    return found, os.listdir()\n"
)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Iterator[Grader]:
    """A grader to which the kernel gives no file system: there is nowhere to mount it."""
    monkeypatch.setattr(worker, "MOUNT_POINT", "/nowhere")
    with Grader(1, bubblewrap=False) as made:
        yield made


@pytest.fixture(params=["landlock", "bubblewrap", "folder"])
def each_grader(request: pytest.FixtureRequest) -> Grader:
    if request.param == "folder":
        return request.getfixturevalue("refused")
    if request.param == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    made = Grader(1, bubblewrap=request.param == "bubblewrap")
    request.addfinalizer(made.close)
    return made


@pytest.fixture
def result(calls):
    """What a program's `f()` is said to have done: its feedback."""

    def grade(grader: Grader, program: str, expected: str = "None") -> str:
        assignment = calls(("f()", expected), limits="{seconds: 3, memory_mb: 64}")
        return feedback(grader.grade([(assignment, program)])[0])

    return grade


def outer(grader: Grader) -> Path:
    """The folder of a grader's worker, outside the sandbox."""
    one = grader._pool.workers()[0]
    assert one.scratch is not None
    return Path(one.scratch.path)


# --- a file system of its own -----------------------------------------------------------------------------


def test_the_scratch_is_a_small_file_system_in_memory(any_grader):
    assert any_grader.protections["scratch"] == "tmpfs"
    for folder in any_grader.scratch_folders():
        found = os.statvfs(folder)
        assert (found.f_blocks * found.f_frsize, found.f_files) == (16 * MB, 1024)
        assert found.f_flag & os.ST_NOSUID and found.f_flag & os.ST_NODEV and found.f_flag & os.ST_NOEXEC


def test_files_can_be_used_as_anywhere(each_grader, result):
    assert result(each_grader, FILES, "('texts', ['b'])") == PASSED


def test_folders_can_be_used_as_anywhere(any_grader, result):
    expected = "([[['b'], []], [[], ['c']]], [])"
    assert result(any_grader, FOLDERS, expected) == PASSED


def test_what_a_program_writes_never_reaches_the_folder_outside(result):
    with Grader(1, bubblewrap=False) as made:
        before = outer(made).stat()
        assert result(made, FILES, "('texts', ['b'])") == PASSED
        assert outer(made).stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("keep", ["None", "os.unlink(str(n))"])
def test_a_program_learns_that_its_scratch_is_full(any_grader, result, keep):
    program = (
        "import os\n"
        "def f():\n"
        "    files = []\n"
        "    for n in range(480):\n"
        "        files.append(open(str(n), 'wb', 0))\n"
        f"        {keep}\n"
        "        try: files[-1].write(bytes(1 << 20))\n"
        "        except OSError as error: return len(files) <= 17, error.errno\n"
    )
    assert result(any_grader, program, f"(True, {errno.ENOSPC})") == PASSED


def test_no_process_in_the_sandbox_has_a_capability(each_grader):
    each_grader.process_groups()  # wait until the workers are idle
    for one in each_grader._pool.workers():
        child = one.oldest_child()
        zygote = int(Path(f"/proc/{child}/status").read_text().split("PPid:")[1].split()[0])
        for process in (child, zygote):
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
            held = {line.split()[0]: int(line.split()[1], 16) for line in lines if line.startswith("Cap")}
            assert [held[name] for name in ("CapInh:", "CapPrm:", "CapEff:", "CapAmb:")] == [0] * 4


ORDINARY = """
import os
from tutee_grader import Assignment, Grader
from tutee_grader.forms.calls import CallTest
program = "import os\\ndef f():\\n    os.makedirs('a/b')\\n    return os.getuid(), os.stat('a').st_uid"
with Grader(1, bubblewrap={bubblewrap}) as grader:
    assignment = Assignment("a", "", "calls", (CallTest("f()", "f()", (1234, 1234)),))
    print(grader.protections["scratch"], grader.grade([(assignment, program)])[0].grade)
    print([os.listdir(folder) for folder in grader.scratch_folders()])
"""


@pytest.mark.parametrize("bubblewrap", [False, True])
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is missing: apt-get install util-linux")
def test_an_ordinary_user_has_one_too(bubblewrap):
    if bubblewrap and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    done = as_ordinary_user(ORDINARY.format(bubblewrap=bubblewrap))
    assert done == "tmpfs 100.0\n[[], []]\n"


def as_ordinary_user(code: str, *arguments: str) -> str:
    command = [
        "unshare",
        "--user",
        "--map-user=1234",
        "--map-group=1234",
        sys.executable,
        "-c",
        code,
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "unshare" in done.stderr:
        pytest.skip(f"user namespaces are forbidden here (sysctl): {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- a folder instead -------------------------------------------------------------------------------------


def test_a_refused_file_system_is_said(refused):
    assert refused.protections["scratch"] == "folder"
    assert "No such file" in refused.protections["scratch error"]
    rows = {name: (active, words) for name, active, words in protections(bubblewrap=False)}
    assert rows["scratch"][0] is False
    assert "No such file" in rows["scratch"][1]


def test_in_a_plain_folder_no_folder_can_be_made(refused, result):
    assert "PermissionError" in result(refused, "import os\ndef f(): os.mkdir('x')")


FILL = """
import ctypes, os
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
def f():
    total = 0
    try:
        for n in range(100_000):
            file = os.open(str(n), os.O_RDWR | os.O_CREAT)
            {keep}
            total += os.write(file, bytes({size}))
            {close}
    except OSError:
        pass
    while total > 16 << 20 or {waits}: pass
    return total
"""


@pytest.mark.parametrize(
    ("size", "keep", "close", "waits"),
    [
        (MB, "pass", "os.close(file)", False),  # files that are there
        (0, "pass", "os.close(file)", True),  # so many that they count without a byte in them
        (MB, "os.unlink(str(n))", "libc.mmap(None, 4096, 1, 2, file, 0), os.close(file)", True),  # mapped
    ],
    ids=["files", "empty files", "removed files that are mapped"],
)
def test_a_program_that_fills_a_plain_folder_is_ended(refused, result, size, keep, close, waits):
    program = FILL.format(size=size, keep=keep, close=close, waits=waits)
    assert "output" in result(refused, program)


def test_removed_files_that_are_open_cannot_fill_a_plain_folder(refused, result):
    program = FILL.format(size=MB, keep="os.unlink(str(n))", close="pass", waits=False)
    assert result(refused, program.replace("return total", "return 0 < total <= 16 << 20"), "True") == PASSED


def test_a_script_prints_as_much_as_it_may(any_grader):
    text = "x" * (MAX_OUTPUT_KB * 1024 - 1) + "\n"
    script = printing(text, MAX_OUTPUT_KB)
    more, exact = f"print('x' * {len(text)})", f"print('x' * {len(text) - 1})"
    verdicts = any_grader.grade([(script, program) for program in (exact, more)])
    assert [verdict.tests[0].outcome for verdict in verdicts] == ["passed", "output limit"]


def test_a_script_whose_output_does_not_fit_a_plain_folder_is_told_so(refused):
    script = printing("x\n", MAX_OUTPUT_KB)
    (verdict,) = refused.grade([(script, f"print('x' * {MB})")])
    assert verdict.tests[0].outcome == "output limit"


def printing(text: str, output_kb: int) -> Assignment:
    limits = Limits(seconds=5, output_kb=output_kb)
    return Assignment("script", "", "stdio", (ScriptTest("no input", "", text),), limits=limits)


@pytest.mark.parametrize("attack", SCRATCH, ids=lambda attack: attack.name)
def test_an_attack_on_a_plain_folder_is_held_off(refused, attack):
    with lay_decoys() as decoys:
        assert run_attack(refused, attack, decoys).problems == ()


def test_the_check_of_a_plain_folder_looks_at_each_entry_once(monkeypatch):
    folder = ScratchFolder()
    deep = Path(folder.path)
    for _ in range(100):
        deep /= "d"
        deep.mkdir()
    looked = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (looked.append(path), scandir(path))[1])
    assert not folder.is_full(os.getpid())
    assert looked == [folder.path]
    folder.remove()


# --- cleaning ---------------------------------------------------------------------------------------------


def plant(folder: Path, kind: str) -> None:
    """A leftover of a killed run."""
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    if kind in ("deep", "closed"):
        for number in range(3000):
            os.mkdir(str(number % 10), dir_fd=here)
            inner = os.open(str(number % 10), os.O_RDONLY, dir_fd=here)
            if kind == "closed":
                os.fchmod(here, 0)
            os.close(here)
            here = inner
    elif kind == "names":
        for number in (*range(1, 47), *range(48, 256)):
            os.mkdir(bytes([number, number, number]), dir_fd=here)
            os.close(os.open(bytes([number, number]) * 100, os.O_CREAT, dir_fd=here))
        for number in range(50):
            (folder / f"{number}" / f"{number + 1}").mkdir(parents=True)
        os.symlink("/etc", "link", dir_fd=here)
        os.mkfifo("pipe", dir_fd=here)
    elif kind == "wide":
        for number in range(3000):
            os.mkdir(str(number), dir_fd=here)
    os.close(here)


KINDS = ("deep", "closed", "names", "wide")


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Path]:
    """A folder for leftovers: what stays there when a test fails would make pytest itself fail."""
    yield tmp_path
    subprocess.run(["chmod", "-R", "u+rwx", tmp_path], check=True)
    subprocess.run(["rm", "-rf", tmp_path], check=True)


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leftover counts as one at once."""
    monkeypatch.setattr(scratch_folder, "STALE_S", 0.0)
    monkeypatch.setattr(scratch_folder, "SWEEP_S", 60.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_leftover_of_any_kind_is_swept(parent, stale, kind):
    plant(parent / f"{PREFIX}a", kind)
    sweep(str(parent))
    assert list(parent.iterdir()) == []


SWEEP = """
import os, sys
from tutee_grader.sandbox import scratch_folder
assert os.getuid() == 1234 and "CapEff:\\t0000000000000000" in open("/proc/self/status").read()
scratch_folder.STALE_S, scratch_folder.SWEEP_S = 0, 60
scratch_folder.sweep(sys.argv[1])
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is missing: apt-get install util-linux")
def test_an_ordinary_user_sweeps_as_well(parent, kind):
    plant(parent / f"{PREFIX}a", kind)
    as_ordinary_user(SWEEP, str(parent))
    assert list(parent.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_leftover_too_large_to_sweep_at_once_shrinks_each_time(parent, stale, monkeypatch, kind):
    monkeypatch.setattr(scratch_folder, "SWEEP_MOST", 500)
    plant(parent / f"{PREFIX}a", kind)
    times = 0
    while list(parent.iterdir()):
        sweep(str(parent))
        times += 1
        assert times <= 20
    assert times > (kind != "names")


def test_nothing_else_is_swept(parent, stale):
    target = parent / "target"
    target.mkdir()
    (target / "file").touch()
    (parent / f"{PREFIX}link").symlink_to(target)
    (parent / f"{PREFIX}file").touch()
    (parent / "other").mkdir()
    before = sorted(parent.rglob("*"))
    sweep(str(parent))
    assert sorted(parent.rglob("*")) == before


def test_the_folder_of_another_user_is_not_swept(parent, stale):
    folder = parent / f"{PREFIX}a"
    folder.mkdir()
    try:
        os.chown(folder, os.geteuid() + 1, -1)
    except OSError:
        pytest.skip("only root can make a folder of another user")
    sweep(str(parent))
    assert folder.is_dir()


def test_the_folder_of_a_killed_caller_is_swept_and_none_in_use(stale, grader):
    code = (
        "import os, signal\n"
        "from tutee_grader import Grader\n"
        "grader = Grader(1, bubblewrap=False)\n"
        "print(grader._pool.workers()[0].scratch.path, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    left = Path(done.stdout.strip())
    assert left.is_dir()
    Grader(1, bubblewrap=False).close()
    assert not left.exists()
    assert all(Path(one.scratch.path).is_dir() for one in grader._pool.workers())


def test_closing_leaves_no_folder(refused):
    made = Grader(1, bubblewrap=False)
    left = outer(made)
    assert left.is_dir()
    made.close()
    assert not left.exists()


def test_a_grader_that_is_forgotten_leaves_no_folder():
    code = (
        "from tutee_grader import Grader\n"
        "g = Grader(1, bubblewrap=False)\n"
        "print(g._pool.workers()[0].scratch.path)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() and not Path(done.stdout.strip()).exists()


@pytest.mark.parametrize("kind", KINDS)
def test_cleaning_stops_where_it_is_told_to(parent, kind):
    folder = parent / "a"
    plant(folder, kind)
    folder.chmod(0o700)
    assert not scratch.clean(str(folder), most=100)
    assert scratch.clean(str(folder), most=10_000)
    assert list(folder.iterdir()) == []
    assert not scratch.clean(str(parent / "missing"))


def test_folders_that_nobody_may_enter_cost_no_worker(any_grader, result):
    program = "import os\ndef f():\n    os.mkdir('x', 0)\n    os.umask(0o777)\n    os.mkdir('y')"
    assert result(any_grader, "def f(): pass") == PASSED  # so that every worker is started
    groups = any_grader.process_groups()
    assert result(any_grader, program) == PASSED
    assert any_grader.process_groups() == groups
