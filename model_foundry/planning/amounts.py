"""Bytes, seconds and counts as people read them: three digits."""

from __future__ import annotations

_SECONDS = ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"))


def in_bytes(count: float) -> str:
    """Return ``1.23 GB``; units are decimal."""
    return f"{_scaled(count, ('B', 'kB', 'MB', 'GB', 'TB', 'PB'))}"


def in_count(count: float) -> str:
    """Return ``1.23M``."""
    return _scaled(count, ("", "k", "M", "B", "T")).replace(" ", "")


def in_time(seconds: float) -> str:
    """Return ``1.5 h``."""
    for length, unit in _SECONDS:
        if seconds >= 2 * length:
            return (
                f"{seconds / length:,.3g} {unit}"
                if seconds < 1000 * length
                else f"{seconds / length:,.0f} {unit}"
            )
    return f"{seconds:.3g} s"


def _scaled(count: float, units: tuple[str, ...]) -> str:
    place = 0
    while abs(count) >= 999.5 and place < len(units) - 1:
        count, place = count / 1000, place + 1
    digits = f"{count:.0f}" if place == 0 or count >= 99.95 else f"{count:.3g}"
    return f"{digits} {units[place]}"
