"""SYNTHETIC_TRACES: as TRACES, on the last program of each trajectory, revealed line by line."""

from dataclasses import replace

from tutee_trainer.methods import traces
from tutee_trainer.training import TrainingJob, TrainingResult


def train(job: TrainingJob) -> TrainingResult:
    """Trains on synthetic traces."""
    return traces.train_on(job, "synthetic_traces")


METHOD = replace(traces.METHOD, name="synthetic_traces", train=train)
