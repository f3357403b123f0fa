"""No library here may phone home. Called before any of them is imported."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tutee_trainer.preset import Preset

OFF = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def turn_off() -> None:
    """Turns every telemetry off, for this process and those it starts."""
    os.environ.update(OFF)


def stay_off_the_hub(preset: "Preset") -> None:
    """A tiny model has nothing on the hub; transformers would ask there all the same, and draw bars."""
    from tutee_trainer.preset import TinyModel

    if isinstance(preset.model, TinyModel):
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
