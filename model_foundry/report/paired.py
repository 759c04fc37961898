"""Differences of two models over the same items, with bootstrap intervals (Efron and Tibshirani 1993)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

RESAMPLES = 2_000

_RATIOS = {  # measure: sum over sum, times a factor, and then e to the power of it or not
    "loss": ("nats", "targets", 1.0, False),
    "perplexity": ("nats", "targets", 1.0, True),
    "word_perplexity": ("text_nats", "words", 1.0, True),
    "bits_per_byte": ("text_nats", "bytes", 1 / math.log(2), False),
}
_IDENTITY = (
    "item",
    "where",
    "source",
    "document",
    "line",
    "condition",
    "word_number",
    "token_number",
    "region",
)


@dataclass(frozen=True)
class Delta:
    """The second value less the first, with the limits of its 95 % interval over resampled items."""

    value: float
    low: float
    high: float
    items: int


@dataclass(frozen=True)
class Items:
    """The rows of one result that make up a measure."""

    columns: dict[str, list[Any]]

    def same_items(self, other: Items) -> bool:
        """Whether both were asked the same: equal names in equal order, and equal bytes of text."""
        keys = [key for key in (*_IDENTITY, "bytes") if key in self.columns or key in other.columns]
        return bool(keys) and all(self.columns.get(key) == other.columns.get(key) for key in keys)


def read_items(path: Path, level: str, group: str) -> Items | None:
    """Return the items of a result, of one group where a level is named; None where there are none."""
    from pyarrow import ArrowException, parquet

    try:
        columns = parquet.read_table(path).to_pydict()
    except (OSError, ArrowException):
        return None
    rows = range(len(next(iter(columns.values()), [])))
    if level != "all":
        if level not in columns:
            return None
        rows_of_group = [row for row in rows if columns[level][row] == group]
        columns = {name: [values[row] for row in rows_of_group] for name, values in columns.items()}
    return Items(columns)


def paired_delta(measure: str, first: Items, second: Items, *, seed: int) -> Delta | None:
    """Return the difference of a measure over items that are the same; None for one that is not known here.

    Items are drawn with replacement, the same ones for both models, and the measure is taken anew from each
    of 2,000 such samples; the limits are the 2.5 and 97.5 % quantiles of the differences (chapter 13
    there). A ratio such as bits per byte is the ratio of the sample's sums.
    """
    import numpy as np

    parts = [_sums(measure, items.columns) for items in (first, second)]
    if parts[0] is None or parts[1] is None or not len(parts[0][0]):
        return None
    count = len(parts[0][0])
    generator = np.random.default_rng(seed)
    chosen = [np.arange(count)] + [generator.integers(0, count, count) for _ in range(RESAMPLES)]
    values = np.array([[_value(measure, part, rows) for rows in chosen] for part in (parts[0], parts[1])])
    differences = values[1] - values[0]
    low, high = np.quantile(differences[1:], [0.025, 0.975])
    return Delta(float(differences[0]), float(low), float(high), count)


def _sums(
    measure: str, columns: dict[str, list[Any]]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Return what is added up above and below the line of the measure, by item."""
    import numpy as np

    if measure in _RATIOS:
        above, below, _, _ = _RATIOS[measure]
        if above in columns and below in columns:
            return np.array(columns[above], dtype=float), np.array(columns[below], dtype=float)
    if measure == "accuracy" and "correct" in columns:
        kept = [value for value in columns["correct"] if value is not None]
        return np.array(kept, dtype=float), np.ones(len(kept))
    return None


def _value(measure: str, sums: tuple[Any, Any], rows: npt.NDArray[np.int64]) -> float:
    ratio = sums[0][rows].sum() / sums[1][rows].sum()
    _, _, factor, is_power = _RATIOS.get(measure, ("", "", 1.0, False))
    return float(math.exp(min(700.0, ratio * factor)) if is_power else ratio * factor)
