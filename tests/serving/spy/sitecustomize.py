"""Python imports this wherever its folder is on PYTHONPATH: it notes whom the process looks up."""

import os
import sys


def note(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.getaddrinfo", "socket.connect"):
        host = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        with open(os.environ["SPY_LOG"], "a") as log:  # noqa: PTH123 - pathlib is not imported yet
            log.write(f"{event} {host!r}\n")


sys.addaudithook(note)
