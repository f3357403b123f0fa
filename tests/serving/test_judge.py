"""This project's own service as the judge of a learner: a student there writes programs, and no score."""

from pathlib import Path

import httpx
import pytest

from tutee_grader.errors import InputError
from tutee_trainer.learner.judge import Judge, JudgeConfig
from tutee_trainer.learner.parts import Answer
from tutee_trainer.learner.topics import Topic

LISTS = Topic(name="lists", opening="A list holds values.", terms=("list",))
TURNS = [Answer(text, LISTS, LISTS.teacher) for text in ("What is a list?", "Can it be empty?")]


def judge_of(client: httpx.Client, folder: Path, model: str) -> Judge:
    (folder / "rubric.md").write_text("Ten is a good question.")
    endpoint = {"url": f"{client.base_url}/v1", "model": model, "attempts": 1}
    config = {"endpoint": endpoint, "rubric": folder / "rubric.md", "budget": 10}
    return Judge(JudgeConfig.model_validate(config), folder / "judgements.sqlite")


def test_a_student_who_is_asked_to_judge_gives_no_score_and_does_no_harm(
    client: httpx.Client, tmp_path: Path
) -> None:
    judge = judge_of(client, tmp_path, "tutee-toy")
    assert judge.scores(TURNS, 2) == [0.5, 0.5]
    counts = judge.counts
    assert (counts.asked, counts.unreadable, counts.unanswered, counts.flat_groups) == (2, 2, 0, 1)
    again = judge_of(client, tmp_path, "tutee-toy")
    again.scores(TURNS, 2)
    assert (again.counts.asked, again.counts.cached, again.counts.unreadable) == (0, 2, 2)


def test_a_model_that_the_service_does_not_have_is_an_error_at_once(
    client: httpx.Client, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="gpt-9"):
        judge_of(client, tmp_path, "gpt-9").scores(TURNS, 2)
