"""Which word and which region each token belongs to: by offsets in the text, never by searching in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]

NOWHERE = -1


@dataclass(frozen=True)
class Units:
    """Consecutive parts of a text, words or regions, and the tokens that fall in them."""

    starts_U: Int64
    """First character of each that is no white space."""

    stops_U: Int64
    of_token_T: Int64
    """The part that each token counts for, or NOWHERE."""

    is_split_U: npt.NDArray[np.bool_]
    """Parts that share a token with another: their sums are not theirs alone."""


def align(text: str, starts_T: Int64, stops_T: Int64, unit_starts_U: Int64, unit_stops_U: Int64) -> Units:
    """Give every token to the part that holds its first character that is no white space.

    A token of white space alone counts for the part after it, as the space before a word does in most
    vocabularies, or for the last part. A token whose characters lie in several parts counts for the first of
    them, and all of them are marked.

    Args:
        text: The whole.
        starts_T: First character of each token.
        stops_T: One after its last.
        unit_starts_U: First character of each part, in order.
        unit_stops_U: One after its last.
    """
    visible = np.flatnonzero([not character.isspace() for character in text])
    first_T = np.searchsorted(visible, starts_T)  # of its visible characters, or of those after it
    last_T = np.searchsorted(visible, stops_T) - 1
    unit_of_visible = np.searchsorted(unit_starts_U, visible, "right") - 1
    if len(unit_starts_U):
        outside = (unit_of_visible < 0) | (visible >= unit_stops_U[unit_of_visible])
        unit_of_visible[outside] = NOWHERE
    of_token_T = np.full(len(starts_T), NOWHERE, dtype=np.int64)
    is_split_U = np.zeros(len(unit_starts_U), dtype=np.bool_)
    if len(visible) and len(unit_starts_U):
        of_token_T = unit_of_visible[np.minimum(first_T, len(visible) - 1)]
        for first, last in zip(first_T.tolist(), last_T.tolist(), strict=True):
            touched = np.unique(unit_of_visible[first : last + 1])
            if len(touched) > 1:
                is_split_U[touched[touched != NOWHERE]] = True
    return Units(_first_visible(visible, unit_starts_U), unit_stops_U, of_token_T, is_split_U)


def words_of(text: str) -> tuple[Int64, Int64]:
    """Return where the words of ``text.split()`` begin and end, in characters."""
    is_space = np.array([True, *(character.isspace() for character in text), True])
    starts = np.flatnonzero(is_space[:-1] & ~is_space[1:])
    stops = np.flatnonzero(~is_space[:-1] & is_space[1:])
    return starts, stops


def _first_visible(visible: Int64, starts_U: Int64) -> Int64:
    if not len(visible):
        return starts_U
    found: Int64 = visible[np.minimum(np.searchsorted(visible, starts_U), len(visible) - 1)]
    return found
