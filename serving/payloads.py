"""The bodies of requests and responses; requests are validated here."""

from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

MAX_ATTEMPTS = 50
MAX_CHARACTERS = 20_000  # of one program, task, feedback or message
MAX_TOTAL = 200_000  # characters of a request together
MAX_SAMPLES = 32
MAX_CANDIDATES, MAX_STEPS = 16, 5  # of POST /steer
MAX_SEED = 2**32
TOO_LONG = "context_length_exceeded"  # OpenAI's code
MAX_BYTES = 2_000_000  # of a body: each of MAX_TOTAL characters escaped, and more


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character, which no program or message has")
    return text


Text = Annotated[str, Field(max_length=MAX_CHARACTERS), AfterValidator(_without_nul)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=MAX_SEED)]
Samples = Annotated[int, Field(ge=1, le=MAX_SAMPLES)]


def check_total(texts: Iterable[str | None]) -> None:
    """Raises an error of pydantic's where texts have more than MAX_TOTAL characters together."""
    total = sum(len(text or "") for text in texts)
    if total > MAX_TOTAL:
        words = f"the request has {total:,} characters, and at most {MAX_TOTAL:,} are read"
        raise PydanticCustomError(TOO_LONG, "{words}", {"words": words})


class Strict(BaseModel):
    """Rejects unknown fields, and values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class OwnAssignment(Strict):
    """An assignment of the caller's own: its task, and its tests as a course's `tests.yaml` has them.

    Of the forms of tests, `calls` and `stdio`: those need no code but the student's.
    """

    task: Text = Field(min_length=1)
    tests: dict[str, Any]


class HistoryEntry(Strict):
    """A submitted program and what the student was told about it.

    Without `feedback`, the grader gives it. `tutor` is what a tutor said after it.
    """

    code: Text
    feedback: Text | None = None
    tutor: Text | None = None


class StudentRequest(Strict):
    """An assignment, and the student's submissions to it so far, oldest first.

    `model` names a student; without it, the champion of the only course. Temperature 0 gives the likeliest
    program; above 0, programs are sampled. `n` students work on it, each with a seed of its own: the seed of
    the first is `seed`, and each next one's is one more. The same seed gives the same program.
    """

    model: str | None = Field(default=None, max_length=200)
    assignment: Annotated[str, Field(max_length=200)] | OwnAssignment
    history: list[HistoryEntry] = Field(default_factory=list, max_length=MAX_ATTEMPTS)
    n: Samples = 1
    temperature: Temperature = 1.0
    seed: Seed | None = None

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        texts = [text for entry in self.history for text in (entry.code, entry.feedback, entry.tutor)]
        if isinstance(self.assignment, OwnAssignment):
            texts.append(self.assignment.task)
        check_total(texts)
        return self


class RolloutRequest(StudentRequest):
    """The body of POST /rollout: the student submits `attempts` more programs at most."""

    attempts: int = Field(default=8, ge=1, le=MAX_ATTEMPTS)


class SteerRequest(StudentRequest):
    """The body of POST /steer: the last program of `history` is the one to go on from.

    A step is the best of `n` programs; there are `steps` at most.
    """

    history: list[HistoryEntry] = Field(min_length=1, max_length=MAX_ATTEMPTS - MAX_STEPS)
    n: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] = 8
    temperature: Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)] = 1.0
    steps: int = Field(default=3, ge=1, le=MAX_STEPS)


class GradedTest(BaseModel):
    """One test of a program: how it ended, and why."""

    name: str
    outcome: str
    message: str


class GradedSubmission(BaseModel):
    """The grader's verdict on a program: grade (0 to 100), status, feedback for the student, and tests."""

    grade: float
    status: str
    feedback: str
    tests: list[GradedTest]


class Sample(BaseModel):
    """A submission and its verdict; or the reason why the student's turn holds no program.

    `logprob` is the natural logarithm of the probability with which the student, at temperature 1, hands in
    its turn as it is written; null where the two are longer than the model can read.
    """

    sample: int
    seed: int
    attempt: int
    code: str | None
    reason: str | None
    logprob: float | None
    verdict: GradedSubmission | None


class Usage(BaseModel):
    """Tokens, as the student's model counts them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, prompt: int, completion: int) -> Self:
        """With their sum."""
        return cls(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


class NextSubmission(BaseModel):
    """The student's next programs; the model did not read `turns_left_out` of the oldest turns."""

    model: str
    samples: list[Sample]
    turns_left_out: int
    usage: Usage


class SteeredStep(BaseModel):
    """A program that is better than the one before it, and how far it is from the one to go on from.

    `tokens` and `lines` are the size of the change; `style_distance` is from 0, for the same style, to 1;
    `names_kept` is the share of its names that were there, null where one of the two is not Python.
    """

    sample: Sample
    tokens: int
    lines: int
    style_distance: float
    names_kept: float | None


class Steered(BaseModel):
    """The steps towards a right program, each graded; `reached` says whether the last one is right."""

    model: str
    reached: bool
    steps: list[SteeredStep]
    turns_left_out: int
    usage: Usage
