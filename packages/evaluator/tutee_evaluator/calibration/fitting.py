"""The weights of a mixture at which its forecasts score best, and how well they do on other students.

The mixture's components k forecast each submission; a_k is the mean distance of a component's programs to
what the student really submitted, B_kl that between the programs of two components. With weights w the score
of the mixture is

    w a - w B w / 2,

so the model writes its samples once, and any weights can be scored (and have a gradient) from there on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np

from tutee_evaluator.engines.baselines.mix import least_weight
from tutee_evaluator.engines.gate import COMPONENTS, FEATURES, MODEL, Gate
from tutee_evaluator.forecasts import Array
from tutee_evaluator.schemas import COPY

SCORES = ("energy", "crps")  # of the code, of the grade
SHARPNESS = 20.0  # a score that is larger by 0.1 of MIX's counts 7 times as much
FOLDS = 5  # groups of students, each scored by weights that were fitted to the others


@dataclass(frozen=True)
class Forecasts:
    """Of n submissions: `to_real` is a [score, n, component], `among` is B [score, n, component, component].

    After the gate's COMPONENTS comes NEAREST, of which, with COPY, MIX is made. `features` [n, feature] are
    those of the gate, NaN where they are not known. `students` names who made each of the submissions.
    """

    to_real: Array
    among: Array
    features: Array
    students: Sequence[str]

    @classmethod
    def of(
        cls,
        distances: Sequence[Sequence[Array]],
        shares: Sequence[Sequence[Sequence[float]]],
        features: Sequence[tuple[float, ...] | None],
        students: Sequence[str],
    ) -> "Forecasts":
        """From the matrices of distances of each score and submission (`forecasts.py`).

        `shares` has of each submission how likely the programs of each component are, which follow each
        other in the matrix, before the real one.
        """
        means = [[_means(*one) for one in zip(found, shares, strict=True)] for found in distances]
        unknown = (np.nan,) * len(FEATURES)
        return cls(
            np.array([[to_real for to_real, _ in found] for found in means]),
            np.array([[among for _, among in found] for found in means]),
            np.array([unknown if one is None else one for one in features]),
            students,
        )

    def take(self, places: Sequence[int]) -> "Forecasts":
        """Those of some submissions."""
        return replace(
            self,
            to_real=self.to_real[:, places],
            among=self.among[:, places],
            features=self.features[places],
            students=[self.students[place] for place in places],
        )

    def scores(self, weights: Array) -> Array:
        """The scores [score, n] of mixtures with these weights [n, component], NEAREST's last or left out."""
        count = weights.shape[-1]
        to_real, among = self.to_real[..., :count], self.among[..., :count, :count]
        scores: Array = _scores(np.einsum, weights, to_real, among)
        return scores


def fit(forecasts: Forecasts, penalty: float) -> Gate:
    """The gate at which the larger of the scores, each as a share of MIX's, is least, by L-BFGS.

    The sum would buy one score with the other: NEAREST more often than in MIX gains more in the grade than it
    loses in the code. The maximum is a smooth one (see SHARPNESS). `penalty` is on the squares of the weights
    of the features.
    """
    import torch

    known = forecasts.features[~np.isnan(forecasts.features).any(1)]
    means = known.mean(0) if len(known) else np.zeros(len(FEATURES))
    centred = np.nan_to_num(forecasts.features - means)
    inputs = torch.tensor(np.column_stack([np.ones(len(centred)), centred]))
    count = len(COMPONENTS)
    to_real = torch.tensor(forecasts.to_real[..., :count])
    among = torch.tensor(forecasts.among[..., :count, :count])
    mixed = np.broadcast_to(_mix(forecasts), forecasts.to_real.shape[1:])
    unit = torch.tensor(forecasts.scores(mixed).mean(1))
    unit = torch.where(unit > 0, unit, torch.ones_like(unit))
    weights = torch.zeros(len(FEATURES) + 1, count, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        chances = torch.softmax(inputs @ weights, 1)
        scores = _scores(torch.einsum, chances, to_real, among)
        larger = torch.logsumexp(SHARPNESS * scores.mean(1) / unit, 0) / SHARPNESS
        value = larger + penalty * (weights[1:] ** 2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    fitted = weights.detach().numpy()
    return Gate(
        tuple(means.tolist()),
        {component: tuple(fitted[:, at].tolist()) for at, component in enumerate(COMPONENTS)},
    )


def cross_validate(forecasts: Forecasts, penalty: float) -> dict[str, float]:
    """The skill over MIX of the mixture, and of the model alone, on students that neither was fitted to.

    By keys such as `energy_skill_over_mix` and `model_energy_skill_over_mix`; none where there are fewer
    students than FOLDS.
    """
    students = sorted(set(forecasts.students))
    if len(students) < FOLDS:
        return {}
    Random(0).shuffle(students)
    fold = {student: at % FOLDS for at, student in enumerate(students)}
    model = np.array([component == MODEL for component in COMPONENTS], float)
    totals = {name: np.zeros(len(SCORES)) for name in ("", "model_", "mix")}
    for number in range(FOLDS):
        left = [at for at, student in enumerate(forecasts.students) if fold[student] != number]
        out = [at for at, student in enumerate(forecasts.students) if fold[student] == number]
        others, mine = forecasts.take(left), forecasts.take(out)
        gate = fit(others, penalty)
        mixed = [list(gate.chances(None if np.isnan(one).any() else one).values()) for one in mine.features]
        for name, weights in (("", np.array(mixed)), ("model_", model), ("mix", _mix(others))):
            totals[name] += mine.scores(np.broadcast_to(weights, (len(out), np.shape(weights)[-1]))).sum(1)
    opponent = totals.pop("mix")
    return {
        f"{name}{score}_skill_over_mix": float(1 - total[at] / opponent[at]) if opponent[at] else 0.0
        for name, total in totals.items()
        for at, score in enumerate(SCORES)
    }


def _scores(einsum: Callable[..., Any], weights: Any, to_real: Any, among: Any) -> Any:
    """w a - w B w / 2 of each score and submission, by the `einsum` of numpy or of torch."""
    spread = einsum("nk,snkl,nl->sn", weights, among, weights)
    return einsum("nk,snk->sn", weights, to_real) - spread / 2


def _mix(forecasts: Forecasts) -> Array:
    """The weights [component] of the baseline MIX (`baselines/mix.py`)."""
    copy, nearest = COMPONENTS.index(COPY), len(COMPONENTS)
    to_real, among = forecasts.to_real[0].mean(0), forecasts.among[0].mean(0)
    between = among[copy, nearest]
    weight = least_weight(to_real[nearest] - to_real[copy] - between, between - among[nearest, nearest] / 2)
    weights = np.zeros(len(COMPONENTS) + 1)
    weights[[copy, nearest]] = 1 - weight, weight
    return weights


def _means(distances: Array, shares: Sequence[Sequence[float]]) -> tuple[Array, Array]:
    """The mean distances of the components to the real program, and between the components' programs.

    Look-ups draw from their programs, so that two draws may be the same one; of the model two
    different samples are compared: fair, whatever their number.
    """
    weights = np.zeros((len(shares), len(distances) - 1))
    ends = np.cumsum([0, *map(len, shares)])
    for component, (start, end) in enumerate(pairwise(ends)):
        weights[component, start:end] = shares[component]
    to_real, among = weights @ distances[:-1, -1], weights @ distances[:-1, :-1] @ weights.T
    model, drawn = COMPONENTS.index(MODEL), len(shares[COMPONENTS.index(MODEL)])
    among[model, model] *= drawn / (drawn - 1)
    return to_real, among
