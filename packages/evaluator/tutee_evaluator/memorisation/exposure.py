"""Exposure: how much likelier a model finds a canary's secret than others of the same form.

Carlini et al., "The Secret Sharer" (arXiv 1802.08232): log2 |R| - log2 rank, where the secret is ranked among
all secrets R of its form by its likelihood. Here by sampling (their section 4.3): among ALTERNATIVES others,
so 8 bits at most, for a secret that is likelier than all of them. One that was not memorised has any rank as
likely as another: 1.42 bits in the mean, and more than b bits with a chance of 2^-b.
"""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl

from tutee_evaluator.engines import Engine, LanguageModel
from tutee_evaluator.schemas import EXPOSURES
from tutee_grader.progress import progress_bar
from tutee_serializer.dialogs.canaries import CANARY, draw_secrets, secret_of
from tutee_serializer.dialogs.dialog import Dialog

ALTERNATIVES = 255


def measure_exposures(
    method: str, make_engine: Callable[[], Engine], dialogs: pl.DataFrame, progress: bool = False
) -> pl.DataFrame:
    """EXPOSURES of a method to the canaries in DIALOGS; the engine is made only where there are some."""
    canaries = dialogs.filter(split=CANARY)
    if canaries.is_empty():
        return pl.DataFrame(schema=EXPOSURES)
    engine = make_engine()
    if not isinstance(engine, LanguageModel):
        raise TypeError(f"{method} does not know how likely a turn is, so it has no exposure")
    rows = canaries.filter(format=engine.format, feedback=engine.feedback)
    with progress_bar(f"exposure {method}", rows.height, "canaries", shown=progress) as bar:
        measured = []
        for row in rows.iter_rows(named=True):
            measured.append({"method": method, "dialog_id": row["dialog_id"], **_measure(engine, row)})
            bar.update()
    return pl.DataFrame(measured, schema=EXPOSURES)


def _measure(engine: LanguageModel, row: dict[str, Any]) -> dict[str, float | None]:
    own, *others = _likelihoods(engine, row)
    if own is None or not math.isfinite(own):
        return {"nats": None, "rank": None, "exposure": None}
    rank = 1 + sum(other is not None and other < own for other in others)
    return {"nats": own, "rank": rank, "exposure": math.log2((1 + len(others)) / rank)}


def _likelihoods(engine: LanguageModel, row: dict[str, Any]) -> Iterator[float | None]:
    """The nats of the turn with the canary's own secret, then with each alternative in its place."""
    at, own = secret_of(row)
    whole = Dialog.from_row(row)
    turn = whole.messages[at]["content"]
    before = whole.before(1 + sum(message["role"] == "assistant" for message in whole.messages[:at]))
    alternatives = draw_secrets(random.Random(f"alternatives {own}"), ALTERNATIVES + 1)
    for secret in [own, *(one for one in alternatives if one != own)][: ALTERNATIVES + 1]:
        yield engine.nats(before, turn.replace(own, secret))
