"""The module that a program becomes when it is run."""

import builtins
import sys
import types

PROGRAM = "program.py"


class Loader:
    """Gives `inspect` and `traceback` the lines of the program, which is in no file."""

    source = ""

    def get_source(self, name: str) -> str:
        return self.source


loader = Loader()


def new_module(*names: str) -> types.ModuleType:
    """An empty module for the program to run in, to be found under each of these names."""
    module = types.ModuleType(names[0])
    module.__dict__.update(__file__=PROGRAM, __loader__=loader, __builtins__=builtins)
    for name in names:
        sys.modules[name] = module
    return module
