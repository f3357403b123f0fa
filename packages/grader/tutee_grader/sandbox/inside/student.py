"""The student's process: reads one program and its inputs, runs them, writes results, ends.

Student code can reach everything here; so it holds nothing worth stealing (no expected value), and nothing
it writes is trusted. The request is one marshalled tuple; each answer is one line of
JSON:
    ["c"] it compiles        ["n", type, message, line] it does not
    ["l"] it is loaded       ["x", type, message, line] it stopped while loading
    for each test: ["v", [values]], ["s", stdout, null or [type, message, line]], ["e", type, message, line],
    or ["o"] for output over the limit
    ["t"] after a test: it may have left state behind, so the next one needs another process
"""

import _thread
import builtins
import marshal
import os
import sys
import types
from collections.abc import Callable

import channel as channels
import confinement
import object_server
import streams
from exceptions import describe
from program_module import PROGRAM, loader, new_module
from scripts import Script
from values import ValueTooLargeError, encode, iterated, quote

# Python's recursion limit is reached in half of it; the system's own 8 MB would allow 40 threads at a time.
THREAD_STACK_BYTES = 2 << 20


def serve(channel: int, seccomp: "confinement.SeccompFilter | None") -> None:
    """Confine this process, then serve the one request that will come."""
    confinement.die_with_parent()
    # Read before the filter is installed, which refuses to make a script's files; nothing of it runs yet.
    mode, source, memory_bytes, cpu_s, output_bytes, prompts, tests = marshal.loads(channels.receive(channel))
    if mode != "calls":
        streams.make_files()
    if seccomp is not None:
        seccomp.install()
    inputs = marshal.loads(tests)
    _thread.stack_size(THREAD_STACK_BYTES)
    loader.source = source
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
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError("EOF when reading a line")
    return line.removesuffix("\n")


class TestNames(dict[str, object]):
    """The names that a test binds are its own; any other is the program's, as it is when it is read."""

    def __init__(self, program: "dict[str, object]") -> None:
        super().__init__(program)  # for bodies of classes, which look no further
        self._program = program
        self._own: set[str] = set()

    def __setitem__(self, name: str, value: object) -> None:
        self._own.add(name)
        super().__setitem__(name, value)

    def __getitem__(self, name: str) -> object:
        return super().__getitem__(name) if name in self._own else self._program[name]


def run_calls(code: types.CodeType, tests: list, output_bytes: int, answer: Callable[[str], None]) -> None:
    out = streams.redirect(output_bytes)
    namespace = new_module("program", "__main__").__dict__
    try:
        exec(code, namespace)
    except BaseException as error:
        answer('["x",' + describe(error, "OutputLimitError" if out.full else None) + "]")
        return
    answer('["l"]')
    for calls in tests:
        if out.full:
            out = streams.redirect(output_bytes)
        out.seek(0)
        out.truncate()
        try:
            values = []
            for statements, expression, iterates in calls:
                if statements is None:
                    value = eval(expression, namespace)
                else:
                    names = TestNames(namespace)
                    exec(statements, names)
                    value = eval(expression, names)
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
    script = Script(code, output_bytes)
    for stdin in inputs:
        printed, error = script.run(stdin)
        if printed is None:
            answer('["o"]')
        else:
            text = printed.decode("utf-8", "replace")
            answer('["s",' + quote(text) + "," + ("null" if error is None else "[" + error + "]") + "]")
        if script.leaves_state:
            answer('["t"]')
            return
