"""An exception of a program as JSON, whatever the program makes of its exceptions.

None of it can raise or be malformed: classes and tracebacks are read past what a program can replace of them,
and where only its own `__str__` can tell the message, that may fail.
"""

from program_module import PROGRAM
from values import quote, type_name
from words import line_number

MAX_MESSAGE = 400

_traceback_of = BaseException.__dict__["__traceback__"].__get__
_arguments_of = BaseException.__dict__["args"].__get__
_slice = str.__getitem__


def describe(error: BaseException, kind: "str | None" = None) -> str:
    """Type, message, and line of the program or null, separated by commas; `kind` in place of the type."""
    syntax = _syntax_error(error)
    if syntax is None:
        message, line = _message(error), _line(error)
    else:
        message, line = syntax
    line_text = str(line_number(line) or "null")
    return quote(kind or type_name(type(error))) + "," + quote(message) + "," + line_text


def _syntax_error(error: BaseException) -> "tuple[str, object] | None":
    """Message and line, where it is the program's own text that does not compile."""
    try:
        if not issubclass(type(error), SyntaxError):
            return None
        filename, message, line = [
            SyntaxError.__dict__[name].__get__(error) for name in ("filename", "msg", "lineno")
        ]
        if type(filename) is str and filename == PROGRAM and type(message) is str:
            return message[:MAX_MESSAGE], line
    except BaseException:
        pass
    return None


def _message(error: BaseException) -> str:
    try:
        kind = type(error)
        arguments = _arguments_of(error)
        if len(arguments) == 1 and type(arguments[0]) is str and len(arguments[0]) > MAX_MESSAGE:
            # A long text need not be written once more before it is cut.
            if kind.__str__ is BaseException.__str__:
                return arguments[0][:MAX_MESSAGE]
            if kind.__str__ is KeyError.__str__:
                return repr(arguments[0][:MAX_MESSAGE])[:MAX_MESSAGE]
        return _slice(str(error), slice(MAX_MESSAGE))
    except BaseException:
        return ""


def _line(error: BaseException) -> object:
    """The line of the program's that is nearest to where it was raised."""
    line = None
    try:
        trace = _traceback_of(error)
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == PROGRAM:
                line = trace.tb_lineno
            trace = trace.tb_next
    except BaseException:
        pass
    return line
