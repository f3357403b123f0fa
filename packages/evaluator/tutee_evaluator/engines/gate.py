"""Which component of a calibrated student writes the next program, by where the student stands."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp, log
from pathlib import Path

from tutee_evaluator.schemas import COPY
from tutee_grader.errors import InputError
from tutee_serializer.dialogs.dialog import Dialog, opens_task

FILE = "gate.json"
PEERS = "peers"  # what training students did after programs like the last one (`peers.py`)
MODEL = "model"  # the student that was trained, on its own
COMPONENTS = (COPY, PEERS, MODEL)
FEATURES = ("grade", "grade is 0", "logarithm of the attempts")


@dataclass(frozen=True)
class Gate:
    """The probability of each of COMPONENTS: a softmax of linear functions of FEATURES.

    `weights` has, for each component, a constant and a weight for each feature, of which `means` is taken
    away first. So where features are not known, as in a chat without grades, the constants decide. Of
    the model's turns that break the syntax, `acceptance` is the share that stays (`rejection.py`).
    """

    means: tuple[float, ...]
    weights: Mapping[str, tuple[float, ...]]
    acceptance: float = 1.0

    @classmethod
    def constant(cls) -> "Gate":
        """All components are equally likely, everywhere."""
        return cls(
            (0.0,) * len(FEATURES), {component: (0.0,) * (len(FEATURES) + 1) for component in COMPONENTS}
        )

    def probabilities(self, dialog: Dialog) -> dict[str, float]:
        """Of each component, for the next program in `dialog`."""
        return self.chances(features(dialog))

    def chances(self, found: Sequence[float] | None) -> dict[str, float]:
        """Of each component, where these are the FEATURES; None: they are not known."""
        found = self.means if found is None else found
        centred = [value - mean for value, mean in zip(found, self.means, strict=True)]
        logits = {
            component: sum(
                weight * x for weight, x in zip(self.weights[component], (1.0, *centred), strict=True)
            )
            for component in COMPONENTS
        }
        highest = max(logits.values())
        odds = {component: exp(logit - highest) for component, logit in logits.items()}
        return {component: odd / sum(odds.values()) for component, odd in odds.items()}

    def save(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Gate":
        """Reads the gate in a student's folder; raises InputError where it is not one."""
        file = folder / FILE
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            gate = cls(
                _numbers(values["means"]),
                {component: _numbers(values["weights"][component]) for component in COMPONENTS},
                float(values["acceptance"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: cannot be read ({error!r}); calibrate the student again") from error
        sizes = {len(gate.means) + 1, *map(len, gate.weights.values())}
        if sizes != {len(FEATURES) + 1}:
            raise InputError(f"{file}: is not for the features {FEATURES}; calibrate the student again")
        return gate


def features(dialog: Dialog) -> tuple[float, ...] | None:
    """FEATURES of the dialog's last submission: its grade 0 to 1, whether that is 0, and the attempts so far.

    None where the grade is not known, or there is no submission on the present task.
    """
    attempts = 0
    for message in reversed(dialog.messages):
        if opens_task(message):
            break
        attempts += message["role"] == "assistant"
    grade = last_grade(dialog)
    if not attempts or grade is None:
        return None
    return grade / 100, float(grade == 0), log(attempts)


def last_grade(dialog: Dialog) -> float | None:
    """The grade of the dialog's last submission, 0 to 100; None where it is not known."""
    written = sum(message["role"] == "assistant" for message in dialog.messages)
    return dialog.grades[-1] if dialog.grades and len(dialog.grades) == written else None


def _numbers(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
