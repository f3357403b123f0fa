"""Starts a zygote whose modules know no path of this machine; run as text, by `python -c`.

Their compiled code comes over standard input, marshalled, by name: so no folder of this project is in
`sys.path`, on the command line, in a module, in a frame, or anywhere else that a program could look.
"""

import marshal
import os
import sys
from _frozen_importlib import ModuleSpec  # importlib.machinery's, without loading that
from types import CodeType, ModuleType

_MOST_BYTES = 1 << 24


class Modules:
    """Finds and loads the modules that came."""

    def __init__(self, codes: "dict[str, CodeType]") -> None:
        self._codes = codes

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        return ModuleSpec(name, self) if name in self._codes else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self._codes.pop(module.__name__), module.__dict__)


modules = Modules(marshal.loads(os.pread(0, _MOST_BYTES, 0)))
nothing = os.open("/dev/null", os.O_RDONLY)
os.dup2(nothing, 0)
os.close(nothing)
sys.orig_argv = ["python", "program.py"]
sys.executable = sys._base_executable = ""  # type: ignore[attr-defined]
sys.meta_path.insert(0, modules)

import zygote  # noqa: E402

zygote.main()
