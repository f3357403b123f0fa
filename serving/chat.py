"""An OpenAI-compatible chat: the tutor writes as the user, the student answers as the assistant.

The first user message is the task. Programs of the student and feedback of the tutor follow in turn. The
answer is the student's next program, as plain text. A system message replaces the one that the student was
trained with.
"""

import json
import secrets
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse, Response, StreamingResponse

from serving.payloads import ChatRequest
from serving.students import ServedStudent, current_student
from tutee_serializer.dialogs.dialog import Dialog

chat = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


class ChatError(Exception):
    """A request that cannot be answered, with the body of an OpenAI error."""

    def __init__(self, message: str, param: str | None, code: str, status: HTTPStatus) -> None:
        super().__init__(message)
        self.body = {
            "error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}
        }
        self.status = status


def invalid_value(message: str, param: str | None) -> ChatError:
    """The error of a field with a wrong value."""
    return ChatError(message, param, "invalid_value", HTTPStatus.BAD_REQUEST)


@chat.exception_handler(ChatError)
async def error_response(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ChatError)
    return JSONResponse(error.body, error.status)


@chat.exception_handler(RequestValidationError)
async def validation_error_response(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [(".".join(map(str, problem["loc"][1:])), problem["msg"]) for problem in error.errors()]
    text = "; ".join(f"{field}: {message}" if field else message for field, message in problems)
    return await error_response(request, invalid_value(text, problems[0][0] or None))


@chat.get("/models")
async def models() -> dict[str, Any]:
    """A list of the one model."""
    return {"object": "list", "data": [model_object(current_student())]}


@chat.get("/models/{name}")
async def model(name: str) -> dict[str, Any]:
    """The model of this name."""
    student = current_student()
    check_model(student, name)
    return model_object(student)


@chat.post("/chat/completions")
async def completions(request: ChatRequest) -> Response:
    """The student's next program as an assistant message; as server-sent events with `stream`.

    A program is known only once the student's turn has ended, so a stream sends all of its lines then.
    """
    student = current_student()
    check_model(student, request.model)
    completion = await student.complete(dialog_from_chat(student, request), request.temperature, request.seed)
    head = {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": student.about.model,
    }
    content, reason = completion.program, completion.reason
    refusal = None if reason is None else f"the student's turn holds no program: {reason}"
    usage = {
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "total_tokens": completion.prompt_tokens + completion.completion_tokens,
    }
    if request.stream:
        with_usage = request.stream_options is not None and request.stream_options.include_usage
        events = stream_events(head, content, refusal, usage if with_usage else None)
        headers = {"Cache-Control": "no-cache"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


def stream_events(
    head: dict[str, Any], content: str | None, refusal: str | None, usage: dict[str, int] | None
) -> Iterator[str]:
    """The server-sent events of one answer: the role, each line of the program, the end, the usage."""

    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        body = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
        return f"data: {json.dumps(body)}\n\n"

    def delta(part: dict[str, Any], finish: str | None = None) -> str:
        return event([{"index": 0, "delta": part, "finish_reason": finish, "logprobs": None}])

    yield delta({"role": "assistant", "content": "", "refusal": refusal})
    for line in (content or "").splitlines(keepends=True):
        yield delta({"content": line})
    yield delta({}, "stop")
    if usage is not None:
        yield event([], usage=usage)
    yield "data: [DONE]\n\n"


def dialog_from_chat(student: ServedStudent, request: ChatRequest) -> Dialog:
    """The dialog of a chat.

    Raises ChatError where user and assistant do not alternate, from the task to a last user message.
    """
    messages = list(enumerate(request.messages))
    system = messages.pop(0)[1].text if messages[0][1].role in ("system", "developer") else None
    for turn, (index, message) in enumerate(messages):
        expected = "assistant" if turn % 2 else "user"
        if message.role != expected:
            raise invalid_value(
                f"messages.{index} has role {message.role!r}, expected {expected!r}: after an optional "
                "system message come the task (user), a program (assistant), feedback (user), and so on",
                f"messages.{index}.role",
            )
    if not messages or messages[-1][1].role != "user":
        raise invalid_value(
            "the last message must be the tutor's (role user): the task, or feedback on the last program",
            "messages",
        )
    task, *turns = (message.text for _, message in messages)
    return student.dialog(task, zip(turns[::2], turns[1::2], strict=True), system)


def check_model(student: ServedStudent, name: str) -> None:
    """Raises ChatError where `name` is not the served model's."""
    if name != student.about.model:
        text = f"there is no model {name[:80]!r}; there is: {student.about.model}"
        raise ChatError(text, "model", "model_not_found", HTTPStatus.NOT_FOUND)


def model_object(student: ServedStudent) -> dict[str, Any]:
    """The model as OpenAI's API describes one."""
    return {"id": student.about.model, "object": "model", "created": student.started, "owned_by": "tutee"}
