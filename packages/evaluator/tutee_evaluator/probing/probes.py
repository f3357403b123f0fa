"""Ridge and logistic probes by student-grouped folds, scored against the mean, counts and shuffled labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tutee_evaluator.metrics.bootstrap import interval, resample
from tutee_evaluator.probing.targets import COUNTS, TARGETS, Target
from tutee_grader.progress import progress_bar

Array = NDArray[np.float64]

FOLDS = 5
INNER_FOLDS = 3  # of a training part, by which the regularisation is chosen
# A rarer outcome would be missing from a fold, or from the part that it is learnt from.
LEAST_STUDENTS = 2 * FOLDS
RIDGE = tuple(10.0**power for power in range(5))  # the penalties to choose from
LOGISTIC = tuple(10.0**power for power in range(-4, 1))  # their inverses
RESAMPLES = 1000
SKILL, AUC = "skill", "auc"
COUNTS_NAME = "counts"

# One row per target, student, layer, labels and score. `student` is `counts` for the baseline of counts,
# which has no layer; `labels` is `real` or `shuffled`. `value` has a 95% interval, and so has
# `over_counts`, by how much it is more than the counts' (null for these, and for shuffled labels).
PROBES = pl.Schema(
    {
        "target": pl.String,
        "student": pl.String,
        "layer": pl.String,
        "labels": pl.String,
        "score": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "over_counts": pl.Float64,
        "over_counts_low": pl.Float64,
        "over_counts_high": pl.Float64,
        "submissions": pl.Int64,
        "students": pl.Int64,
    }
)


@dataclass(frozen=True)
class Probed:
    """PROBES, and why the targets that it lacks were not probed, by name."""

    table: pl.DataFrame
    not_probed: dict[str, str]


@dataclass(frozen=True)
class Predictions:
    """What a probe of the other folds' students says of each row, and the mean of these students' labels."""

    probe: Array
    mean: Array


def probe(
    rows: pl.DataFrame,
    states: Mapping[tuple[str, str], NDArray[np.float32]],
    targets: Sequence[Target] = TARGETS,
    seed: int = 0,
    progress: bool = False,
) -> Probed:
    """Probes the states of each (student, layer) at `rows`, a table of `find_targets`, for these targets."""
    reasons = {target.name: why_not(rows, target) for target in targets}
    probed = [target for target in targets if not reasons[target.name]]
    counts = count_features(rows)
    tables = []
    with progress_bar("probes", len(probed) * (1 + 2 * len(states)), "probes", shown=progress) as bar:
        for target in probed:
            known = rows[target.name].is_not_null().to_numpy()
            labels = rows[target.name].drop_nulls().cast(pl.Float64).to_numpy()
            scored = _Scored(target, labels, rows["student"].to_numpy()[known], seed)
            tables += scored.rows(COUNTS_NAME, None, counts[known])
            bar.update()
            for (student, layer), of in states.items():
                tables += scored.rows(student, layer, of[known])
                tables += scored.rows(student, layer, of[known], shuffled=True)
                bar.update(2)
    return Probed(
        pl.DataFrame(tables, schema=PROBES), {name: reason for name, reason in reasons.items() if reason}
    )


def count_features(rows: pl.DataFrame) -> Array:
    """COUNTS of each row, and which assignment it is."""
    return rows.select(*COUNTS, "assignment").to_dummies("assignment").to_numpy().astype(np.float64)


def predict(x: NDArray[Any], y: Array, students: NDArray[Any], is_outcome: bool, seed: int) -> Predictions:
    """Predicts the labels of each fold's students by a probe of the others; no student is on both sides.

    How much the probe is regularised is chosen within these others, again by folds of students.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.metrics import log_loss, make_scorer
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    score: Any = "neg_mean_squared_error"
    model, grid = make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": RIDGE}
    if is_outcome:
        model = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky", max_iter=50))
        grid = {"logisticregression__C": LOGISTIC}
        # A fold may lack an outcome, so the labels there are have to be named.
        score = make_scorer(
            log_loss, greater_is_better=False, response_method="predict_proba", labels=[0.0, 1.0]
        )
    probe, mean = np.empty(len(y)), np.empty(len(y))
    for train, test in folds(FOLDS, is_outcome, seed).split(x, y, students):
        search = GridSearchCV(model, grid, scoring=score, cv=folds(INNER_FOLDS, is_outcome, seed))
        search.fit(x[train], y[train], groups=students[train])
        probe[test] = search.predict_proba(x[test])[:, 1] if is_outcome else search.predict(x[test])
        mean[test] = y[train].mean()
    return Predictions(probe, mean)


def folds(count: int, is_outcome: bool, seed: int) -> Any:
    """Folds of students; with an outcome, each has about the same share of it."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    kind = StratifiedGroupKFold if is_outcome else GroupKFold
    return kind(count, shuffle=True, random_state=seed)


def why_not(rows: pl.DataFrame, target: Target) -> str | None:
    """Why the target cannot be probed; None where it can."""
    known = rows.drop_nulls(target.name)
    students = known["student"].n_unique()
    if students < LEAST_STUDENTS:
        return f"{students} students have submissions to probe at, and {LEAST_STUDENTS} are needed"
    if known[target.name].n_unique() == 1:
        return f"it is {str(known[target.name][0]).lower()} at each of {known.height} submissions"
    if target.is_outcome:
        for outcome in (True, False):
            having = known.filter(pl.col(target.name) == outcome)["student"].n_unique()
            if having < LEAST_STUDENTS:
                word = str(outcome).lower()
                return f"it is {word} for {having} students only, and {LEAST_STUDENTS} are needed"
    return None


class _Scored:
    """The rows of PROBES of one target; the counts are probed first, and the others compared with them."""

    def __init__(self, target: Target, labels: Array, students: NDArray[Any], seed: int) -> None:
        self._target, self._labels, self._students, self._seed = target, labels, students, seed
        self._names, self._of_student = np.unique(students, return_inverse=True)
        self._weights = resample(len(self._names), RESAMPLES, seed)
        self._shuffled = np.random.default_rng(seed).permutation(labels)
        self._counts: dict[str, Array] = {}

    def rows(
        self, student: str, layer: str | None, x: NDArray[Any], shuffled: bool = False
    ) -> list[dict[str, Any]]:
        """A row for each score of a probe of these features."""
        labels = self._shuffled if shuffled else self._labels
        predictions = predict(x, labels, self._students, self._target.is_outcome, self._seed)
        draws = {SKILL: self._skill(labels, predictions)}
        if self._target.is_outcome:
            draws[AUC] = auc(predictions.probe, labels > 0, self._weights[:, self._of_student])
        if student == COUNTS_NAME:
            self._counts = draws
        rows = []
        for score, found in draws.items():
            row: dict[str, Any] = {
                "target": self._target.name,
                "student": student,
                "layer": layer,
                "labels": "shuffled" if shuffled else "real",
                "score": score,
                "submissions": len(labels),
                "students": len(self._names),
            }
            row |= _with_interval(("value", "low", "high"), found)
            if student != COUNTS_NAME and not shuffled:
                names = ("over_counts", "over_counts_low", "over_counts_high")
                row |= _with_interval(names, found - self._counts[score])
            rows.append(row)
        return rows

    def _skill(self, labels: Array, predictions: Predictions) -> Array:
        loss = _log_losses if self._target.is_outcome else _squared_errors
        sums = [
            self._weights @ np.bincount(self._of_student, loss(labels, predicted), len(self._names))
            for predicted in (predictions.probe, predictions.mean)
        ]
        return 1 - sums[0] / sums[1]


def auc(predicted: Array, truth: NDArray[np.bool_], weights: Array) -> Array:
    """The area under the ROC curve for each row of weights, [resample, row]: of a true and a false one, how
    often the true one's prediction is higher; a tie counts half. NaN where a resample lacks either."""
    order = np.argsort(predicted)
    ordered, true = predicted[order], truth[order]
    positive, negative = weights[:, order] * true, weights[:, order] * ~true
    below = np.concatenate([np.zeros((len(weights), 1)), negative.cumsum(1)], axis=1)
    left, right = (np.searchsorted(ordered, ordered, side) for side in ("left", "right"))
    wins = (positive * (below[:, left] + below[:, right]) / 2).sum(1)
    pairs = positive.sum(1) * negative.sum(1)
    return np.where(pairs > 0, wins / np.where(pairs > 0, pairs, 1), np.nan)


def _squared_errors(labels: Array, predicted: Array) -> Array:
    return (labels - predicted) ** 2


def _log_losses(labels: Array, predicted: Array) -> Array:
    chance = np.clip(np.where(labels > 0, predicted, 1 - predicted), 1e-12, 1)
    return -np.log(chance)


def _with_interval(names: tuple[str, str, str], draws: Array) -> dict[str, float | None]:
    """A value, which is draw 0, and its interval, by these names; None where it is not defined."""
    values = (draws[0], *interval(draws))
    return {name: float(one) if np.isfinite(one) else None for name, one in zip(names, values, strict=True)}
