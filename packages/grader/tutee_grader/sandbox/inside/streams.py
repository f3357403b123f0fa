"""Standard input, output and error of a program.

A script has real files on descriptors 0 and 1, so that whatever way it reads and writes works as in a Python
of its own. Functions that tests call read nothing, and what they print is kept in memory; for them, 0 and 1
are /dev/null.
"""

import contextlib
import errno
import io
import os
import sys
from typing import Any

BUFFER_BYTES = 4096  # what Python takes for a file or a pipe


class OutputLimitError(BaseException):
    """The program printed more than it may."""


class Output(io.BytesIO):
    """What a program prints, up to a limit."""

    limit = 0
    full = False
    descriptor = 1
    name = "<stdout>"

    def write(self, data: object) -> int:
        if self.tell() + len(data) > self.limit:  # type: ignore[arg-type]
            self.full = True
            raise OutputLimitError
        return super().write(data)  # type: ignore[arg-type]

    def close(self) -> None:
        pass

    def readable(self) -> bool:
        return False

    def fileno(self) -> int:
        return self.descriptor


class ErrorOutput(Output):
    """The same for standard error."""

    descriptor = 2
    name = "<stderr>"


class NoInput(io.BytesIO):
    """Standard input that is empty."""

    name = "<stdin>"

    def fileno(self) -> int:
        return 0


class FileOutput(io.FileIO):
    """Descriptor 1, for writing up to a limit."""

    limit = 0
    written = 0
    full = False

    def write(self, data: object) -> int:
        self.written += len(data)  # type: ignore[arg-type]
        if self.written > self.limit:
            self.full = True
            raise OutputLimitError
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            # Where the scratch is a plain folder, files may be smaller than the output.
            self.full = True
            raise OutputLimitError from None


def _text(binary: Any, errors: str = "strict") -> io.TextIOWrapper:
    return io.TextIOWrapper(binary, "utf-8", errors, "\n")


class Streams:
    """The streams of a program whose functions are called."""

    def __init__(self) -> None:
        self.out = Output()
        self.errors = ErrorOutput()
        self.text = (_text(NoInput()), _text(self.out), _text(self.errors, "backslashreplace"))


class ScriptStreams:
    """The streams of a script."""

    def __init__(self) -> None:
        stdin = io.FileIO(0, "r", closefd=False)
        self.out = FileOutput(1, "w", closefd=False)
        self.errors = ErrorOutput()
        stdin.name, self.out.name = "<stdin>", "<stdout>"
        self.text = (
            _text(io.BufferedReader(stdin, BUFFER_BYTES)),
            _text(io.BufferedWriter(self.out, BUFFER_BYTES)),
            _text(self.errors, "backslashreplace"),
        )
        for text, mode in zip(self.text, "rww", strict=True):
            text.mode = mode  # type: ignore[misc]


# Made in the zygote: the first streams of every child, which need not make its own.
_preallocated: list[Streams] = []
_for_scripts: list[ScriptStreams] = []
_files: list[int] = []  # the standard input and output of this process's scripts


def preallocate_streams() -> None:
    """In the zygote: makes the first streams of every child."""
    _preallocated[:] = [Streams()]
    _for_scripts[:] = [ScriptStreams()]


def make_files() -> None:
    """Make the files that scripts read and write; to be called before the seccomp filter is installed."""
    for place, name in enumerate(("stdin", "stdout")):
        file = os.memfd_create(name, 0)
        os.dup2(file, place)
        _files.append(file)


def close_files() -> None:
    """Close them again."""
    while _files:
        os.close(_files.pop())


def redirect(output_bytes: int) -> Output:
    """Fresh standard streams without input; returns what will be printed."""
    streams = _preallocated.pop() if _preallocated else Streams()
    _install(streams, output_bytes)
    return streams.out


def redirect_script(stdin: bytes, output_bytes: int) -> ScriptStreams:
    """Standard streams of a script, with this input on descriptor 0."""
    if stdin:
        os.pwrite(_files[0], stdin, 0)
    streams = _for_scripts.pop() if _for_scripts else ScriptStreams()
    _install(streams, output_bytes)
    return streams


def _install(streams: "Streams | ScriptStreams", output_bytes: int) -> None:
    streams.out.limit = streams.errors.limit = output_bytes
    sys.stdin, sys.stdout, sys.stderr = streams.text
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = streams.text  # type: ignore[misc]


def printed(streams: ScriptStreams) -> "bytes | None":
    """What the script has written to descriptor 1, in whatever way; None where it is over the limit."""
    for stream in (getattr(sys, "stdout", None), streams.text[1]):
        with contextlib.suppress(BaseException):
            stream.flush()  # type: ignore[union-attr]
    size = os.lseek(_files[1], 0, os.SEEK_END)
    if size > streams.out.limit or streams.out.full:
        return None
    return os.pread(_files[1], size, 0)


def reset(streams: ScriptStreams) -> None:
    """After a run: make descriptors 0 and 1 as before it, and the streams where the next run can use them."""
    is_usable = False
    with contextlib.suppress(BaseException):  # closed, detached, over its limit
        for stream in streams.text[1:]:
            stream.flush()
        is_usable = not (streams.out.full or streams.errors.tell())
    for place, file in enumerate(_files):
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.dup2(file, place)
    with contextlib.suppress(BaseException):
        if is_usable:
            streams.text[0].seek(0)
            streams.out.written = 0
            _for_scripts.append(streams)
            return
    streams.out.limit = -1  # what it still holds must not come out when it is freed
