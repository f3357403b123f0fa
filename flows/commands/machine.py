"""What this machine can do."""

from typing import Annotated

import typer


def doctor(
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Try the grader's sandbox with hostile programs.")
    ] = False,
) -> None:
    """Says what this machine offers: the sandbox's protections, cores, memory, disk, GPU."""
