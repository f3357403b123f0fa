"""SYNTHETIC_TRACES: as TRACES, on the last program of each trajectory, revealed line by line."""

from tutee_trainer.method import Method
from tutee_trainer.methods.traces import TracesConfig, arguments, train_on
from tutee_trainer.training import TrainingJob, TrainingResult


def train(job: TrainingJob) -> TrainingResult:
    """Trains on synthetic traces."""
    return train_on(job, "synthetic_traces")


METHOD = Method(
    name="synthetic_traces",
    start="base",
    learns_from="dialogs",
    section="traces",
    config=TracesConfig,
    train=train,
    arguments=arguments,
    trl_config="SFTConfig",
    optional=True,
)
