"""How far the heap of a process grows by a sequence of allocations, as the C library would lay them out.

glibc 2.36 with ``mmap`` switched off, as ``training.accelerator.keep_large_blocks`` does: the smallest free
block that is large enough, else the end of the heap; neighbours that are free become one. Aligned blocks,
which all tensors have, are searched for with room for the alignment (``_int_memalign``), so that a hole left
by a tensor does not hold another one of its size. Nothing goes back to the kernel.
"""

from __future__ import annotations

import bisect

_HEADER, _UNIT, _ALIGNMENT, _LEAST = 16, 16, 64, 32
Block = tuple[int, int]
"""Address and size."""


class Heap:
    """Addresses and free blocks; ``most_bytes`` is where its end has been at most."""

    def __init__(self) -> None:
        self.most_bytes = 0
        self._end = 0
        self._by_size: list[tuple[int, int]] = []
        self._size_at: dict[int, int] = {}
        self._start_before: dict[int, int] = {}

    def allocate(self, size: int) -> Block:
        """Return a block for a tensor of ``size`` bytes."""
        size = -(-(size + _HEADER) // _UNIT) * _UNIT
        needed = size + _ALIGNMENT + _LEAST
        place = bisect.bisect_left(self._by_size, (needed, -1))
        if place < len(self._by_size):
            found, start = self._by_size[place]
            self._take(start)
        else:
            found, start = needed, self._end
            self._end += needed
            self.most_bytes = max(self.most_bytes, self._end)
        inside = -(-(start + _HEADER) // _ALIGNMENT) * _ALIGNMENT - _HEADER
        if 0 < inside - start < _LEAST:
            inside += _ALIGNMENT
        if inside > start:
            self.free((start, inside - start))
        if start + found > inside + size:
            self.free((inside + size, start + found - inside - size))
        return inside, size

    def free(self, block: Block) -> None:
        """Give a block back."""
        start, size = block
        if (after := self._size_at.get(start + size)) is not None:
            self._take(start + size)
            size += after
        if (before := self._start_before.get(start)) is not None:
            size += self._take(before)
            start = before
        if start + size == self._end:
            self._end = start
            return
        bisect.insort(self._by_size, (size, start))
        self._size_at[start], self._start_before[start + size] = size, start

    def _take(self, start: int) -> int:
        size = self._size_at.pop(start)
        del self._start_before[start + size]
        del self._by_size[bisect.bisect_left(self._by_size, (size, start))]
        return size
