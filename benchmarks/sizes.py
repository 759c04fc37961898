"""The models that are measured: GPT-2-style, with the batch of an update."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Updates:
    """How many updates a turn takes, and how many of them are left out of its speed."""

    taken: int
    left_out: int
    """The first ones: they compile, and take memory for the first time."""


SIZES: dict[str, dict[str, int]] = {
    "tiny": {"layers": 2, "width": 32, "heads": 2, "vocabulary": 512, "context": 16, "batch": 4},
    "small": {"layers": 4, "width": 256, "heads": 4, "vocabulary": 8192, "context": 256, "batch": 16},
    "medium": {"layers": 6, "width": 512, "heads": 8, "vocabulary": 32_000, "context": 512, "batch": 8},
}
"""``batch`` is windows an update; ``tiny`` is for tests, it says nothing about speed."""

UPDATES = {"tiny": Updates(4, 1), "small": Updates(20, 5), "medium": Updates(8, 2)}
"""By default; about 10 to 20 seconds a turn on two cores."""
