"""Smoothing, thinning and ticks, by hand."""

from __future__ import annotations

import pytest

from model_foundry.report.series import smoothed, thinned
from model_foundry.report.svg import log_ticks, short, ticks


def test_the_smoothed_line_is_the_corrected_exponential_mean():
    lines = [{"loss": value} for value in (4.0, 2.0, 2.0)]

    values = [
        line["loss"] for line in smoothed(lines, "loss", share=2 / 3, least=1)
    ]  # keeps half of the old mean

    assert values == pytest.approx(
        [4.0, (4 * 0.25 + 2 * 0.5) / 0.75, (4 * 0.125 + 2 * 0.25 + 2 * 0.5) / 0.875]
    )


def test_thinning_keeps_every_peak_and_few_points():
    points = [(float(x), 100.0 if x == 777 else 0.0) for x in range(10_000)]

    kept = thinned(points, most=100)

    assert (777.0, 100.0) in kept
    assert len(kept) <= 101
    assert kept == sorted(kept)


def test_few_points_are_left_as_they_are():
    assert thinned([(0.0, 1.0), (1.0, 2.0)], most=2) == [(0.0, 1.0), (1.0, 2.0)]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0.13, 0.52, [0.2, 0.3, 0.4, 0.5]), (-1, 1, [-1, -0.5, 0, 0.5, 1])],
)
def test_ticks_are_round_numbers_inside(low: float, high: float, expected: list[float]):
    assert ticks(low, high) == pytest.approx(expected)


def test_a_short_run_is_smoothed_over_five_lines_at_least():
    lines = [{"loss": value} for value in (1.0, 2.0)]

    assert smoothed(lines, "loss")[1]["loss"] == pytest.approx((1 * 0.8 * 0.2 + 2 * 0.2) / (0.8 * 0.2 + 0.2))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [1, 2, 5, 10]), (1.9, 2.5, [100, 200]), (4, 7, [1e4, 1e5, 1e6, 1e7])],
)
def test_ticks_of_powers_are_round_numbers_inside(low: float, high: float, expected: list[float]):
    assert log_ticks(low, high) == pytest.approx(expected)


def test_numbers_are_short():
    assert [short(value) for value in (0, 0.0002, 1234, 15_000, 2.5e6, 3e9, 1e12)] == [
        "0",
        "0.0002",
        "1234",
        "15k",
        "2.5M",
        "3B",
        "1T",
    ]
