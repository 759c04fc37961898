"""Position of the run -> which window stands there: a pure function of (data seed, epoch, position).

Nothing is stored: a permutation of n windows is a keyed bijection on the next power of two (a Feistel
network; Luby and Rackoff 1988), walked until it lands below n (Black and Rogaway 2002, "Ciphers with
arbitrary finite domains", section 4). Seeking costs the same anywhere and memory does not grow with the
corpus.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from model_foundry.seeds import derive_seed

Int64 = npt.NDArray[np.int64]
OrderMode = Literal["shuffle_each_epoch", "shuffle_once", "sequential", "streams", "explicit"]

_ROUNDS = 12
_BLOCK = 1024


class Permutation:
    """A shuffle of ``range(n)`` that is computed, not stored.

    Args:
        n: Number of things, at most 2**62.
        seed: Equal seeds give equal shuffles on every machine.
    """

    def __init__(self, n: int, seed: int) -> None:
        assert 0 < n <= 2**62, n
        self.n = n
        bits = max(2, (n - 1).bit_length())
        self._low_bits = np.uint64(bits // 2)
        self._high_bits = np.uint64(bits - bits // 2)
        self._keys = [np.uint64(derive_seed(seed, "permutation", index)) for index in range(_ROUNDS)]

    def __call__(self, positions: Int64) -> Int64:
        """Return what stands at ``positions``."""
        return self._walk(positions, self._forward)

    def inverse(self, values: Int64) -> Int64:
        """Return the positions at which ``values`` stand."""
        return self._walk(values, self._backward)

    def _walk(self, numbers: Int64, step: object) -> Int64:
        assert callable(step)
        result = step(np.asarray(numbers).astype(np.uint64))
        while (outside := result >= self.n).any():
            result[outside] = step(result[outside])
        return np.asarray(result.astype(np.int64))

    def _forward(self, x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        # Halves of unequal width swap roles each round, so odd numbers of bits need no larger domain.
        wide, narrow = self._high_bits, self._low_bits
        for key in self._keys:
            left, right = x >> narrow, x & _mask(narrow)
            x = (right << wide) | (left ^ (_mix(right, key) & _mask(wide)))
            wide, narrow = narrow, wide
        return x

    def _backward(self, x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        wide, narrow = (self._high_bits, self._low_bits)[:: 1 if _ROUNDS % 2 == 0 else -1]
        for key in reversed(self._keys):
            wide, narrow = narrow, wide
            right, mixed = x >> wide, x & _mask(wide)
            x = ((mixed ^ (_mix(right, key) & _mask(wide))) << narrow) | right
        return x


def _mask(bits: np.uint64) -> np.uint64:
    return np.uint64((1 << int(bits)) - 1)


def _mix(x: npt.NDArray[np.uint64], key: np.uint64) -> npt.NDArray[np.uint64]:
    # The finaliser of splitmix64 (Steele, Lea and Flood 2014, figure 16); arithmetic modulo 2**64.
    x = (x + key) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(32)))


class Order:
    """Which of ``count`` windows stands at which position of which epoch.

    Args:
        count: Number of windows.
        seed: The recipe's data seed.
        mode: How an epoch is ordered.
        stream: Tells the orders of several sources apart.
        explicit: The windows of an epoch, one after the other, for the mode of that name.
        lanes: For ``streams``: as many pieces of the corpus are shown side by side, a window of each at a
            time, the longer pieces first.
    """

    def __init__(
        self,
        count: int,
        seed: int,
        mode: OrderMode,
        stream: int = 0,
        explicit: Int64 | None = None,
        lanes: int = 1,
    ) -> None:
        assert (explicit is not None) == (mode == "explicit")
        self.count = count if explicit is None else len(explicit)
        self.mode = mode
        self._arguments = (count, seed, mode, stream, explicit, lanes)
        self._lanes = lanes
        # Pieces of two lengths, one window apart: as many long ones as the last, shorter round has windows.
        self._long = -(-self.count // lanes)
        self._num_long = self.count - lanes * (self._long - 1)
        self._explicit = explicit
        # Neighbours are asked for one after the other, and a thousand cost little more than one.
        self._block = lru_cache(maxsize=16)(self._compute_block)
        self._permutation = lru_cache(maxsize=8)(self._make_permutation)

    def window(self, epoch: int, position: int) -> int:
        """Return the window at ``position`` (0 to count - 1) of ``epoch``."""
        if self._explicit is not None:
            return int(self._explicit[position])
        if self.mode == "sequential":
            return position
        if self.mode == "streams":
            inside, lane = divmod(position, self._lanes)
            return lane * self._long - max(0, lane - self._num_long) + inside
        return int(self._block(epoch, position // _BLOCK)[position % _BLOCK])

    def position(self, epoch: int, window: int) -> int:
        """Return the (first) position of ``epoch`` at which ``window`` stands; -1 where it never does."""
        if self._explicit is not None:
            found = np.flatnonzero(self._explicit == window)
            return int(found[0]) if len(found) else -1
        if self.mode == "sequential":
            return window
        if self.mode == "streams":
            lane, inside = divmod(window, self._long)
            if lane >= self._num_long:
                lane, inside = divmod(window - self._num_long * self._long, self._long - 1)
                lane += self._num_long
            return inside * self._lanes + lane
        return int(self._permutation(self._key(epoch)).inverse(np.array([window], dtype=np.int64))[0])

    def positions(self, epoch: int, window: int) -> list[int]:
        """Return all positions of ``epoch`` at which ``window`` stands; an explicit order may repeat it."""
        if self._explicit is not None:
            return [int(position) for position in np.flatnonzero(self._explicit == window)]
        return [self.position(epoch, window)]

    def _key(self, epoch: int) -> int:
        return epoch if self.mode == "shuffle_each_epoch" else 0

    def _make_permutation(self, key: int) -> Permutation:
        _, seed, _, stream, *_ = self._arguments
        return Permutation(self.count, derive_seed(seed, "order", stream, key))

    def _compute_block(self, epoch: int, block: int) -> Int64:
        positions = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, self.count), dtype=np.int64)
        return self._permutation(self._key(epoch))(positions)

    def __reduce__(self) -> tuple[type[Order], tuple[object, ...]]:
        return Order, self._arguments  # caches do not travel to loader workers
