"""Draws series as an SVG that needs nothing else: colours come from the page's style, by class."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from model_foundry.report.series import Series, thinned

WIDTH, HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 10, 34
_COLOURS = 8


def draw(
    series: Sequence[Series],
    axis: str,
    unit: str,
    title: str,
    first_colour: int = 0,
    *,
    is_log: bool = False,
) -> str:
    """Return the plot of ``series`` over the clock ``axis``, or nothing where no series has two points on it.

    Args:
        series: Lines of the plot, in the order of their colours.
        axis: Key of the clock.
        unit: What the clock counts, for the label.
        title: What is drawn, for readers that do not see it.
        first_colour: Number of the first line's colour.
        is_log: Draw values by their powers of ten; those that have none are left out.
    """
    drawn = [(item, [point for point in item.points(axis) if not is_log or point[1] > 0]) for item in series]
    points = [point for _, found in drawn for point in found]
    if len(points) < 2 or len({x for x, _ in points}) < 2:
        return ""
    height: Callable[[float], float] = math.log10 if is_log else float
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = _padded(min(height(y) for _, y in points), max(height(y) for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low)
        up = (height(y) - y_low) / (y_high - y_low)
        x_place, y_place = across * (WIDTH - _LEFT - _RIGHT), up * (HEIGHT - _TOP - _BOTTOM)
        return _LEFT + x_place, HEIGHT - _BOTTOM - y_place

    parts = [
        f'<svg class="plot x-{axis}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)} over {unit}">'
    ]
    for value in log_ticks(y_low, y_high) if is_log else ticks(y_low, y_high):
        _, y = place(x_low, value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>'
        )
    for value in ticks(x_low, x_high):
        x, _ = place(value, points[0][1])
        below = f'x="{x:.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle"'
        parts.append(f'<text class="tick" {below}>{short(value)}</text>')
    parts.append(
        f'<text class="tick" x="{WIDTH - _RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(unit)}</text>'
    )
    for number, (item, found) in enumerate(drawn, first_colour):
        where = [place(x, y) for x, y in thinned(found)]
        path = "".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(where))
        colour = f"c{number % _COLOURS}"
        parts.append(f'<path class="line {colour}" d="{path}"/>')
        if item.is_sparse:
            labels = [f"{item.name}: {value:.5g} at {short(clock)} {unit}" for clock, value in thinned(found)]
            parts += [_dot(x, y, colour, label) for (x, y), label in zip(where, labels, strict=True)]
    return "".join([*parts, "</svg>"])


def _dot(x: float, y: float, colour: str, label: str) -> str:
    dot = f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="3">'
    return f"{dot}<title>{escape(label)}</title></circle>"


def spark(points: Sequence[tuple[float, float]], title: str) -> str:
    """Return a line without axes, as high as a line of text, or nothing for fewer than two points."""
    if len(points) < 2:
        return ""
    x_low, x_high = points[0][0], points[-1][0]
    y_low, y_high = _padded(min(y for _, y in points), max(y for _, y in points))
    where = [
        (120 * (x - x_low) / ((x_high - x_low) or 1.0), 20 - 20 * (y - y_low) / (y_high - y_low))
        for x, y in thinned(points, 60)
    ]
    path = "".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(where))
    return (
        f'<svg class="spark" viewBox="0 0 120 20" role="img" aria-label="{escape(title)}">'
        f'<path class="line c1" d="{path}"/></svg>'
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers (1, 2 or 5 times a power of ten) between ``low`` and ``high``."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten between ``10**low`` and ``10**high``; with their doubles and halves if few."""
    steps = (1, 2, 5) if high - low < 3 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    values = [step * 10.0**power for power in powers for step in steps]
    return [value for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9]


def short(value: float) -> str:
    """Return a number for a tick: ``1.5M``, ``0.02``, ``3e-05``."""
    size = abs(value)
    for limit, mark in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1e3 if mark == 'k' else limit):.4g}{mark}"
    return f"{value:.4g}" if size >= 1e-12 else "0"


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = (high - low) * 0.04 or abs(high) * 0.05 or 1.0
    return low - margin, high + margin
