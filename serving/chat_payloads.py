"""The bodies of OpenAI's chat completions, as far as an artificial student has a use for them.

A parameter that this service does not have is accepted at the value at which it changes nothing, as clients
send it, and refused at every other one.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema, model_validator

from serving.payloads import (
    MAX_ATTEMPTS,
    MAX_CHARACTERS,
    Samples,
    Strict,
    Temperature,
    Text,
    Usage,
    check_total,
)

MAX_MESSAGES = 4 * MAX_ATTEMPTS
Zero = Annotated[float, Field(ge=0, le=0)]
One = Annotated[float, Field(ge=1, le=1)]
Empty = Annotated[list[Any], Field(max_length=0)]
EmptyDict = Annotated[dict[str, Any], Field(max_length=0)]
Metadata = Annotated[dict[str, Annotated[str, Field(max_length=512)]], Field(max_length=16)]


def _is_false(value: bool) -> bool:
    if value:
        raise ValueError("is not supported; leave it out")
    return value


Never = Annotated[bool, AfterValidator(_is_false), WithJsonSchema({"const": False})]
Stop = Annotated[str, Field(min_length=1, max_length=200)]


class TextPart(Strict):
    """A part of a message; only text is supported."""

    type: Literal["text", "refusal"]
    text: Text = ""
    refusal: Text = ""


class ChatMessage(Strict):
    """A message: the tutor is the user, the student the assistant.

    An assistant's message without content, as the service answers where a turn holds no program, stands for
    no submission.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(max_length=100)] | None = None
    name: str | None = Field(default=None, max_length=64)
    refusal: Text | None = None
    tool_calls: Empty | None = None
    function_call: None = None
    audio: None = None
    annotations: Empty | None = None

    @property
    def text(self) -> str | None:
        """The text of all parts; None: there is none."""
        if self.content is None or isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content) or None

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise ValueError("a message without content; only an assistant's may have none")
        if len(self.text or "") > MAX_CHARACTERS:
            raise ValueError(f"a message has at most {MAX_CHARACTERS:,} characters")
        return self


class StreamOptions(Strict):
    """OpenAI's `stream_options`."""

    include_usage: bool = False
    include_obfuscation: Never = False


class ResponseFormat(Strict):
    """OpenAI's `response_format`; a student writes text."""

    type: Literal["text"]


class ChatRequest(Strict):
    """An OpenAI chat request.

    `model` is that of a student. `n` turns are drawn, from `seed` on. With `logprobs` come the tokens of the
    turns as the model wrote them.
    """

    model: str = Field(max_length=200)
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    temperature: Temperature | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Samples | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    metadata: Metadata | None = None
    # At their neutral values only.
    top_p: One | None = None
    top_logprobs: Zero | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    logit_bias: EmptyDict | None = None
    response_format: ResponseFormat | None = None
    tools: Empty | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    functions: Empty | None = None
    function_call: Literal["none", "auto"] | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None
    store: Never | None = None
    service_tier: Literal["auto", "default"] | None = None
    prediction: None = None
    reasoning_effort: Literal["none"] | None = None
    safety_identifier: Annotated[str, Field(max_length=512)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=512)] | None = None

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        check_total(message.text for message in self.messages)
        return self

    @property
    def limit(self) -> int | None:
        """The most tokens of a turn, by whichever of the two names it was given."""
        limits = [limit for limit in (self.max_tokens, self.max_completion_tokens) if limit]
        return min(limits, default=None)

    @property
    def stops(self) -> list[str]:
        """The texts before which the answer ends."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class TokenLogprob(BaseModel):
    """A token of a turn with its log-probability at temperature 1."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[Any] = []


class Logprobs(BaseModel):
    """The tokens of a turn as the model wrote it, with what stands around the program."""

    content: list[TokenLogprob]
    refusal: None = None


class AnswerMessage(BaseModel):
    """The student's program; or why its turn holds none."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None


class Choice(BaseModel):
    """One of the answers."""

    index: int
    message: AnswerMessage
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """OpenAI's chat completion; `model` is the version that answered."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Model(BaseModel):
    """A model as OpenAI's API describes one."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]
