"""Measures learners on topics that they did not train on: how often they ask, and each part of the reward."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutee_evaluator.metrics.bootstrap import resample
from tutee_evaluator.report.tables import with_interval
from tutee_grader.errors import InputError
from tutee_trainer.adapters import load_adapter
from tutee_trainer.learner.config import LearnerConfig, check_lengths
from tutee_trainer.learner.conversation import Conversation, answers_of, play
from tutee_trainer.learner.judge import Judge
from tutee_trainer.learner.parts import PARTS
from tutee_trainer.learner.reward import JUDGE, score_parts
from tutee_trainer.learner.speech import words
from tutee_trainer.learner.topics import Topic
from tutee_trainer.model import load_chat, load_model
from tutee_trainer.preset import Preset
from tutee_trainer.training import silence_libraries

RESAMPLES = 2000
FIRST = "base"  # the model that every other's difference is to


@dataclass(frozen=True)
class Measure:
    """A mean over turns, of a model or of its difference to `base`, with a 95% interval over topics."""

    model: str
    measure: str
    value: float
    low: float
    high: float
    topics: int
    turns: int


@dataclass(frozen=True)
class Evaluation:
    """`measures` of each model and of its difference to `base`, and what was said, by model."""

    measures: list[Measure]
    conversations: dict[str, list[Conversation]]

    def as_json(self) -> dict[str, Any]:
        """All of it, for a file."""
        said = {
            name: [
                {
                    "topic": one.topic.name,
                    "teacher": one.said[: len(one.turns)],
                    "student": list(map(asdict, one.turns)),
                }
                for one in conversations
            ]
            for name, conversations in self.conversations.items()
        }
        return {"measures": list(map(asdict, self.measures)), "conversations": said}


def evaluate(
    models: Mapping[str, Path],
    preset: Preset,
    base: Path,
    topics: Sequence[Topic],
    samples: int,
    seed: int,
    judge: Judge | None = None,
) -> Evaluation:
    """Plays `samples` conversations on each topic with each model, with the same seeds; measures the turns.

    `models` are folders by name: `base` is played without an adapter, every other with the one in its folder.
    Raises InputError where there are fewer than two topics, for which there is no interval.
    """
    config = preset.section("learner", LearnerConfig)
    if len(topics) < 2:
        raise InputError(f"{len(topics)} topic of split test says nothing about others; bring two or more")
    silence_libraries()
    chat = load_chat(preset, base)
    check_lengths(topics, preset, config, chat)
    conversations = {}
    for name, folder in models.items():
        model = load_model(preset, base)
        conversations[name] = play(
            topics,
            samples,
            config.system,
            config.tag,
            (model if name == FIRST else load_adapter(model, folder)).eval(),
            chat,
            preset.dialog.max_new_tokens,
            config.temperature,
            seed,
            name,
        )
    return Evaluation(measure(conversations, topics, samples, seed, judge), conversations)


def measure(
    conversations: Mapping[str, Sequence[Conversation]],
    topics: Sequence[Topic],
    samples: int,
    seed: int,
    judge: Judge | None = None,
) -> list[Measure]:
    """The measures of each model's conversations, `samples` in a row on each topic, and of the differences.

    `share that asks`: turns whose part `asks` is 1; `tokens`: of a turn; `distinct`: different turns among
    all. The rest are the parts' means. All models' topics are drawn together, so that differences are paired.
    """
    weights = resample(len(topics), RESAMPLES, seed)
    draws: dict[str, dict[str, NDArray[np.float64]]] = {}
    turns = {}
    for name, played in conversations.items():
        values = _values(played, topics, samples, judge)
        place = {topic.name: number for number, topic in enumerate(topics)}
        at = np.array([place[topic] for topic in values.pop("topic")])
        counts = weights @ np.bincount(at, minlength=len(topics))
        draws[name] = {
            what: (weights @ np.bincount(at, np.asarray(of, float), len(topics))) / counts
            for what, of in values.items()
        }
        turns[name] = len(at)
    found = []
    for name, by_measure in draws.items():
        for what, drawn in by_measure.items():
            found.append(_measure(name, what, drawn, len(topics), turns[name]))
            if name != FIRST and FIRST in draws:
                label = f"{name} - {FIRST}"
                found.append(_measure(label, what, drawn - draws[FIRST][what], len(topics), turns[name]))
    return found


def _values(
    played: Sequence[Conversation], topics: Sequence[Topic], samples: int, judge: Judge | None
) -> dict[str, list[Any]]:
    """What is averaged, a value for each turn, and the topic of each."""
    names = [*PARTS, *([JUDGE] if judge else [])]
    values: dict[str, list[Any]] = {
        name: [] for name in ("topic", "share that asks", "tokens", "distinct", *names)
    }
    seen: set[tuple[str, ...]] = set()
    for number, answers in enumerate(answers_of(played, topics)):
        parts = score_parts(answers, names, samples, judge)
        for name in names:
            values[name] += parts[name]
        values["topic"] += [answer.topic.name for answer in answers]
        values["share that asks"] += [value == 1 for value in parts["asks"]]
        values["tokens"] += [one.turns[number].tokens for one in played if number < len(one.turns)]
        for answer in answers:
            said = tuple(words(answer.spoken))
            values["distinct"].append(said not in seen)
            seen.add(said)
    return values


def _measure(model: str, what: str, draws: NDArray[np.float64], topics: int, turns: int) -> Measure:
    low, high = np.quantile(draws[1:], [0.025, 0.975])
    return Measure(model, what, float(draws[0]), float(low), float(high), topics, turns)


def table(measures: Sequence[Measure]) -> str:
    """The measures as a table for a terminal: a row each, a column for each model and difference."""
    models = list(dict.fromkeys(one.model for one in measures))
    cells = {
        (one.measure, one.model): with_interval(one.value, one.low, one.high, _form(one)) for one in measures
    }
    rows = list(dict.fromkeys(one.measure for one in measures))
    lines = [["", *models], *([row, *(cells.get((row, model), "") for model in models)] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(models) + 1)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _form(measure: Measure) -> str:
    sign = "+" if " - " in measure.model else ""
    return f"{sign}.1f" if measure.measure == "tokens" else f"{sign}.2f"
