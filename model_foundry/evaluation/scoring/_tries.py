"""Sequences that begin alike, laid into one row as a tree: what they share is computed once.

A node sees its ancestors alone and stands at its depth, so its logits are those that it has in each of its
sequences. (As in verifying trees of drafts: Miao et al. 2024, https://arxiv.org/abs/2305.09781, section 4.2.)

Shape letters: S sequences in lexicographic order, L tokens of the longest, R rows, B rows of a batch, T nodes
of the widest of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

_NODES_A_ROW = 96
"""Attention within a row grows with its square; there are hardly longer beginnings to share."""


class Leaves(NamedTuple):
    """Some rows of a forest, as a model takes them."""

    ids_BT: Int64
    positions_BT: Int64
    sees_BTT: Bool
    """(B, 1, T, T): which node sees which; padding sees itself."""

    numbers: list[int]
    """Which sequences lie in the rows, in the order of ``places``."""

    lengths: list[int]
    places: Int64
    """Of each token of theirs, one sequence after the other: its node in the rows laid end to end."""


@dataclass(frozen=True)
class Forest:
    """Rows of up to 96 nodes; a longer sequence has a row of its own, an empty one none."""

    numbers_S: Int64
    """Which sequences, by their place among those given."""

    tokens_SL: Int64
    """Padded with -1."""

    lengths_S: Int64
    rows_S: Int64
    shared_S: Int64
    """How many of its tokens have nodes that the sequences before it in its row have made."""

    paths_SL: Int64
    """The node of each token within its row; beyond the length it means nothing."""

    widths_R: Int64
    """Nodes of each row."""

    def by_width(self) -> Int64:
        """Return the rows, widest first."""
        return np.argsort(-self.widths_R, kind="stable")

    def row_with(self, number: int) -> tuple[int, list[int]]:
        """Return the row that a sequence lies in, and all sequences there."""
        [place] = np.flatnonzero(self.numbers_S == number)
        row = int(self.rows_S[place])
        return row, self.numbers_S[self.rows_S == row].tolist()

    def leaves(self, rows_B: Int64) -> Leaves:
        """Return some rows."""
        index_of_row = np.full(len(self.widths_R), -1)
        index_of_row[rows_B] = np.arange(len(rows_B))
        mine = np.flatnonzero(index_of_row[self.rows_S] >= 0)
        lengths_S = self.lengths_S[mine]
        depths_L = np.arange(lengths_S.max())
        width = int(self.widths_R[rows_B].max())
        tokens_SL, paths_SL = (of[mine, : len(depths_L)] for of in (self.tokens_SL, self.paths_SL))
        index_S = index_of_row[self.rows_S[mine]]
        is_token_SL = depths_L < lengths_S[:, None]
        places = (index_S[:, None] * width + paths_SL)[is_token_SL]
        ids_BT = np.zeros((len(rows_B), width), dtype=np.int64)
        positions_BT = np.zeros_like(ids_BT)
        ids_BT.ravel()[places] = tokens_SL[is_token_SL]
        positions_BT.ravel()[places] = np.broadcast_to(depths_L, paths_SL.shape)[is_token_SL]
        sees_BTT = np.zeros((len(rows_B), width, width), dtype=np.bool_)
        sees_BTT[:, np.arange(width), np.arange(width)] = True
        is_own_SL = is_token_SL & (depths_L >= self.shared_S[mine, None])
        for depth in depths_L[1:]:  # a node sees what the one before it on its path sees
            own = np.flatnonzero(is_own_SL[:, depth])
            row, node, parent = index_S[own], paths_SL[own, depth], paths_SL[own, depth - 1]
            sees_BTT[row, node] |= sees_BTT[row, parent]
        numbers, lengths = self.numbers_S[mine].tolist(), lengths_S.tolist()
        return Leaves(ids_BT, positions_BT, sees_BTT[:, None], numbers, lengths, places)


def forest_of(sequences: Sequence[tuple[int, ...]]) -> Forest:
    """Lay sequences into rows."""
    numbers = sorted((n for n, one in enumerate(sequences) if one), key=lambda number: sequences[number])
    lengths_S = np.array([len(sequences[number]) for number in numbers], dtype=np.int64)
    depths_L = np.arange(lengths_S.max(initial=0))
    is_token_SL = depths_L < lengths_S[:, None]
    tokens_SL = np.full(is_token_SL.shape, -1, dtype=np.int64)
    tokens_SL[is_token_SL] = [token for number in numbers for token in sequences[number]]
    shared_S = np.zeros(len(numbers), dtype=np.int64)
    same_SL = (tokens_SL[1:] == tokens_SL[:-1]) & is_token_SL[1:]
    shared_S[1:] = np.logical_and.accumulate(same_SL, axis=1).sum(1)
    rows_S, starts_S, widths_R = _rows(lengths_S.tolist(), shared_S)
    # The sequence that made the node: the last one, up to this one, that shares fewer tokens.
    is_own_SL = depths_L >= shared_S[:, None]
    maker_SL = np.maximum.accumulate(np.where(is_own_SL, np.arange(len(numbers))[:, None], 0), axis=0)
    paths_SL = (starts_S - shared_S)[maker_SL] + depths_L
    chosen = np.array(numbers, dtype=np.int64)
    return Forest(chosen, tokens_SL, lengths_S, rows_S, shared_S, paths_SL, widths_R)


def _rows(lengths: list[int], shared_S: Int64) -> tuple[Int64, Int64, Int64]:
    """Return the row of each sequence, its first node of its own, and each row's width.

    A full row ends where the next one repeats least, in its second half. The first sequence of a row shares
    nothing, which ``shared_S`` says afterwards.
    """
    shared = shared_S.tolist()
    rows: list[int] = []
    starts: list[int] = []
    widths: list[int] = []
    first = 0
    while first < len(lengths):
        own, used = [0], lengths[first]
        for place in range(first + 1, len(lengths)):
            if used + lengths[place] - shared[place] > _NODES_A_ROW:
                break
            own.append(used)
            used += lengths[place] - shared[place]
        after = first + len(own)
        if after < len(lengths):
            half = first + (len(own) + 1) // 2
            after = min(range(after, half, -1), key=shared.__getitem__, default=after)
        rows += [len(widths)] * (after - first)
        starts += own[: after - first]
        widths.append(used if after == first + len(own) else own[after - first])
        shared_S[first] = 0
        first = after
    return np.array(rows, np.int64), np.array(starts, np.int64), np.array(widths, np.int64)
