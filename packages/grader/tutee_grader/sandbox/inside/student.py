"""The student's process: reads one program and its inputs, runs them, writes results, ends.

Student code can reach everything here; so it holds nothing worth stealing (no expected value), and nothing
it writes is trusted. The request is one marshalled tuple; each answer is one line of
JSON:
    ["c"] it compiles        ["n", type, message, line] it does not
    ["l"] it is loaded       ["x", type, message, line] it stopped while loading
    for each test: ["v", [values]], ["s", stdout, null or [type, message, line]], ["e", type, message, line],
    or ["o"] for output over the limit
"""

import builtins
import io
import marshal
import os
import random
import sys
import types
from collections.abc import Callable

import channel as channels
import confinement
import object_server
from values import ValueTooLargeError, encode, iterated, quote

PROGRAM = "program.py"
MAX_MESSAGE = 400
SEED = 0  # of `random`, for every program


class OutputLimitError(BaseException):
    """The program printed more than it may."""


class Output(io.BytesIO):
    """What a program prints, up to a limit."""

    limit = 0
    full = False

    def write(self, data: object) -> int:
        if self.tell() + len(data) > self.limit:  # type: ignore[arg-type]
            self.full = True
            raise OutputLimitError
        return super().write(data)  # type: ignore[arg-type]

    def close(self) -> None:
        pass


def serve(channel: int, seccomp: "confinement.SeccompFilter | None") -> None:
    """Confine this process, then serve the one request that will come."""
    confinement.die_with_parent()
    if seccomp is not None:
        seccomp.install()
    mode, source, memory_bytes, cpu_s, output_bytes, prompts, tests = marshal.loads(channels.receive(channel))
    inputs = marshal.loads(tests)
    confinement.limit_program(memory_bytes, cpu_s)
    if not prompts:
        builtins.input = silent_input

    def answer(line: str) -> None:
        channels.write(channel, line)

    try:
        try:
            code = compile(source, PROGRAM, "exec", dont_inherit=True)
        except BaseException as error:
            answer('["n",' + describe(error) + "]")
            return
        answer('["c"]')
        if mode == "stdio":
            run_scripts(code, inputs, output_bytes, answer)
        elif mode == "serve":
            object_server.ObjectServer(code, output_bytes, channel).serve()
        else:
            run_calls(code, inputs, output_bytes, answer)
    finally:
        os._exit(0)


def silent_input(prompt: object = "") -> str:
    """`input` that keeps its prompt to itself, for tests that look at the printed results only."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError("EOF when reading a line")
    return line.removesuffix("\n")


class Streams:
    """Standard input, output and error of one run of a program, in their places in `sys`."""

    def __init__(self) -> None:
        self.stdin = io.BytesIO()
        self.out = Output()
        self.errors = Output()
        text = (
            io.TextIOWrapper(self.stdin, "utf-8"),
            io.TextIOWrapper(self.out, "utf-8", "replace"),
            io.TextIOWrapper(self.errors, "utf-8", "replace"),
        )
        sys.stdin, sys.stdout, sys.stderr = text
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = text  # type: ignore[misc]


_preallocated: list[Streams] = []


def preallocate_streams() -> None:
    """In the zygote: makes the first streams of every child, which need not make its own."""
    _preallocated[:] = [Streams()]


def redirect(stdin: bytes, output_bytes: int) -> Output:
    """Fresh standard streams with this input; returns what will be printed."""
    streams = _preallocated.pop() if _preallocated else Streams()
    if stdin:
        streams.stdin.write(stdin)
        streams.stdin.seek(0)
    streams.out.limit = streams.errors.limit = output_bytes
    return streams.out


def run_calls(code: types.CodeType, tests: list, output_bytes: int, answer: Callable[[str], None]) -> None:
    out = redirect(b"", output_bytes)
    module = types.ModuleType("program")
    sys.modules["program"] = module
    namespace = module.__dict__
    try:
        exec(code, namespace)
    except BaseException as error:
        answer('["x",' + describe(error, out) + "]")
        return
    answer('["l"]')
    for calls in tests:
        if out.full:
            out = redirect(b"", output_bytes)
        out.seek(0)
        out.truncate()
        try:
            values = []
            for statements, expression, iterates in calls:
                if statements is None:
                    value = eval(expression, namespace)
                else:
                    # Names that a test binds are the test's own, and see the program's through its globals.
                    local = dict(namespace)
                    exec(statements, local)
                    value = eval(expression, local)
                values.append(encode(value, iterated if iterates else None))
            line = '["v",[' + ",".join(values) + "]]"
        except ValueTooLargeError:
            line = '["o"]'
        except BaseException as error:
            line = '["o"]' if out.full else '["e",' + describe(error) + "]"
        answer(line)


def run_scripts(
    code: types.CodeType, inputs: list[bytes], output_bytes: int, answer: Callable[[str], None]
) -> None:
    for stdin in inputs:
        out, error = run_script(code, stdin, output_bytes)
        if out.full:
            answer('["o"]')
        else:
            text = out.getvalue().decode("utf-8", "replace")
            answer('["s",' + quote(text) + "," + ("null" if error is None else "[" + error + "]") + "]")


def run_script(code: types.CodeType, stdin: bytes, output_bytes: int) -> tuple[Output, "str | None"]:
    """Run a whole program on this input; returns what it printed, and the error that ended it."""
    out = redirect(stdin, output_bytes)
    random.seed(SEED)
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    error = None
    try:
        exec(code, module.__dict__)
    except SystemExit:
        pass
    except BaseException as caught:
        error = describe(caught)
    try:
        sys.stdout.flush()
    except BaseException as caught:
        error = error or describe(caught)
    return out, error


def describe(error: BaseException, out: "Output | None" = None) -> str:
    """The exception as JSON: type, message, line of the program, whatever the exception makes of it."""
    try:
        kind = type.__dict__["__name__"].__get__(type(error))
        if isinstance(error, SyntaxError) and error.filename == PROGRAM:
            message, line = error.msg, error.lineno
        else:
            message, line = str(error), _line(error)
        if out is not None and out.full:
            kind = "OutputLimitError"
        line_text = str(int(line)) if isinstance(line, int) else "null"
        return quote(kind[:80]) + "," + quote(str(message)[:MAX_MESSAGE]) + "," + line_text
    except BaseException:
        return '"Exception","",null'


def _line(error: BaseException) -> "int | None":
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == PROGRAM:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
