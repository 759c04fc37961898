"""Least-squares fit of a sigmoid to a learning curve, in numpy alone.

    f(x) = last + (first - last) / (1 + exp(slope (x - middle))),  slope > 0

For a given slope and middle the other two solve a linear problem, so a grid over these two finds where to
begin, without a guess about the curve; Levenberg-Marquardt (Marquardt 1963) on all four ends it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

FEWEST_POINTS = 5
"""One more than there are parameters."""

_MOST_STEPS = 200
_MIDDLES, _SLOPES = 41, 25


@dataclass(frozen=True)
class Sigmoid:
    """A fitted curve."""

    first: float
    """What it comes from, far to the left."""

    last: float
    """What it goes to."""

    middle: float
    slope: float
    residual: float
    """Root mean square of what it misses the points by."""

    def __call__(self, x: Float64) -> Float64:
        """Return the curve at ``x``."""
        return _curve(np.array([self.first, self.last, self.middle, np.log(self.slope)]), x)


def fit_sigmoid(x_N: Float64, y_N: Float64) -> Sigmoid | None:
    """Return the sigmoid nearest to points; None for fewer than five, or if all have the same height."""
    if len(x_N) < FEWEST_POINTS or np.ptp(x_N) == 0 or np.ptp(y_N) == 0:
        return None
    parameters = _descended(_beginning(x_N, y_N), x_N, y_N)
    residual = float(np.sqrt(np.mean((_curve(parameters, x_N) - y_N) ** 2)))
    first, last, middle, log_slope = parameters.tolist()
    return Sigmoid(first, last, middle, float(np.exp(log_slope)), residual)


def _curve(parameters: Float64, x_N: Float64) -> Float64:
    first, last, middle, log_slope = parameters
    return np.asarray(last + (first - last) * _share(x_N, middle, log_slope))


def _share(x_N: Float64, middle: float, log_slope: float) -> Float64:
    return np.asarray(0.5 - 0.5 * np.tanh(0.5 * np.exp(log_slope) * (x_N - middle)))


def _beginning(x_N: Float64, y_N: Float64) -> Float64:
    """Return the best of a grid: middles along the points, slopes from a slow rise to a step."""
    width = float(np.ptp(x_N))
    best, lowest = np.zeros(4), np.inf
    for middle in np.linspace(x_N.min(), x_N.max(), _MIDDLES):
        for log_slope in np.log(np.geomspace(1 / width, 200 / width, _SLOPES)):
            share_N = _share(x_N, middle, log_slope)
            base = np.stack([share_N, 1 - share_N], axis=1)
            heights, *_ = np.linalg.lstsq(base, y_N, rcond=None)
            error = float(((base @ heights - y_N) ** 2).sum())
            if error < lowest:
                best, lowest = np.array([*heights, middle, log_slope]), error
    return best


def _descended(parameters: Float64, x_N: Float64, y_N: Float64) -> Float64:
    """Return where Levenberg-Marquardt leads; a step that does not lower the error is not taken.

    The middle stays within the points and the slope within the grid's, else a curve that has not bent yet
    sends both away without bound.
    """
    width = float(np.ptp(x_N))
    low = np.array([-np.inf, -np.inf, x_N.min(), -np.log(width)])
    high = np.array([np.inf, np.inf, x_N.max(), np.log(200 / width)])
    damping, error = 1e-3, float(((_curve(parameters, x_N) - y_N) ** 2).sum())
    for _ in range(_MOST_STEPS):
        jacobian, misses_N = _jacobian(parameters, x_N), y_N - _curve(parameters, x_N)
        normal = jacobian.T @ jacobian
        step = np.linalg.lstsq(
            normal + damping * np.diag(np.diag(normal) + 1e-12), jacobian.T @ misses_N, rcond=None
        )[0]
        tried = np.clip(parameters + step, low, high)
        lower = float(((_curve(tried, x_N) - y_N) ** 2).sum())
        if lower < error:
            gain, parameters, error, damping = error - lower, tried, lower, damping / 10
            if gain <= 1e-15 * error:
                break
        elif damping > 1e12:
            break
        else:
            damping *= 10
    return parameters


def _jacobian(parameters: Float64, x_N: Float64) -> Float64:
    first, last, middle, log_slope = parameters
    share_N, slope = _share(x_N, middle, log_slope), np.exp(log_slope)
    bend_N = (first - last) * share_N * (1 - share_N)
    return np.stack([share_N, 1 - share_N, slope * bend_N, -slope * (x_N - middle) * bend_N], axis=1)
