"""When students give up, which no program shows: learnt from how far real ones went."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

_MOST = 20  # attempts that are told apart; few go further


@dataclass(frozen=True)
class GivingUp:
    """How likely a student gives up after an attempt that did not solve the task.

    A logistic regression on the logarithm of the number of attempts, the grade, and whether it fell, stayed
    or rose; `weights` are its coefficients, the intercept last. None: no student gave up, so none does.
    """

    weights: tuple[float, ...] | None

    @classmethod
    def fit(cls, dialogs: pl.DataFrame) -> Self:
        """Learns from the turns of DIALOGS, of one feedback level: who is at their last one has given up.

        Where `serialize` leaves out dialogs of a single turn, so do these figures.
        """
        from sklearn.linear_model import LogisticRegression

        unsolved = (
            dialogs.select("dialog_id", grade=pl.col("turns").list.eval(pl.element().struct.field("grade")))
            .with_columns(attempts=pl.int_ranges(1, pl.col("grade").list.len() + 1))
            .explode("grade", "attempts")
            .with_columns(
                previous=pl.col("grade").shift(1).over("dialog_id"),
                last=pl.col("attempts") == pl.col("attempts").max().over("dialog_id"),
            )
            .filter(pl.col("grade") < 100)
        )
        if not unsolved["last"].any():
            return cls(None)
        if unsolved["last"].all():  # of one attempt each
            return cls((*[0.0] * len(_features(1, 0.0, None)), math.inf))
        rows = unsolved.select("attempts", "grade", "previous").iter_rows()
        features = np.array([_features(*row) for row in rows])
        fitted = LogisticRegression(max_iter=1000).fit(features, unsolved["last"].to_numpy())
        return cls((*fitted.coef_[0].tolist(), float(fitted.intercept_[0])))

    def chance(self, attempts: int, grade: float, previous: float | None) -> float:
        """Of giving up after so many attempts, the last at `grade`, after `previous` (None: the first)."""
        if self.weights is None:
            return 0.0
        features: NDArray[np.float64] = np.array([*_features(attempts, grade, previous), 1.0])
        log_odds = float(sum(w * x for w, x in zip(self.weights, features, strict=True) if x))
        return 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0


def _features(attempts: int, grade: float, previous: float | None) -> tuple[float, ...]:
    change = 0.0 if previous is None else grade - previous
    return math.log(min(attempts, _MOST)), grade / 100, float(change < 0), float(change > 0)
