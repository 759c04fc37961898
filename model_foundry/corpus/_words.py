"""Where words begin: the words of ``str.split()``, found for a whole text at once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_LAST_SPACE = 0x3000
"""The white space character with the highest code point."""


def word_starts(text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the words of ``text.split()`` begin, in characters and in UTF-8 bytes."""
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    is_space = _space_table()[np.minimum(points, _LAST_SPACE + 1)]
    begins = ~is_space
    begins[1:] &= is_space[:-1]
    characters = np.flatnonzero(begins)
    widths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    return characters, (np.cumsum(widths) - widths)[characters]


@lru_cache(maxsize=1)
def _space_table() -> NDArray[np.bool_]:
    return np.array([chr(point).isspace() for point in range(_LAST_SPACE + 2)])
