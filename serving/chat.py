"""The OpenAI-compatible chat: the tutor writes as the user, the learner answers as the assistant.

The first user message is the task. Then come, in turn, a program of the learner and what the tutor says
of it; the answer is the learner's next program, as plain text. A system message stands in for the one the
student was trained with.
"""

import json
import secrets
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import bentoml
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse, Response, StreamingResponse

from serving.payloads import ChatRequest

if TYPE_CHECKING:
    from serving.classroom import Classroom, Draw

chat = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


class ChatError(Exception):
    """A request that cannot be answered, as OpenAI's clients expect to be told."""

    def __init__(self, message: str, param: str | None, code: str, status: HTTPStatus) -> None:
        super().__init__(message)
        self.body = {
            "error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}
        }
        self.status = status


def invalid(message: str, param: str | None) -> ChatError:
    return ChatError(message, param, "invalid_value", HTTPStatus.BAD_REQUEST)


@chat.exception_handler(ChatError)
async def refuse(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ChatError)
    return JSONResponse(error.body, error.status)


@chat.exception_handler(RequestValidationError)
async def refuse_fields(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [(".".join(map(str, problem["loc"][1:])), problem["msg"]) for problem in error.errors()]
    text = "; ".join(f"{place}: {message}" if place else message for place, message in problems)
    return await refuse(request, invalid(text, problems[0][0] or None))


@chat.get("/models")
async def models() -> dict[str, Any]:
    """The one model there is."""
    room = current()
    return {"object": "list", "data": [described(room)]}


@chat.get("/models/{name}")
async def model(name: str) -> dict[str, Any]:
    room = current()
    check_model(room, name)
    return described(room)


@chat.post("/chat/completions")
async def completions(request: ChatRequest) -> Response:
    """The learner's next program as an assistant message; as server-sent events with `stream`.

    A program is known once its turn has ended, so a stream brings it line by line only then.
    """
    room = current()
    check_model(room, request.model)
    proposal = await room.propose(draw_of(room, request))
    head = {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": room.about.model,
    }
    content, reason = proposal.attempt.program, proposal.attempt.reason
    refusal = None if reason is None else f"the student's turn holds no program: {reason}"
    usage = {
        "prompt_tokens": proposal.prompt_tokens,
        "completion_tokens": proposal.turn_tokens,
        "total_tokens": proposal.prompt_tokens + proposal.turn_tokens,
    }
    if request.stream:
        with_usage = request.stream_options is not None and request.stream_options.include_usage
        events = stream(head, content, refusal, usage if with_usage else None)
        headers = {"Cache-Control": "no-cache"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


def stream(
    head: dict[str, Any], content: str | None, refusal: str | None, usage: dict[str, int] | None
) -> Iterator[str]:
    """The events of one answer."""

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


def draw_of(room: "Classroom", request: ChatRequest) -> "Draw":
    """Where the student stands in a chat; raises ChatError where the roles do not take turns."""
    from serving.classroom import Draw, Step

    messages = list(enumerate(request.messages))
    system = messages.pop(0)[1].text if messages[0][1].role in ("system", "developer") else None
    for turn, (index, message) in enumerate(messages):
        expected = "assistant" if turn % 2 else "user"
        if message.role != expected:
            raise invalid(
                f"messages.{index} has role {message.role!r}, expected {expected!r}: after an optional "
                "system message come the task (user), a program (assistant), a word on it (user), and so on",
                f"messages.{index}.role",
            )
    if not messages or messages[-1][1].role != "user":
        raise invalid(
            "the last message must be the tutor's (role user): the task, or a word on the last program",
            "messages",
        )
    texts = [message.text for _, message in messages]
    steps = [Step(program, said) for program, said in zip(texts[1::2], texts[2::2], strict=True)]
    return Draw(room.situation(texts[0], steps, system), request.temperature, request.seed)


def current() -> "Classroom":
    return bentoml.get_current_service().classroom


def check_model(room: "Classroom", name: str) -> None:
    if name != room.about.model:
        text = f"there is no model {name[:80]!r}; there is: {room.about.model}"
        raise ChatError(text, "model", "model_not_found", HTTPStatus.NOT_FOUND)


def described(room: "Classroom") -> dict[str, Any]:
    return {"id": room.about.model, "object": "model", "created": room.opened, "owned_by": "tutee"}
