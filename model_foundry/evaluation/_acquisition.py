"""Learning curves over a run's checkpoints, and when a thing was learned.

Age of acquisition: log10 of the update at which the fitted curve is half-way between chance and its best
value, for surprisal between log2 V and its minimum (Chang and Bergen 2022,
https://aclanthology.org/2022.tacl-1.1, section 3; Chang, Tu and Bergen 2024,
https://arxiv.org/abs/2308.15419). The fit is a sigmoid here; its best value is taken over the updates that
were measured, and where it does not reach half-way among them there is no age.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from model_foundry.evaluation._sigmoid import Sigmoid, fit_sigmoid

Float64 = npt.NDArray[np.float64]
Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Acquisition:
    """What one curve says; NaN for what there is none of."""

    age: float
    """log10 of updates."""

    final: float
    """The last value that was measured."""

    best: float
    """The best value that was measured."""

    forgetting: float
    """How far the last value is from the best one, in the wrong direction; 0 where it is the best."""

    variability: float
    """Root mean square distance of the measured values from the fit."""

    fit: Sigmoid | None
    points: int
    """How many values were fitted: update 0 has no logarithm, so it is none of them."""


def acquire(updates_N: Float64, values_N: Float64, *, chance: float, better: Better = "lower") -> Acquisition:
    """Return what a curve says.

    Args:
        updates_N: When it was measured, ascending.
        values_N: What was measured; NaN is left out.
        chance: The value of a guess.
        better: Which values are good ones.
    """
    known = ~np.isnan(values_N)
    updates_N, values_N = updates_N[known], values_N[known]
    if not len(values_N):
        nothing = math.nan
        return Acquisition(nothing, nothing, nothing, nothing, nothing, fit=None, points=0)
    sign = 1.0 if better == "lower" else -1.0
    costs_N = sign * values_N
    logs_N = np.log10(updates_N[updates_N > 0])
    fit = fit_sigmoid(logs_N, values_N[updates_N > 0])
    age = math.nan if fit is None else _age(fit, logs_N, chance, sign)
    best = float(costs_N.min())
    return Acquisition(
        age=age,
        final=float(values_N[-1]),
        best=sign * best,
        forgetting=float(costs_N[-1]) - best,
        variability=math.nan if fit is None else fit.residual,
        fit=fit,
        points=len(logs_N),
    )


def _age(fit: Sigmoid, logs_N: Float64, chance: float, sign: float) -> float:
    """Solve ``fit(x) = (chance + best) / 2`` for x between the first and last update."""
    edges = np.array([logs_N[0], logs_N[-1]])
    begins, ends = fit(edges)
    best = sign * min(sign * float(begins), sign * float(ends))
    half = (chance + best) / 2
    if sign * best >= sign * chance or not sign * float(ends) <= sign * half <= sign * float(begins):
        return math.nan  # no better than a guess; or half-way is before the first update or after the last
    share = (half - fit.last) / (fit.first - fit.last)
    return fit.middle + math.log((1 - share) / share) / fit.slope
