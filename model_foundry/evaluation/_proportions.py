"""Accuracies by paradigm and by larger groups, with 95 % intervals in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from model_foundry.evaluation import Measure, Table

INTERVALS = (
    "95 %: Wilson for paradigms and for all items together; for means of paradigms the Wilson limits of "
    "these, their distances combined by squares (Newcombe 1998; Zou and Donner 2008)"
)
_Z = 1.959963984540054  # the 97.5 % point of the normal distribution


@dataclass(frozen=True)
class Share:
    """A proportion, or a mean of some, with its limits."""

    value: float
    low: float
    high: float
    items: int


def wilson(correct: float, items: int) -> Share:
    """Return a proportion with its score interval (Wilson 1927; as in Brown et al. 2001, equation 4).

    Args:
        correct: How many items are right; a tie may count a half.
        items: How many there are, at least one.
    """
    share, z2 = correct / items, _Z * _Z
    centre = (share + z2 / (2 * items)) / (1 + z2 / items)
    half = _Z / (1 + z2 / items) * math.sqrt(share * (1 - share) / items + z2 / (4 * items * items))
    return Share(share, max(0.0, centre - half), min(1.0, centre + half), items)


def mean(shares: Sequence[Share]) -> Share:
    """Return the mean of independent proportions, each of equal weight.

    The distances of its limits are those of the parts, combined by squares (Newcombe 1998, method 10, carried
    over to any linear combination by Zou and Donner 2008, https://doi.org/10.1002/sim.3095, equation 3).
    """
    count = len(shares)
    value = math.fsum(share.value for share in shares) / count
    below = math.sqrt(math.fsum((share.value - share.low) ** 2 for share in shares)) / count
    above = math.sqrt(math.fsum((share.high - share.value) ** 2 for share in shares)) / count
    return Share(
        value, max(0.0, value - below), min(1.0, value + above), sum(share.items for share in shares)
    )


def accuracies(items: Table, levels: Sequence[str]) -> list[Measure]:
    """Return ``accuracy`` of all, of each group and each paradigm, and ``item_accuracy`` of all items.

    The accuracy of a group, and of all, is the mean of its paradigms', whatever their sizes; with equal sizes
    it is that of the items.
    """
    rows: dict[str, list[int]] = {}
    for row, paradigm in enumerate(items["paradigm"]):
        rows.setdefault(paradigm, []).append(row)
    shares = {
        paradigm: wilson(math.fsum(items["correct"][row] for row in mine), len(mine))
        for paradigm, mine in rows.items()
    }
    if not shares:
        return []
    measures = [
        _measure("accuracy", mean(list(shares.values()))),
        _measure("item_accuracy", wilson(math.fsum(items["correct"]), len(items["correct"]))),
    ]
    for level in levels:
        groups: dict[str, list[Share]] = {}
        for paradigm, mine in rows.items():
            for group in dict.fromkeys(items[level][row] for row in mine):
                if group is not None:
                    groups.setdefault(group, []).append(shares[paradigm])
        measures += [_measure("accuracy", mean(found), level, group) for group, found in groups.items()]
    return measures + [_measure("accuracy", share, "paradigm", name) for name, share in shares.items()]


def _measure(name: str, share: Share, level: str = "all", group: str = "") -> Measure:
    return Measure(name, share.value, level, group, share.low, share.high, share.items)
