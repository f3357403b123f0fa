"""OpenAI's chat completions and models."""

import json
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.answers import Answer, answer, cut_at, logprobs, shown_so_far
from serving.chat_payloads import (
    AnswerMessage,
    ChatCompletion,
    ChatRequest,
    Choice,
    Logprobs,
    Model,
    ModelList,
)
from serving.conversation import Conversation, read_conversation
from serving.errors import ApiError, invalid_value
from serving.events import EVENT_SCHEMA, EventStream, SendEvent, begun, deadline, events_of
from serving.payloads import Usage
from serving.state import state_of
from serving.students import LoadedStudent, unknown_model
from serving.together import together
from serving.trajectory import count_tokens, read
from tutee_evaluator.engines import Completion
from tutee_evaluator.engines import Request as Turn

CHAT_S = 120.0  # deadline
SEEDS = 2**64

router = APIRouter(prefix="/v1")


@router.get("/models")
async def models(request: Request) -> ModelList:
    """The students that can be chatted with: champions, challengers, and every registered version."""
    return ModelList(data=[_model(request, name) for name in state_of(request).students.names()])


@router.get("/models/{name}")
async def model(request: Request, name: str) -> Model:
    """The model of this name."""
    names = state_of(request).students.names()
    if name not in names:
        raise unknown_model(name, names)
    return _model(request, name)


def _model(request: Request, name: str) -> Model:
    return Model(id=name, created=request.app.state.started, owned_by="tutee")


@router.post(
    "/chat/completions",
    response_model=ChatCompletion,
    responses={200: {"content": {EventStream.media_type: {"schema": EVENT_SCHEMA}}}},
)
async def completions(request: Request, body: ChatRequest) -> Response | ChatCompletion:
    """The student's next program as an assistant's message; as server-sent events with `stream`."""
    if body.stream_options and not body.stream:
        raise invalid_value("stream_options needs stream to be true", "stream_options")
    if body.stream:
        return EventStream(await begun(_stream(request, body)))
    state = state_of(request)
    with state.capacity.take(body.n or 1):
        async with deadline(CHAT_S), state.students.use(body.model) as (student, _):
            turns = await _Turns.prepare(request, body, student)
            done = await together(turns.write(number) for number in range(body.n or 1))
    choices = [turns.choice(number, completion) for number, completion in enumerate(done)]
    return ChatCompletion(**turns.head, choices=choices, usage=turns.usage(done))


class _Turns:
    """The turns that a student writes for one request."""

    def __init__(
        self, body: ChatRequest, student: LoadedStudent, conversation: Conversation, prompt: tuple[int, ...]
    ) -> None:
        self.body, self.student, self.conversation, self._prompt = body, student, conversation, prompt
        self._seed = secrets.randbits(32) if body.seed is None else body.seed
        self.head: dict[str, Any] = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": student.model,
        }

    @classmethod
    async def prepare(cls, request: Request, body: ChatRequest, student: LoadedStudent) -> "_Turns":
        """Reads the conversation; raises ApiError where the student cannot go on from it."""
        request.state.model = student.model
        if body.logprobs and not student.has_token_logprobs:
            raise invalid_value(
                f"{student.model} is a mixture with look-ups, so its tokens have no probabilities; "
                "POST /next_submission says how likely a whole submission is",
                "logprobs",
            )
        conversation = read_conversation(student.student.card, body.messages)
        prompt = await read(student.student, conversation.dialog)
        return cls(body, student, conversation, prompt.tokens)

    async def write(self, number: int, on_text: Any = None) -> Completion:
        """The turn of a choice."""
        turn = Turn(
            self.conversation.dialog,
            1.0 if self.body.temperature is None else self.body.temperature,
            (self._seed + number) % SEEDS,
            self.body.limit,
            bool(self.body.logprobs),
            self._prompt,
        )
        completion = await self.student.engine.complete(turn, on_text)
        count_tokens(self.student.model, len(self._prompt), completion.completion_tokens)
        return completion

    def answer(self, completion: Completion) -> Answer:
        return answer(self.conversation, completion, self.body.stops)

    def logprobs(self, completion: Completion) -> Logprobs | None:
        """Of the tokens, where they were asked for."""
        return logprobs(self.student.student.chat, completion) if self.body.logprobs else None

    def choice(self, number: int, completion: Completion) -> Choice:
        found = self.answer(completion)
        return Choice(
            index=number,
            message=AnswerMessage(content=found.content, refusal=found.refusal),
            logprobs=self.logprobs(completion),
            finish_reason=found.finish_reason,
        )

    def usage(self, done: list[Completion]) -> Usage:
        """The prompt is read once for all choices."""
        return Usage.of(len(self._prompt), sum(completion.completion_tokens for completion in done))


async def _stream(request: Request, body: ChatRequest) -> AsyncGenerator[str, None]:
    """The events of a stream: of whole programs token by token, of edits the program at their end."""
    state = state_of(request)
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    with state.capacity.take(body.n or 1):
        async with state.students.use(body.model) as (student, _):
            turns = await _Turns.prepare(request, body, student)

            async def write_all(send: SendEvent) -> None:
                def send_chunk(choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> None:
                    more = {"usage": usage} if with_usage else {}
                    chunk = {**turns.head, "object": "chat.completion.chunk", "choices": choices, **more}
                    send(f"data: {json.dumps(chunk)}\n\n")

                try:
                    async with deadline(CHAT_S):
                        done = await together(
                            _Piecewise(turns, number, send_chunk).write() for number in range(body.n or 1)
                        )
                    if with_usage:
                        send_chunk([], turns.usage(done).model_dump())
                except ApiError as error:
                    send(f"data: {json.dumps(error.body)}\n\n")
                finally:
                    send("data: [DONE]\n\n")

            async with aclosing(events_of(write_all)) as events:
                async for event in events:
                    yield event


class _Piecewise:
    """One choice of a stream."""

    def __init__(self, turns: _Turns, number: int, send: Any) -> None:
        self._turns, self._number, self._send = turns, number, send
        self._sent = ""

    async def write(self) -> Completion:
        """Sends the role, the pieces and the end."""
        self._delta({"role": "assistant", "content": ""})
        completion = await self._turns.write(self._number, self._on_text)
        found = self._turns.answer(completion)
        content = found.content or ""
        if not content.startswith(self._sent):
            text = f"the student's turn became unreadable: {completion.reason or 'it has several programs'}"
            raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "unreadable_turn", text)
        if content != self._sent:
            self._delta({"content": content[len(self._sent) :]})
        if found.refusal:
            self._delta({"refusal": found.refusal})
        likely = self._turns.logprobs(completion)
        self._delta({}, found.finish_reason, likely and likely.model_dump())
        return completion

    def _on_text(self, text: str) -> None:
        shown = shown_so_far(self._turns.conversation, text)
        if shown is None:
            return
        stops = self._turns.body.stops
        longest = max(map(len, stops), default=1)
        if cut_at(shown, stops) != shown:  # the rest is sent, or not, at the end
            return
        shown = shown[: len(shown) - longest + 1]  # a stop that has begun may be held back
        if shown.startswith(self._sent) and shown != self._sent:
            self._delta({"content": shown[len(self._sent) :]})
            self._sent = shown

    def _delta(self, part: dict[str, Any], finish: str | None = None, likely: Any = None) -> None:
        self._send([{"index": self._number, "delta": part, "finish_reason": finish, "logprobs": likely}])
