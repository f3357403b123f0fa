"""The table of training methods. Each module of the folder `methods` is one and holds its row, `METHOD`.

This file imports none of them by name, so that a stage of the pipeline depends on its own method only.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tutee_trainer.preset import MethodConfig, Preset
    from tutee_trainer.training import TrainingJob, TrainingResult

# The arguments of a TRL configuration that are set here; the rest are TRL's defaults.
Settings = dict[str, Any]
# What a student writes (`dialog.kind` of a preset): programs to a grader, or words to a teacher.
Kind = Literal["programs", "learner"]


@dataclass(frozen=True)
class Method:
    """One method of training: the row of a module in this folder.

    `start` is the method whose model it starts from (None: random or pretrained weights). `learns_from` is
    the table it reads. `section` is the preset's section that configures it, parsed by `config`; presets
    may leave an `optional` one out, and the method is off for them. `arguments` gives TRL's arguments for a
    preset and a number of examples (None: not known yet), and `trl_config` is the class of TRL that checks
    them; both are None where TRL does not train. `candidate`: whether the gate may choose its student.
    `uses_grader`: whether training grades programs. `kinds`: in presets of which `dialog.kind` it may stand.
    """

    name: str
    start: str | None
    learns_from: Literal["dialogs", "pairs", "topics"]
    section: str
    config: type[MethodConfig]
    train: Callable[[TrainingJob], TrainingResult]
    arguments: Callable[[Preset, int | None], Settings] | None = None
    trl_config: str | None = None
    candidate: bool = False
    uses_grader: bool = False
    optional: bool = False
    kinds: tuple[Kind, ...] = ("programs",)

    @property
    def description(self) -> str:
        """The first line of the method's file, without its name."""
        first = str(sys.modules[self.train.__module__].__doc__).splitlines()[0]
        text = first.removeprefix(f"{self.name.upper()}: ")
        return text[0].upper() + text[1:]


@cache
def load_methods() -> dict[str, Method]:
    """Every method by name; each comes after the one it starts from, and those that grade come last."""
    folder = Path(__file__).parent / "methods"
    names = [module.name for module in pkgutil.iter_modules([str(folder)])]
    rows = [import_module(f"tutee_trainer.methods.{name}").METHOD for name in names]
    methods: dict[str, Method] = {row.name: row for row in rows}

    def depth(method: Method) -> int:
        return 0 if method.start is None else 1 + depth(methods[method.start])

    ordered = sorted(methods.values(), key=lambda method: (depth(method), method.uses_grader, method.name))
    return {method.name: method for method in ordered}
