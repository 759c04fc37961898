"""How many different things there are, and how often each, in memory that has a bound.

Things are numbers of 64 bits that are even, as hashes are. The least ``most`` of them are kept, each with its
count: up to so many different ones everything is exact. Of more, those that are kept are an even sample, and
the number of all follows from the largest that is kept (k minimum values: Bar-Yossef et al. 2002, "Counting
distinct elements in a data stream", and the unbiased form of Beyer et al. 2007, "On synopses for
distinct-value estimation under multiset operations"). What is kept in the end depends on what was added and
not on its order, and a number that is kept was never passed over, so its count is exact in any case.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 1 << 19
_FOLDED = 1 << 18
_RANGE = float(2**64)


class Distinct:
    """Different numbers, with their counts and with a size each.

    Args:
        most: How many are kept; None for all, where the numbers are few by their nature.
    """

    def __init__(self, most: int | None = MOST) -> None:
        self._most = most
        self._keys = np.zeros(0, dtype=np.uint64)
        self._counts = np.zeros(0, dtype=np.int64)
        self._sizes = np.zeros(0, dtype=np.int64)
        self._is_whole = True
        self._added: list[tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]] = []
        self._waiting = 0

    def add(self, keys: NDArray[np.uint64], sizes: NDArray[np.int64] | None = None) -> None:
        """Count numbers once each; the size of a number is the same wherever it comes."""
        if not self._is_whole:
            below = keys <= self._keys[-1]
            keys, sizes = keys[below], None if sizes is None else sizes[below]
        if sizes is None:
            keys, counts = np.unique(keys, return_counts=True)
            self._add(keys, counts, np.zeros(len(keys), dtype=np.int64))
        else:
            self._add(keys, np.ones(len(keys), dtype=np.int64), sizes)

    def merge(self, other: Distinct) -> None:
        """Count what another one has counted."""
        self._add(other.keys, other.counts, other.sizes)
        if not other.is_exact:
            self._is_whole = False
            self._fold()

    @property
    def keys(self) -> NDArray[np.uint64]:
        """The numbers that are kept, in ascending order."""
        self._fold()
        return self._keys

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each of them came."""
        self._fold()
        return self._counts

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The size of each of them."""
        self._fold()
        return self._sizes

    @property
    def is_exact(self) -> bool:
        """Whether all that came are kept."""
        self._fold()
        return self._is_whole

    @property
    def number(self) -> int:
        """How many different ones came."""
        return round(len(self.keys) if self.is_exact else (len(self.keys) - 1) * self._scale)

    @property
    def number_once(self) -> int:
        """How many of them came once."""
        return round(self.number * _mean(self.counts == 1))

    @property
    def size(self) -> int:
        """The sizes of all different ones together."""
        return round(self.number * _mean(self.sizes))

    @property
    def standard_error(self) -> float:
        """Of ``number``, as a share of it: 0 where it is exact, else about ``1 / sqrt(most)``."""
        return 0.0 if self.is_exact else 1 / math.sqrt(len(self.keys) - 2)

    def shared_with(self, other: Distinct) -> float:
        """Return the share of its different numbers that another one has, too."""
        tops = [one.keys[-1] for one in (self, other) if not one.is_exact]
        mine = self.keys[self.keys <= min(tops)] if tops else self.keys
        return _mean(np.isin(mine, other.keys, assume_unique=True))

    @property
    def _scale(self) -> float:
        return _RANGE / (float(self._keys[-1]) + 1)

    def _add(self, keys: NDArray[np.uint64], counts: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        self._added.append((keys, counts, sizes))
        self._waiting += len(keys)
        if self._waiting >= _FOLDED:
            self._fold()

    def _fold(self) -> None:
        """Make one sorted row of what was kept and what was added since."""
        if not self._added:
            return
        columns = zip((self._keys, self._counts, self._sizes), *self._added, strict=True)
        keys, counts, sizes = (np.concatenate(parts) for parts in columns)
        self._added, self._waiting = [], 0
        order = np.argsort(keys)
        keys = keys[order]
        begins = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        self._keys = keys[begins]
        self._counts = np.add.reduceat(counts[order], begins) if len(begins) else counts
        self._sizes = sizes[order][begins]
        if self._most is not None and len(begins) > self._most:
            self._is_whole = False
            self._keys, self._counts = self._keys[: self._most], self._counts[: self._most]
            self._sizes = self._sizes[: self._most]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what ``from_arrays`` makes the same of, in few bytes."""
        arrays = {"counts": self.counts, "sizes": self.sizes}
        small = {
            name: values.astype(np.min_scalar_type(values.max(initial=0))) for name, values in arrays.items()
        }
        return {"keys": self.keys, **small, "is_exact": np.array([self.is_exact])}

    def from_arrays(self, arrays: dict[str, NDArray[Any]]) -> Distinct:
        """Return what ``arrays`` was made of, with the bound of this one."""
        made = Distinct(self._most)
        made._keys = arrays["keys"].astype(np.uint64, copy=False)
        made._counts, made._sizes = (arrays[name].astype(np.int64) for name in ("counts", "sizes"))
        made._is_whole = bool(arrays["is_exact"][0])
        return made


def _mean(values: NDArray[np.int64] | NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else 0.0
