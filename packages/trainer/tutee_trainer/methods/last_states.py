"""LAST_STATES: as TRACES, on the last program of each trajectory alone."""

from tutee_trainer.method import Method
from tutee_trainer.methods.traces import TracesConfig, arguments, train_on
from tutee_trainer.training import TrainingJob, TrainingResult


def train(job: TrainingJob) -> TrainingResult:
    """Trains on last programs."""
    return train_on(job, "last_states")


METHOD = Method(
    name="last_states",
    start="base",
    learns_from="dialogs",
    section="traces",
    config=TracesConfig,
    train=train,
    arguments=arguments,
    trl_config="SFTConfig",
    optional=True,
)
