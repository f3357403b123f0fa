"""Errors of the service, all in the form of OpenAI's API."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from serving.payloads import TOO_LONG
from tutee_grader.errors import TuteeError


class ErrorDetail(BaseModel):
    """What is wrong: in words, of which type, in which field, and a code for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every response that is an error."""

    error: ErrorDetail


class ApiError(Exception):
    """A request that is not answered, and why."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        """As ErrorBody has it."""
        kind = "invalid_request_error" if self.status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        if self.status == HTTPStatus.TOO_MANY_REQUESTS:
            kind = "rate_limit_error"
        return {
            "error": {"message": self.message, "type": kind, "param": self.param, "code": self.code},
        }

    def response(self) -> JSONResponse:
        """The response that says it."""
        return JSONResponse(self.body, self.status, headers=self.headers)


def invalid_value(message: str, param: str | None) -> ApiError:
    """The error of a field with a wrong value."""
    return ApiError(HTTPStatus.BAD_REQUEST, "invalid_value", message, param)


def as_api_error(error: BaseException) -> ApiError:
    """What a caller is told of an error, or of a group's first: a TuteeError is the service's own lack."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ApiError):
        return error
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", str(error))


def add_handlers(app: FastAPI) -> None:
    """Has every error of `app` answered in this form. No body is logged: it holds students' programs."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(TuteeError, _api_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)


async def _api_error(_: Request, error: Exception) -> JSONResponse:
    return as_api_error(error).response()


async def _validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [(_field(problem["loc"]), problem["msg"]) for problem in error.errors()]
    text = "; ".join(f"{field}: {message}" if field else message for field, message in problems[:5])
    found = invalid_value(text, problems[0][0] or None)
    if any(problem["type"] == TOO_LONG for problem in error.errors()):
        found.code = TOO_LONG
    return found.response()


def _field(place: tuple[str | int, ...]) -> str:
    """The path of a field in the body; members of unions are no part of it, nor are places in broken JSON."""
    parts = [str(part) for part in place[1:]]
    return ".".join(part for part in parts if (part.isidentifier() and part[0].islower()) or part.isdigit())


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "_")
    return ApiError(status, code, str(error.detail), headers=error.headers).response()


async def _bug(_: Request, error: Exception) -> JSONResponse:
    """An error that nobody foresaw; what it says may hold a student's text and stays in the log."""
    text = f"the service has a bug: {type(error).__name__}; its log says where"
    return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", text).response()
