"""Draws a histogram as an SVG that needs nothing else: colours come from the page's style, by class."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from model_foundry.report.svg import short, ticks

_WIDTH, _HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 10, 34


def draw_bars(
    labels: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]], title: str, unit: str
) -> str:
    """Return bars in groups, or nothing where none is above zero.

    Args:
        labels: Of the groups, from left to right.
        rows: Name and heights of the first bar of each group, of the second, and so on.
        title: What is drawn, for readers that do not see it.
        unit: What the groups count, for the label.
    """
    highest = max((height for _, heights in rows for height in heights), default=0.0)
    if highest <= 0:
        return ""
    group = (_WIDTH - _LEFT - _RIGHT) / len(labels)
    thick = group * 0.8 / len(rows)
    floor = _HEIGHT - _BOTTOM
    parts = [f'<svg class="bars" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for value in ticks(0, highest):
        y = floor - value / highest * (floor - _TOP)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        tick = f'x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end"'
        parts.append(f'<text class="tick" {tick}>{short(value)}</text>')
    every = -(-len(labels) // 12)
    for number, label in enumerate(labels):
        x = _LEFT + group * (number + 0.5)
        if number % every == 0:
            tick = f'x="{x:.1f}" y="{floor + 16}" text-anchor="middle"'
            parts.append(f'<text class="tick" {tick}>{escape(label)}</text>')
        for at, (name, heights) in enumerate(rows):
            height = heights[number] / highest * (floor - _TOP)
            left = x - thick * len(rows) / 2 + at * thick
            place = f'x="{left:.1f}" y="{floor - height:.1f}" width="{thick:.1f}" height="{height:.1f}"'
            told = escape(f"{name}: {heights[number]:,.4g} at {label} {unit}")
            parts.append(f'<rect class="bar c{at + 1}" {place}><title>{told}</title></rect>')
    end = f'x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 3}" text-anchor="end"'
    return "".join([*parts, f'<text class="tick" {end}>{escape(unit)}</text></svg>'])
