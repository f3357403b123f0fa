"""A learner to teach: `tutee learner train|evaluate`. No stage of the pipeline, which is about programs."""

from typing import Annotated

import typer

from flows.commands.stages import CourseArgument
from flows.commands.summary import count, summary_line

app = typer.Typer(no_args_is_help=True)

LearnerOption = Annotated[
    str, typer.Option(help="A file of presets/ with `dialog: {kind: learner}`, without .yaml.")
]


@app.callback()
def learner() -> None:
    """Trains a learner who answers a teacher with questions, and measures how often they ask."""


@app.command()
def train(course: CourseArgument, preset: LearnerOption = "learner-smollm2") -> None:
    """Trains a learner on the course's topics, and on its log's conversations with `start: sft`."""
    from flows.learner import train_learner
    from flows.parameters import load_learner

    for line in train_learner(load_learner(course, preset)):
        print(line, flush=True)


@app.command()
def evaluate(
    course: CourseArgument,
    preset: LearnerOption = "learner-smollm2",
    samples: Annotated[int, typer.Option(min=1, help="Conversations on each held-out topic.")] = 4,
    seed: Annotated[int, typer.Option(help="Another seed draws other conversations.")] = 0,
) -> None:
    """Measures base and learner on held-out topics: the share of turns that ask, and each part's mean."""
    import json

    from flows.learner import models_of
    from flows.parameters import load_learner
    from tutee_grader.files import atomic_file
    from tutee_trainer.learner.config import LearnerConfig, make_judge
    from tutee_trainer.learner.evaluation import evaluate, table
    from tutee_trainer.learner.topics import read_topics

    setup = load_learner(course, preset)
    places = setup.places
    with summary_line("learner") as summary:
        judge = make_judge(setup.preset.section("learner", LearnerConfig), places.judgements)
        topics = read_topics(setup.course.topics_file, "test")
        found = evaluate(models_of(setup), setup.preset, places.model("base"), topics, samples, seed, judge)
        with atomic_file(places.learner_report) as part:
            part.write_text(
                json.dumps(found.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        print(f"\n{table(found.measures)}\n")
        if judge:
            print(f"judge: {judge.counts}")
        turns = sum(len(one.turns) for played in found.conversations.values() for one in played)
        summary.text = (
            f"{count(turns, 'turns')} on {count(len(topics), 'topics')}, 95% intervals over topics "
            f"-> {places.learner_report}"
        )
