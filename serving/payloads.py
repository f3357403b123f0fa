"""The bodies of requests and responses; requests are validated here."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_ATTEMPTS = 50
MAX_CHARACTERS = 20_000
# The longest valid history, with each character escaped to six bytes in JSON.
MAX_BYTES = 2 * MAX_ATTEMPTS * MAX_CHARACTERS * 6

Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class _Strict(BaseModel):
    """Rejects unknown fields."""

    model_config = ConfigDict(extra="forbid")


class HistoryEntry(_Strict):
    """A submitted program and the feedback on it; without `feedback`, the grader gives it."""

    code: Text
    feedback: Text | None = None


class NextSubmissionRequest(_Strict):
    """An assignment, and the student's submissions to it so far, oldest first.

    Temperature 0 gives the likeliest program; above 0, programs are sampled, and the same seed gives
    the same program.
    """

    assignment: str = Field(max_length=200)
    history: list[HistoryEntry] = Field(default_factory=list, max_length=MAX_ATTEMPTS)
    temperature: Temperature = 0.0
    seed: Seed | None = None


class GradedSubmission(BaseModel):
    """The grader's verdict on a program: grade (0 to 100), status, and the feedback for the student."""

    grade: float
    status: str
    feedback: str


class NextSubmission(BaseModel):
    """The student's next program and its verdict; or the reason why its turn holds no program."""

    model: str
    assignment: str
    attempt: int
    code: str | None
    reason: str | None
    verdict: GradedSubmission | None


class TextPart(BaseModel):
    """A part of a chat message; only text is supported."""

    type: Literal["text"]
    text: Text


class ChatMessage(BaseModel):
    """A message of an OpenAI chat: the tutor is the user, the student the assistant."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(_Strict):
    """OpenAI's `stream_options`."""

    include_usage: bool = False


class ChatRequest(_Strict):
    """An OpenAI chat request. Fields that this service does not support are rejected, not ignored."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=2 * MAX_ATTEMPTS + 2)
    temperature: Temperature = 1.0
    seed: Seed | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] = 1
    top_p: Literal[1] = 1
    user: str | None = None
