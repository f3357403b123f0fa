"""Checks the sandbox of this machine: which protections are in force, and whether the attacks fail."""

import contextlib
import os
import secrets
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutee_grader.assignment import Assignment, Limits
from tutee_grader.attacks import ATTACKS
from tutee_grader.attacks.attack import Attack
from tutee_grader.errors import UnavailableError
from tutee_grader.feedback import feedback
from tutee_grader.forms.asserts import ClauseTest, read_clauses
from tutee_grader.forms.calls import CallTest
from tutee_grader.forms.instructor import FileTest
from tutee_grader.forms.scoring import Leniency
from tutee_grader.forms.stdio import ScriptTest
from tutee_grader.grader import Grader
from tutee_grader.verdict import Verdict

# Where a program runs, this package and Python: none of it may appear in feedback.
_LEAKS = (" at 0x", "tutee-scratch", "/dev/shm", str(Path(__file__).parent), sys.base_prefix)
ATTACK_SECONDS = 0.2  # for one test
ATTACK_MEMORY_MB = 64
SLACK_S = 5.0  # that a busy machine may add to a deadline
HEADING = f"{'attack':<48} {'grade':>5}  {'outcome':<14} {'time':>6}  held"
DESCRIPTIONS = {
    "bubblewrap": "own namespaces: no network, no other process, no file but Python's (bubblewrap)",
    "landlock": "no file outside the scratch folder can be read or written (Landlock)",
    "seccomp": "no system call but those a small program needs: no process, socket, signal (seccomp)",
    "limits": "limits on memory, CPU time, file size, open files (rlimits)",
    "no new privileges": "no program can gain privileges",
    "no capabilities": "root has no power over the rules",
    "scratch": "files in memory, on a file system of its own that limits them (tmpfs)",
}
_JUDGED = """
import unittest
import program

class Test(unittest.TestCase):
    def test_answer(self):
        self.assertEqual(program.answer(), "@SECRET@")
"""
_ASSERTED = """
assert answer() == "@SECRET@" and "%*d" % (answer(1), 7) == "  7" and answer(1) ** answer(1) == 27
assert "x" * answer(1) == "xxx" and str(answer(1)) == "3" and sorted(answer(2)) == [1, 2]
"""
_SCORED = """
from cs110 import autograder

def test_passed():
    output, error = autograder.run_script("program.py", [])
    return 100 if "@SECRET@" in output else 0
"""


@dataclass(frozen=True, slots=True)
class AttackResult:
    """The result of one attack: `problems` is empty where the sandbox held."""

    name: str
    grade: float
    outcome: str
    wall_s: float
    problems: tuple[str, ...]

    def __str__(self) -> str:
        """A row below HEADING."""
        held = "yes" if not self.problems else "NO: " + "; ".join(self.problems)
        return f"{self.name:<48} {self.grade:>5.0f}  {self.outcome:<14} {self.wall_s:>5.2f}s  {held}"


def protections(bubblewrap: bool | None = None) -> list[tuple[str, bool, str]]:
    """Each protection, whether it is in force on this machine, and what it does or why it is missing."""
    with Grader(1, allow_weak=True, bubblewrap=bubblewrap) as grader:
        found = grader.protections
    rows = []
    for name, words in DESCRIPTIONS.items():
        reason = found.get(f"{name} error", "")
        active = found.get(name) not in (None, False, "folder")
        rows.append((name, active, f"{words} [{reason}]" if reason else words))
    return rows


def check_sandbox(
    bubblewrap: bool | None = None, attacks: Sequence[Attack] = ATTACKS
) -> Iterator[AttackResult]:
    """Runs the attacks on this machine one by one, and checks after each what it left behind.

    Raises WeakSandboxError where a protection is missing to begin with.
    """
    with lay_decoys() as decoys, Grader(1, bubblewrap=bubblewrap) as grader:
        for attack in attacks:
            yield run_attack(grader, attack, decoys)


@dataclass(frozen=True, slots=True)
class Decoys:
    """The secret that attacks look for, and the names of everything outside the sandbox that holds it."""

    names: dict[str, str]

    @property
    def file(self) -> Path:
        return Path(self.names["FILE"])

    def fill(self, text: str) -> str:
        """The text with each @NAME@ replaced."""
        for name, value in self.names.items():
            text = text.replace(f"@{name}@", value)
        return text

    def state(self) -> tuple[Any, ...]:
        """What an attack must not have changed."""
        status = self.file.stat()
        return (
            self.file.read_text(),
            status.st_mode,
            status.st_mtime_ns,
            sorted(Path(self.names["FOLDER"]).iterdir()),
        )


@contextlib.contextmanager
def lay_decoys() -> Iterator[Decoys]:
    """Put the secret into the environment, into files, and behind two sockets."""
    secret = f"secret-{secrets.token_hex(16)}"
    variable, shared, abstract = (
        f"TUTEE_{secrets.token_hex(4)}",
        f"tutee-{secrets.token_hex(8)}",
        secrets.token_hex(8),
    )
    with tempfile.TemporaryDirectory(prefix="tutee-decoys-") as folder, contextlib.ExitStack() as stack:
        file = Path(folder) / secret
        file.write_text(secret)
        if Path("/dev/shm").is_dir():
            memory = Path("/dev/shm") / shared
            memory.write_text(secret)
            stack.callback(memory.unlink)
        os.environ[variable] = secret
        stack.callback(os.environ.pop, variable)
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind(f"\0{abstract}")
        local.listen()
        for listener in (server, local):
            threading.Thread(target=_serve_secret, args=(listener, secret), daemon=True).start()
        yield Decoys(
            {
                "SECRET": secret,
                "VARIABLE": variable,
                "FILE": str(file),
                "FOLDER": folder,
                "SHARED": shared,
                "ABSTRACT": abstract,
                "PORT": str(server.getsockname()[1]),
            }
        )


def _serve_secret(listener: socket.socket, secret: str) -> None:
    with contextlib.suppress(OSError):  # closed when the decoys are removed
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(secret.encode())


def _assignment(form: str, secret: str) -> Assignment:
    limits = Limits(seconds=ATTACK_SECONDS, memory_mb=ATTACK_MEMORY_MB)
    if form == "calls":
        tests = (CallTest("answer()", "answer()", secret), CallTest("answer(1)", "answer(1)", secret))
        return Assignment("attack", "", "calls", tests, limits=limits)
    if form == "asserts":
        clauses = read_clauses(_ASSERTED.replace("@SECRET@", secret))
        asserted = tuple(ClauseTest(clause.text, clause) for clause in clauses)
        return Assignment("attack", "", "asserts", asserted, limits=limits)
    if form == "stdio":
        return Assignment("attack", "", "stdio", (ScriptTest("no input", "", secret + "\n"),), limits=limits)
    if form == "tolerant":
        printed = (ScriptTest("no input", "", f"{secret} 1.5\n2.5\n"),)
        lenient = Leniency(case="ignore", tolerance=0.1, contains=True)
        return Assignment("attack", "", "stdio", printed, leniency=lenient, limits=limits)
    source = (_JUDGED if form == "unittest" else _SCORED).replace("@SECRET@", secret)
    name = "Test.test_answer" if form == "unittest" else "test_passed"
    return Assignment("attack", "", form, (FileTest(name),), limits=limits, test_source=source)


def _honest(form: str, secret: str) -> str:
    if form == "asserts":
        return f"def answer(n=0): return ({secret!r}, 3, [2, 1])[n]"
    if form == "tolerant":
        return f"print('so:')\nprint({secret.upper()!r}, 1.54)\nprint(2.5)"
    return f"print({secret!r})" if form in ("stdio", "falcon") else f"def answer(*_): return {secret!r}"


def run_attack(grader: Grader, attack: Attack, decoys: Decoys) -> AttackResult:
    """Run one attack; check what it won, changed or left behind, and that an honest program still passes."""
    secret = decoys.names["SECRET"]
    assignment = _assignment(attack.form, secret)
    honest = (assignment, _honest(attack.form, secret))
    grader.grade([honest])  # so that every worker that is needed is started
    before = decoys.state(), _processes(grader), _descriptors()
    began = time.monotonic()
    (verdict,) = grader.grade([(assignment, decoys.fill(attack.program))])
    wall_s = time.monotonic() - began
    problems = _problems(attack, verdict, wall_s, secret, grader.protections["scratch"] == "folder")
    (after_it,) = grader.grade([honest])
    if after_it.grade != 100:
        problems.append(f"the next, honest program got {after_it.grade:.0f}: {feedback(after_it)}")
    after = decoys.state(), _processes(grader), _descriptors()
    for what, one, other in zip(("files outside", "processes", "descriptors"), before, after, strict=True):
        if one != other:
            problems.append(f"{what} changed from {one} to {other}")
    for scratch in grader.scratch_folders():
        if any(Path(scratch).iterdir()):
            problems.append("files stay in the scratch folder")
    return AttackResult(attack.name, verdict.grade, str(verdict.tests[0].outcome), wall_s, tuple(problems))


def _problems(attack: Attack, verdict: Verdict, wall_s: float, secret: str, in_folder: bool) -> list[str]:
    problems = []
    if verdict.grade != attack.grade:
        problems.append(f"it got {verdict.grade:.0f} of 100")
    outcome = (attack.in_folder if in_folder else None) or attack.outcome
    if outcome is not None and verdict.tests[0].outcome != outcome:
        problems.append(f"outcome {verdict.tests[0].outcome} instead of {outcome}")
    if wall_s > 2 * ATTACK_SECONDS + SLACK_S:
        problems.append(f"it took {wall_s:.1f} s")
    words = feedback(verdict, "full")
    if any(part in words for part in _LEAKS):
        problems.append(f"its feedback reveals something of this machine: {words!r}")
    return problems


def _processes(grader: Grader) -> int:
    """Processes in the groups of the grader's workers."""
    groups = set(grader.process_groups())
    count = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            count += os.getpgid(int(entry.name)) in groups
    return count


def _descriptors() -> int:
    if not Path("/proc/self/fd").is_dir():
        raise UnavailableError("the check needs /proc")
    return len(list(Path("/proc/self/fd").iterdir()))
