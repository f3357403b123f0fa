"""The judge's questions to the student's process, and what comes back: values, stand-ins, exceptions.

Nothing that comes back is trusted: an answer that is not one to the question ends the process.
"""

import builtins
import json
import sys
from typing import Any

from channel import ProgramEndedError
from connection import StudentConnection
from remote import Pending, Remote, UnsupportedError, carried_out, number_in_process
from values import ValueTooLargeError, decode, encode, quote
from words import error_message
from words import name as plain_name

MAX_MESSAGE = 400  # characters of an exception's text, at which the student's process cuts it, too
MAX_BASES = 20  # of an exception's class
# The parts of the answers that any question may get.
_SHAPES: dict[str, tuple[Any, ...]] = {"e": (str, str, int | None, list), "o": (), "i": (str,)}


class StoppedError(RuntimeError):
    """The program raised StopIteration; here it would end a loop of the test, as if all were well."""


def _is(part: Any, kind: Any) -> bool:
    return kind is not None and isinstance(part, kind)


class Asker:
    """Sends questions to the student's process and reads the answers."""

    def __init__(self, student: StudentConnection) -> None:
        self._student = student
        self._exceptions: dict[str, type] = {}
        self._objects: dict[int, Remote] = {}
        self._is_asking = False
        self.changed: list[Any] = []  # the arguments of the last call, as they were after it
        self.calls = 0  # since the program was loaded
        self.processes = 0  # of the program that have ended; objects of an earlier one are gone with it
        # What kept the program from answering in the present test, which cannot pass then: a test may catch
        # every exception, and a program must not win by its end.
        self.fault: BaseException | None = None
        # A name that the program lacks, where a handler of any exception caught that: see `caught`.
        self.lacked: BaseException | None = None

    def failed(self, error: BaseException) -> BaseException:
        """Note that the present test cannot pass, and why; returns the error."""
        self.fault = self.fault or error
        return error

    def caught(self) -> None:
        """A handler of any exception begins, `except Exception` or a bare one.

        It may wait for what the program raises: a program must not win by having nothing that could.
        """
        error = sys.exception()
        if getattr(error, "is_missing", False):
            self.lacked = self.lacked or error

    def ask(self, question: str, *kinds: Any) -> list[Any]:
        """The parts of the answer, which are of these types.

        Raises what the student's code raised, or ProgramEndedError.
        """
        if self._is_asking:
            raise self.failed(UnsupportedError("it uses the program while that waits for input"))
        self.calls += 1
        self._is_asking = True
        try:
            answer = self._answer(question, kinds)
            while answer[0] == "i":  # the program calls input(), which a test may have replaced
                answer = self._answer(self._input(answer[1][:MAX_MESSAGE]), kinds)
        except ProgramEndedError as ended:
            self._forget_objects()
            raise self.failed(ended) from None
        except BaseException:  # the test is over its time, in the middle of an answer
            self.renew()
            raise
        finally:
            self._is_asking = False
        if answer[0] == "o":
            raise self.failed(ProgramEndedError("output limit"))
        if answer[0] == "e":
            raise self._raised(question, *answer[1:])
        return answer[1:]

    def _answer(self, text: str, kinds: tuple[Any, ...]) -> list[Any]:
        self._student.send(text)
        try:
            answer = json.loads(self._student.receive().decode("ascii"))
        except (ValueError, RecursionError):
            answer = None
        if type(answer) is not list or not answer or type(answer[0]) is not str:
            self._student.refuse()
        wanted = kinds if answer[0] == "r" else _SHAPES.get(answer[0], (None,))
        if len(answer) != 1 + len(wanted) or not all(map(_is, answer[1:], wanted)):
            self._student.refuse()
        return answer

    def renew(self) -> None:
        """End the process: the next question is for another one."""
        self._forget_objects()
        self._student.discard()

    def _forget_objects(self) -> None:
        self.processes += 1
        self._objects.clear()

    def value(self, question: str) -> Any:
        """The answer as a value, with stand-ins for what is not plain."""
        data, changed, printed = self.ask(question, object, list, str)
        if printed:
            sys.stdout.write(printed)
        self.changed = [self.decode(item) for item in changed]
        return self.decode(data)

    def decode(self, data: Any) -> Any:
        """The value that the student's process wrote; where it is none, ends it: raises ProgramEndedError."""
        try:
            return decode(data, remote=self.remote)
        except (ValueError, RecursionError):
            self._forget_objects()
            self._student.discard()
            raise self.failed(ProgramEndedError("error")) from None

    def encode(self, value: Any) -> str:
        """A value for the student's process. Raises UnsupportedError where it cannot go there."""
        try:
            return encode(value, other=self._handle)
        except ValueTooLargeError:
            raise self.failed(UnsupportedError("it hands the program a value that is too large")) from None

    def _handle(self, value: Any) -> str:
        if type(value) is Pending:
            return encode(carried_out(value), other=self._handle)
        if type(value) is Remote:
            return f'{{"h":[{number_in_process(value)},"",""]}}'
        kind = type(value).__name__
        raise self.failed(UnsupportedError(f"it hands the program a value of type {kind}"))

    def remote(self, number: int, kind: str, bases: str) -> Any:
        """The stand-in for an object of the program: always the same one, so that `is` holds."""
        if bases:  # a class of exceptions: tests name it in assertRaises, so it must be a class here as well
            return self._exception([kind, *bases.split(" ", MAX_BASES)[:MAX_BASES]])
        if number not in self._objects:
            self._objects[number] = Remote(self, number, kind)
        return self._objects[number]

    def _exception(self, names: list[str]) -> type:
        """The class of this name, derived from those of the names after it; made at its first use."""
        name, *bases = names
        kind = getattr(builtins, name, None) if name.isidentifier() else None
        if isinstance(kind, type) and (issubclass(kind, Exception) or kind is SystemExit):
            return kind
        if name not in self._exceptions:
            parent = self._exception(bases) if bases else Exception
            self._exceptions[name] = type(plain_name(name, "Exception"), (parent,), {})
        return self._exceptions[name]

    def _raised(
        self, question: str, name: str, message: str, line: "int | None", bases: list[Any]
    ) -> BaseException:
        """The exception that the student's code raised, as one of the judge's."""
        message = message[:MAX_MESSAGE]
        kind = self._exception([name, *[base for base in bases[:MAX_BASES] if type(base) is str]])
        if issubclass(kind, StopIteration) and not question.startswith('["op","next"'):
            kind = StoppedError
        try:
            error = kind(int(message) if kind is SystemExit and message.isdecimal() else message)
        except Exception:  # UnicodeDecodeError and the like want more than a message
            error = Exception(message)
        error.student = error_message([name, message, line])
        # The program raised nothing: it lacks a name that a test asks for. An attribute may refuse to be set.
        is_setting = question.startswith('["op","setattr"')
        error.is_missing = name == "AttributeError" and line is None and not is_setting
        return self.failed(error) if name == "MemoryError" else error

    def _input(self, prompt: str) -> str:
        """The test's answer to the program's input(): a line, its end, or an exception of Python's own."""
        try:
            return '["ok",' + quote(str(builtins.input(prompt))) + "]"
        except (EOFError, StopIteration):
            return '["raise","EOFError"]'
        except AssertionError as error:  # of the test: it fails whatever the program makes of it
            self.failed(error)
            return '["raise","AssertionError"]'
        except (Exception, KeyboardInterrupt) as error:
            return f'["raise",{quote(type(error).__name__)}]'
