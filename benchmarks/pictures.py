"""Bars with their spread as an SVG file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.ratios import Spread
from model_foundry.report.svg import short, ticks

WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _BOTTOM = 760, 300, 70, 34, 26, 30
_STYLE = (
    "text{font:13px sans-serif;fill:#222}.title{font-weight:bold}.axis{fill:#666}"
    ".grid{stroke:#ddd}.ours{fill:#2563a8}.other{fill:#9aa5b1}.spread{stroke:#222;stroke-width:1.5}"
)


def bars(title: str, values: Sequence[tuple[str, Spread]]) -> str:
    """Return a picture with a bar for each median, a line from the lowest to the highest value across it.

    Bars whose name begins with ``ours`` have another colour. A bar begins at zero.
    """
    highest = max(found.highest for _, found in values) * 1.02
    height = _TOP + _ROW * len(values) + _BOTTOM

    def place(value: float) -> float:
        return _LEFT + value / highest * (WIDTH - _LEFT - _RIGHT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}"><style>{_STYLE}</style>'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
        f'<text class="title" x="12" y="20">{escape(title)}</text>'
    ]
    foot = _TOP + _ROW * len(values)
    for value in ticks(0, highest):
        x = place(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{foot}"/>')
        parts.append(
            f'<text class="axis" x="{x:.1f}" y="{foot + 18}" text-anchor="middle">{short(value)}</text>'
        )
    for number, (name, found) in enumerate(values):
        top, middle = _TOP + number * _ROW, _TOP + number * _ROW + _ROW / 2
        kind = "ours" if name.split("+")[0] == "ours" else "other"
        label = f"{name}: {found.text(',.0f')}"
        parts.append(
            f'<text x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="{kind}" x="{_LEFT}" y="{top + 4}" width="{place(found.median) - _LEFT:.1f}" '
            f'height="{_ROW - 8}"><title>{escape(label)}</title></rect>'
            f'<path class="spread" d="M{place(found.lowest):.1f} {middle}H{place(found.highest):.1f}"/>'
            f'<text x="{place(found.highest) + 6:.1f}" y="{middle + 4}">{found.median:,.0f}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
