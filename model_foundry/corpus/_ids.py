"""Token ids as text, so that they go the way of text: each id is one character, none of them white space."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIRST = 0x10000
MAX_ID = 0x10FFFF - _FIRST


def text_of_ids(ids: NDArray[Any]) -> str:
    """Return ids of at most ``MAX_ID`` as text."""
    return (ids.astype("<u4") + np.uint32(_FIRST)).tobytes().decode("utf-32-le")


def ids_of_text(text: str) -> NDArray[np.uint32]:
    """Return the ids of a text that ``text_of_ids`` made."""
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4") - np.uint32(_FIRST)
