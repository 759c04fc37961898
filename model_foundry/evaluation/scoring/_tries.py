"""Sequences that begin alike, laid into one row as a tree: what they share is computed once.

A node sees its ancestors alone and stands at its depth, so its logits are those that it has in each of its
sequences. (As in verifying trees of drafts: Miao et al. 2024, https://arxiv.org/abs/2305.09781, section 4.2.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_NODES_A_ROW = 96
"""Attention within a row grows with its square; there are hardly longer beginnings to share."""


@dataclass
class Trie:
    """A row: the nodes of sequences that follow one another in lexicographic order."""

    ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    """Node before each one; -1 before the first of a sequence."""

    depths: list[int] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    """Which sequences lie in it."""

    paths: list[list[int]] = field(default_factory=list)
    """For each of them its nodes, first token to last."""

    def num_new(self, sequence: Sequence[int]) -> int:
        """Return how many nodes a sequence would add."""
        return len(sequence) - self._shared(sequence)

    def add(self, number: int, sequence: Sequence[int]) -> None:
        """Take a sequence in; it must not come before the last one."""
        shared = self._shared(sequence)
        path = self.paths[-1][:shared] if self.paths else []
        for depth in range(shared, len(sequence)):
            self.parents.append(path[-1] if path else -1)
            path.append(len(self.ids))
            self.ids.append(sequence[depth])
            self.depths.append(depth)
        self.sequences.append(number)
        self.paths.append(path)

    def _shared(self, sequence: Sequence[int]) -> int:
        shared = 0
        for node, token in zip(self.paths[-1] if self.paths else [], sequence, strict=False):
            if self.ids[node] != token:
                break
            shared += 1
        return shared


def tries_of(sequences: Sequence[Sequence[int]]) -> list[Trie]:
    """Lay sequences into rows of up to 96 nodes; longer ones have a row of their own, empty ones none."""
    tries: list[Trie] = []
    for number in sorted(range(len(sequences)), key=lambda number: tuple(sequences[number])):
        sequence = sequences[number]
        if not sequence:
            continue
        is_full = not tries or len(tries[-1].ids) + tries[-1].num_new(sequence) > _NODES_A_ROW
        if is_full:
            tries.append(Trie())
        tries[-1].add(number, sequence)
    return tries


def arrays_of(
    tries: Sequence[Trie],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return ids and positions (B, T) and which node sees which (B, 1, T, T); padding sees itself."""
    width = max(len(trie.ids) for trie in tries)
    ids_BT = np.zeros((len(tries), width), dtype=np.int64)
    positions_BT = np.zeros_like(ids_BT)
    sees_BTT = np.zeros((len(tries), width, width), dtype=np.bool_)
    sees_BTT[:, np.arange(width), np.arange(width)] = True
    for row, trie in enumerate(tries):
        ids_BT[row, : len(trie.ids)] = trie.ids
        positions_BT[row, : len(trie.ids)] = trie.depths
        sees_TT = sees_BTT[row]
        for node, parent in enumerate(trie.parents):
            if parent >= 0:
                sees_TT[node] |= sees_TT[parent]
    return ids_BT, positions_BT, sees_BTT[:, None]
