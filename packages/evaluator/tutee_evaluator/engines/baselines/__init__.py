"""Engines without a model, against which the others are compared."""

from collections.abc import Callable

import polars as pl

from tutee_evaluator.engines import Engine
from tutee_evaluator.engines.baselines.baseline import Copy
from tutee_evaluator.engines.baselines.mix import Mix
from tutee_evaluator.engines.baselines.nearest import Nearest
from tutee_evaluator.engines.baselines.transition import Transition
from tutee_evaluator.schemas import COPY, MIX, NEAREST, TRANSITION
from tutee_serializer.dialogs.levels import Feedback

# A baseline by the name of its method. It is made with the format and the feedback level of the dialogs that
# it reads, and with all of these dialogs (DIALOGS).
BASELINES: dict[str, Callable[[str, Feedback, pl.DataFrame], Engine]] = {
    COPY: Copy,
    NEAREST: Nearest,
    TRANSITION: Transition,
    MIX: Mix,
}
