"""The bodies of requests and responses, checked where they come in."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_ATTEMPTS = 50
MOST_CHARACTERS = 20_000
# Room for the longest history that passes, each character escaped to six bytes in JSON.
MOST_BYTES = 2 * MOST_ATTEMPTS * MOST_CHARACTERS * 6

Text = Annotated[str, Field(max_length=MOST_CHARACTERS)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Attempt(_Request):
    """A program that was handed in, and the feedback it got; left out, the grader gives it."""

    code: Text
    feedback: Text | None = None


class NextSubmissionRequest(_Request):
    """Where the student stands: the assignment, and its attempts so far, oldest first.

    Temperature 0 takes the likeliest program; above it programs are drawn, and the same seed draws
    the same program.
    """

    assignment: str = Field(max_length=200)
    history: list[Attempt] = Field(default_factory=list, max_length=MOST_ATTEMPTS)
    temperature: Temperature = 0.0
    seed: Seed | None = None


class GradedSubmission(BaseModel):
    """What the real grader says of a program: grade (0 to 100), status, and the feedback a student sees."""

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


class Part(BaseModel):
    """A part of a chat message; only text is understood."""

    type: Literal["text"]
    text: Text


class Message(BaseModel):
    """A chat message: the tutor is the user, the learner the assistant."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[Part]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(_Request):
    include_usage: bool = False


class ChatRequest(_Request):
    """What OpenAI's clients send. A field that would change the answer and is not done here is refused."""

    model: str
    messages: list[Message] = Field(min_length=1, max_length=2 * MOST_ATTEMPTS + 2)
    temperature: Temperature = 1.0
    seed: Seed | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] = 1
    top_p: Literal[1] = 1
    user: str | None = None
