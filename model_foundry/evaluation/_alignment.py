"""Which word and which region each token belongs to: by offsets in the text, never by searching in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]

NOWHERE = -1

_LAST_SPACE = 0x3000
"""The white space character with the highest code point."""


@dataclass(frozen=True)
class Units:
    """Consecutive parts of a text, words or regions, and the tokens that fall in them."""

    starts_U: Int64
    stops_U: Int64
    of_token_T: Int64
    """The part that each token counts for, or NOWHERE."""

    is_split_U: npt.NDArray[np.bool_]
    """Parts that share a token with another: their sums are not theirs alone."""


def align(
    text: str,
    starts_T: Int64,
    stops_T: Int64,
    unit_starts_U: Int64,
    unit_stops_U: Int64,
    limits_T: Int64 | None = None,
) -> Units:
    """Give every token to the part that holds its first character that is no white space.

    A token of white space alone counts for the part after it, as the space before a word does in most
    vocabularies, or for the last part. A token whose characters lie in several parts counts for the first of
    them, and all of them are marked.

    Args:
        text: The whole; several texts may stand in it one after the other.
        starts_T: First character of each token.
        stops_T: One after its last.
        unit_starts_U: First character of each part, in order.
        unit_stops_U: One after its last.
        limits_T: Where the text of each token ends; where not given, there is one text.
    """
    of_token_T = np.full(len(starts_T), NOWHERE, dtype=np.int64)
    is_split_U = np.zeros(len(unit_starts_U), dtype=np.bool_)
    units = Units(unit_starts_U, unit_stops_U, of_token_T, is_split_U)
    visible = np.flatnonzero(~_spaces(text))
    if not len(visible) or not len(unit_starts_U):
        return units
    unit_of_visible = np.searchsorted(unit_starts_U, visible, "right") - 1
    outside = (unit_of_visible < 0) | (visible >= unit_stops_U[unit_of_visible])
    unit_of_visible[outside] = NOWHERE
    first_T = np.searchsorted(visible, starts_T)  # of its visible characters, or of those after it
    last_T = np.searchsorted(visible, stops_T) - 1
    end_T = len(visible) if limits_T is None else np.searchsorted(visible, limits_T)
    of_token_T[:] = unit_of_visible[np.minimum(first_T, end_T - 1)]
    changes = np.concatenate([[0], np.cumsum(unit_of_visible[1:] != unit_of_visible[:-1])])
    has_several = (last_T > first_T) & (changes[last_T] != changes[np.minimum(first_T, len(changes) - 1)])
    for token in np.flatnonzero(has_several):
        touched = np.unique(unit_of_visible[first_T[token] : last_T[token] + 1])
        is_split_U[touched[touched != NOWHERE]] = True
    return units


def words_of(text: str) -> tuple[Int64, Int64]:
    """Return where the words of ``text.split()`` begin and end, in characters."""
    is_space = np.concatenate([[True], _spaces(text), [True]])
    starts = np.flatnonzero(is_space[:-1] & ~is_space[1:])
    stops = np.flatnonzero(~is_space[:-1] & is_space[1:])
    return starts, stops


def _spaces(text: str) -> npt.NDArray[np.bool_]:
    """Return which characters are white space, as ``str.isspace`` says."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return _space_table()[np.minimum(points, _LAST_SPACE + 1)]


@lru_cache(maxsize=1)
def _space_table() -> npt.NDArray[np.bool_]:
    return np.array([chr(point).isspace() for point in range(_LAST_SPACE + 2)])
