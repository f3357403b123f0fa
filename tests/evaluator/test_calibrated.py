"""A calibrated student: how it draws which component writes, and how likely it finds a turn."""

import json
from collections import Counter
from dataclasses import replace
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutee_evaluator.engines import Completion, Request, complete
from tutee_evaluator.engines.baselines.revisions import Revision, load_revisions, save_revisions
from tutee_evaluator.engines.calibrated import Calibrated
from tutee_evaluator.engines.gate import COMPONENTS, FEATURES, Gate, features
from tutee_evaluator.engines.peers import Peers
from tutee_grader.errors import InputError
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import write_turn

FORMAT = "code"
TASK = "Write `double`."
LAST, PEER, OTHER_PEER, OWN = (f"def double(n):\n    return n {end}\n" for end in ("", "+ 2", "+ n", "* 2"))
# How likely the scripted model finds each program that it ever writes.
LIKELY = {OWN: 0.5, LAST: 0.3, PEER: 0.2}


class Scripted:
    """Stands for a trained student in these tests: writes OWN always, and claims the likelihoods LIKELY."""

    format, feedback, batch, card, chat = FORMAT, "summary", 4, None, None

    def __init__(self) -> None:
        self.waiting: list[int] = []

    def add(self, key: int, request: Request) -> None:
        self.waiting.append(key)

    def step(self) -> list[tuple[int, Completion]]:
        done, self.waiting = self.waiting, []
        return [(key, Completion(write_turn(FORMAT, None, OWN), OWN)) for key in done]

    def cancel(self, key: int) -> None:
        self.waiting.remove(key)

    def nats(self, dialog: Dialog, turn: str) -> float | None:
        likely = {write_turn(FORMAT, None, program): chance for program, chance in LIKELY.items()}
        return -log(likely[turn]) if turn in likely else 50.0

    def fits(self, dialog: Dialog) -> bool:
        return True


def history(*work: tuple[str, float], known: bool = True) -> Dialog:
    dialog = Dialog.start(FORMAT, "summary", TASK)
    for program, _ in work:
        dialog.append(program, "Not yet.")
    dialog.grades = tuple(grade for _, grade in work) if known else ()
    return dialog


def gate(
    copy: float = 0, peers: float = 0, model: float = 0, slopes: tuple[float, ...] = (0.0,) * len(FEATURES)
) -> Gate:
    """A gate with these constants, and these slopes for the model."""
    flat = (0.0,) * len(FEATURES)
    weights = {"copy": (copy, *flat), "peers": (peers, *flat), "model": (model, *slopes)}
    return Gate((0.5, 0.0, 0.0), weights)


# How likely it is that a grade of 0 rises, after two peers' that did: see `peers.py`.
RISES = (2 + 6 * (2 + 3 * (2 + 3 / 4) / 5) / 5) / 8


def student(mixed: Gate, *revisions: Revision) -> Calibrated:
    """Who looks up these revisions, or else two of the last program."""
    work = list(revisions) or [Revision(LAST, 0, PEER, 50, "a"), Revision(LAST, 0, OTHER_PEER, 50, "b")]
    return Calibrated(Scripted(), Peers({history().task: work}), mixed)


def drawn(engine: Calibrated, dialog: Dialog, times: int) -> Counter[Any]:
    completions = complete(engine, [Request(dialog, 1.0, seed) for seed in range(times)])
    return Counter(completion.program for completion in completions)


def test_each_component_writes_as_often_as_the_gate_says() -> None:
    found = drawn(student(gate(log(0.5), log(0.3), log(0.2))), history((LAST, 0)), 4000)
    shares = {program: count / 4000 for program, count in found.items()}
    rises = 0.3 * RISES
    expected = {LAST: 0.8 - rises, PEER: rises / 2, OTHER_PEER: rises / 2, OWN: 0.2}
    assert shares == pytest.approx(expected, abs=0.03)


def test_anothers_edits_are_made_in_the_last_program() -> None:
    theirs = Revision("def double(x):\n    return x \n", 0, "def double(x):\n    return x + x\n", 100, "a")
    found = drawn(student(gate(-50, 0, -50), theirs), history((LAST, 0)), 400)
    mine = "def double(n):\n    return n + n\n"
    assert set(found) == {theirs.next, mine, LAST}
    assert found[mine] == pytest.approx(found[theirs.next], rel=0.3)


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    engine, dialog = student(gate()), history((LAST, 0))
    alone = [complete(engine, [Request(dialog, 1.0, seed)])[0] for seed in range(30)]
    assert complete(engine, [Request(dialog, 1.0, seed) for seed in range(30)]) == alone
    assert len({completion.program for completion in alone}) == 4


@pytest.mark.parametrize(
    ("constants", "program"),
    [((1, 0, 0), LAST), ((0, 3, 0), PEER), ((0, 0, 1), OWN), ((0, 0, 0), LAST)],
)
def test_without_a_draw_the_likeliest_is_submitted(constants: tuple[float, ...], program: str) -> None:
    (completion,) = complete(student(gate(*constants)), [Request(history((LAST, 0)))])
    assert completion.program == program
    assert completion.content == write_turn(FORMAT, LAST, program)


def test_a_look_up_of_many_programs_is_as_likely_as_the_likeliest_of_them() -> None:
    """Peers, with 0.52, have three programs; COPY has 0.35, and the model 0.13."""
    (completion,) = complete(student(gate(0.6, 1, -0.4)), [Request(history((LAST, 0)))])
    assert completion.program == LAST


def test_the_first_program_on_a_task_is_the_models() -> None:
    engine = student(gate(copy=50))
    assert drawn(engine, history(), 20) == {OWN: 20}
    assert engine.nats(history(), write_turn(FORMAT, None, OWN)) == pytest.approx(-log(0.5))


@given(st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3)))
def test_the_likelihoods_of_all_turns_add_up_to_one(constants: tuple[float, float, float]) -> None:
    engine, dialog = student(gate(*constants)), history((LAST, 0))
    turns = [write_turn(FORMAT, LAST, program) for program in (LAST, PEER, OTHER_PEER, OWN)]
    nats = [engine.nats(dialog, turn) for turn in turns]
    assert sum(exp(-one) for one in nats if one is not None) == pytest.approx(1)


def test_what_is_mostly_drawn_again_is_as_much_less_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "nats", lambda *_: 2.0)
    rejecting = student(replace(gate(-50, -50, 0), acceptance=0.1))
    dialog = history((LAST, 0))
    assert rejecting.nats(dialog, write_turn(FORMAT, LAST, OWN)) == pytest.approx(2)
    assert rejecting.nats(dialog, write_turn(FORMAT, LAST, "def double(")) == pytest.approx(2 - log(0.1))


def test_what_the_model_breaks_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(scripted: Scripted) -> list[tuple[int, Completion]]:
        """OWN, where it is asked for one alone; otherwise the last one breaks the program."""
        keys, scripted.waiting = scripted.waiting, []
        last = OWN if len(keys) == 1 else "def double("
        return [(key, Completion("", OWN if key != keys[-1] else last)) for key in keys]

    monkeypatch.setattr(Scripted, "step", step)
    engine = student(replace(gate(-50, -50, 0), acceptance=0.0))
    assert drawn(engine, history((LAST, 0)), 2) == {OWN: 2}
    assert drawn(student(gate(-50, -50, 0)), history((LAST, 0)), 2) == {OWN: 1, "def double(": 1}


def test_a_turn_says_how_likely_the_mixture_is(monkeypatch: pytest.MonkeyPatch) -> None:
    dialog = history((LAST, 0))
    engine = student(gate())
    for seed in range(12):
        (turn,) = complete(engine, [Request(dialog, 1.0, seed, logprobs=True)])
        assert turn.logprob == pytest.approx(-engine.nats(dialog, write_turn(FORMAT, LAST, turn.program)))


def test_a_request_that_is_cancelled_is_never_done() -> None:
    engine = student(gate())
    for key in range(20):
        engine.add(key, Request(history((LAST, 0)), 1.0, key))
    for key in range(0, 20, 2):
        engine.cancel(key)
    done = []
    while collected := engine.collect():
        done += [key for key, _ in collected]
    assert sorted(done) == list(range(1, 20, 2))


def test_a_turn_too_long_for_the_model_has_no_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "nats", lambda *_: None)
    assert student(gate()).nats(history((LAST, 0)), write_turn(FORMAT, LAST, LAST)) is None


# --- the gate ------------------------------------------------------------------------------------------


def test_features_are_those_of_the_last_submission_on_the_present_task() -> None:
    assert features(history((LAST, 50))) == (0.5, 0.0, 0.0)
    assert features(history((LAST, 50), (OWN, 0), (LAST, 0))) == (0.0, 1.0, log(3))
    assert features(history()) is None


def test_a_dialog_without_grades_is_taken_for_the_mean_one() -> None:
    mixed = gate(0.3, 0.1, 0.0, slopes=(2.0, 1.0, -1.0))
    assert features(history((LAST, 50), known=False)) is None
    assert mixed.probabilities(history((LAST, 50), known=False)) == mixed.probabilities(history((LAST, 50)))
    assert mixed.probabilities(history((LAST, 90), (LAST, 80))) != mixed.probabilities(history((LAST, 50)))


@given(st.lists(st.floats(-700, 700), min_size=4, max_size=4), st.floats(0, 100))
def test_probabilities_add_up_to_one_for_all_weights(weights: list[float], grade: float) -> None:
    mixed = Gate(
        (0.5, 0.2, 1.0),
        {component: tuple(weights) for component in COMPONENTS} | {"model": (1.0, 2.0, 3.0, 4.0)},
    )
    chances = mixed.probabilities(history((LAST, grade)))
    assert sum(chances.values()) == pytest.approx(1)
    assert all(chance >= 0 for chance in chances.values())


def test_a_gate_is_read_as_it_was_written(tmp_path: Path) -> None:
    mixed = replace(gate(0.3, 0.1, 0.0, slopes=(2.0, 1.0, -1.0)), acceptance=0.25)
    mixed.save(tmp_path)
    assert Gate.load(tmp_path) == mixed


@pytest.mark.parametrize(
    "change",
    [{"means": [1, 2]}, {"weights": {}}, {"means": None}, {"means": ["x"] * 3}, {"acceptance": None}],
)
def test_a_gate_that_is_not_one_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    gate().save(tmp_path)
    file = tmp_path / "gate.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=r"gate\.json.*calibrate the student again"):
        Gate.load(tmp_path)


# --- what is looked up -----------------------------------------------------------------------------------


def test_revisions_are_read_as_they_were_written(tmp_path: Path) -> None:
    revisions = {
        "one": [Revision(LAST, 0, PEER, 50, "a"), Revision(PEER, 50, OWN, 100, "b")],
        "two": [Revision("", 0, OWN, 100, "a")],
    }
    save_revisions(revisions, tmp_path)
    read = load_revisions(tmp_path)
    assert read == revisions
    assert [one.student for found in read.values() for one in found] == ["a", "b", "a"]
