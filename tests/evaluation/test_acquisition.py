from __future__ import annotations

import math

import numpy as np
import pytest

from model_foundry.evaluation._acquisition import acquire
from model_foundry.evaluation._sigmoid import fit_sigmoid

UPDATES = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096], dtype=float)


def curve(x: np.ndarray, first: float, last: float, middle: float, slope: float) -> np.ndarray:
    return last + (first - last) / (1 + np.exp(slope * (x - middle)))


@pytest.mark.parametrize(
    "parameters",
    [
        (12.0, 3.0, 1.7, 4.0),  # learned half-way
        (12.0, 3.0, 0.6, 2.0),  # early
        (9.0, 8.5, 2.9, 9.0),  # late, by little, at once
        (0.5, 0.95, 2.0, 3.0),  # an accuracy, which rises
    ],
)
def test_a_sigmoid_made_by_hand_is_found_again(parameters):
    x = np.log10(UPDATES)

    fit = fit_sigmoid(x, curve(x, *parameters))

    assert (fit.first, fit.last, fit.middle, fit.slope) == pytest.approx(parameters, rel=1e-6)
    assert fit.residual < 1e-8
    assert fit(x) == pytest.approx(curve(x, *parameters), abs=1e-7)


def test_noise_moves_it_by_little_and_is_the_residual():
    x = np.log10(UPDATES)
    noise = np.random.default_rng(3).normal(0, 0.1, len(x))

    fit = fit_sigmoid(x, curve(x, 12, 3, 1.7, 4) + noise)

    assert fit.middle == pytest.approx(1.7, abs=0.05)
    assert 0 < fit.residual <= np.sqrt((noise**2).mean())  # the true curve misses by the noise


def test_no_other_parameters_near_it_are_better():
    """The sum of squares at the fit is least: each parameter moved by a little raises it."""
    x = np.log10(UPDATES)
    y = curve(x, 12, 3, 1.7, 4) + np.random.default_rng(4).normal(0, 0.3, len(x))
    fit = fit_sigmoid(x, y)
    found = np.array([fit.first, fit.last, fit.middle, fit.slope])
    lowest = ((fit(x) - y) ** 2).sum()

    for parameter in range(4):
        for factor in (0.999, 1.001):
            moved = found.copy()
            moved[parameter] *= factor
            assert ((curve(x, *moved) - y) ** 2).sum() > lowest


@pytest.mark.parametrize(("x", "y"), [([1, 2, 3, 4], [4, 3, 2, 1]), ([1, 2, 3, 4, 5], [7, 7, 7, 7, 7])])
def test_few_points_and_level_ones_have_no_fit(x, y):
    assert fit_sigmoid(np.array(x, dtype=float), np.array(y, dtype=float)) is None


def test_the_age_is_where_the_fit_is_half_way_from_chance_to_its_least():
    x = np.log10(UPDATES)
    first, last, middle, slope = 12.0, 2.0, 1.7, 4.0
    chance = 10.0

    found = acquire(UPDATES, curve(x, first, last, middle, slope), chance=chance)

    half = (chance + curve(x[-1], first, last, middle, slope)) / 2
    assert curve(found.age, first, last, middle, slope) == pytest.approx(half, abs=1e-6)
    assert found.age > middle  # half-way lies below the middle of the curve here
    assert found.final == found.best == pytest.approx(curve(x[-1], first, last, middle, slope))
    assert found.forgetting == 0
    assert found.variability < 1e-6


def test_an_accuracy_is_acquired_on_its_way_up():
    x = np.log10(UPDATES)

    found = acquire(UPDATES, curve(x, 0.5, 0.9, 2.0, 3.0), chance=0.5, better="higher")

    half = (0.5 + curve(x[-1], 0.5, 0.9, 2.0, 3.0)) / 2
    assert curve(found.age, 0.5, 0.9, 2.0, 3.0) == pytest.approx(half, abs=1e-6)


def test_what_is_never_half_way_or_no_better_than_chance_has_no_age():
    x = np.log10(UPDATES)

    assert math.isnan(acquire(UPDATES, curve(x, 14, 11, 1.7, 4), chance=10.0).age)  # above chance to the end
    assert math.isnan(acquire(UPDATES, curve(x, 3, 2, 1.7, 4), chance=10.0).age)  # known from the first on
    assert math.isnan(acquire(UPDATES, curve(x, 0.5, 0.2, 2, 3), chance=0.5, better="higher").age)


def test_update_zero_and_missing_values_are_not_fitted():
    x = np.log10(UPDATES)
    values = curve(x, 12, 2, 1.7, 4)
    values[5] = math.nan

    found = acquire(np.array([0, *UPDATES]), np.array([30.0, *values]), chance=10.0)

    assert found.points == len(UPDATES) - 1
    assert found.age == pytest.approx(acquire(UPDATES, values, chance=10.0).age)
    assert (found.fit.middle, found.fit.slope) == pytest.approx((1.7, 4), rel=1e-5)


def test_what_is_forgotten_is_the_rise_after_the_best():
    values = np.array([9, 7, 5, 3, 2, 2.5, 4, 3.5], dtype=float)

    found = acquire(UPDATES[:8], values, chance=10.0)

    assert (found.best, found.final, found.forgetting) == (2, 3.5, 1.5)
    assert found.variability > 0


def test_a_curve_without_values_says_nothing():
    found = acquire(UPDATES, np.full(len(UPDATES), math.nan), chance=10.0)

    assert math.isnan(found.age)
    assert math.isnan(found.final)
    assert found.points == 0
