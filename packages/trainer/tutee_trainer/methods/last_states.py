"""LAST_STATES: as TRACES, on the last program of each trajectory alone."""

from dataclasses import replace

from tutee_trainer.methods import traces
from tutee_trainer.training import TrainingJob, TrainingResult


def train(job: TrainingJob) -> TrainingResult:
    """Trains on last programs."""
    return traces.train_on(job, "last_states")


METHOD = replace(traces.METHOD, name="last_states", train=train)
