"""PARA: as SFT, on the dialogs without the grader's feedback (ParaStudent, arXiv 2507.12674)."""

from tutee_trainer.method import Method
from tutee_trainer.methods.sft import SftConfig, arguments, train_on_dialogs
from tutee_trainer.training import TrainingJob, TrainingResult


def train(job: TrainingJob) -> TrainingResult:
    """Trains on the dialogs without feedback, by the preset's section `sft`."""
    return train_on_dialogs(job, "para", "none")


METHOD = Method(
    name="para",
    start="base",
    learns_from="dialogs",
    section="sft",
    config=SftConfig,
    train=train,
    arguments=arguments,
    trl_config="SFTConfig",
)
