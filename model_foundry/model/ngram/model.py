"""A smoothed n-gram model: probabilities of tokens after their context, interpolated over all its lengths.

For a context h that was seen, h' without its first token, and T tokens of history at most ``order - 1``:

    P(x | h) = (c(hx) - D(c(hx)) + left(h) P(x | h')) / whole(h)

and ``P(x | h')`` alone for one that was not. At the bottom every id has ``1 / V``. Witten-Bell (``D = 0``,
``left = T(h)``, ``whole = c(h) + T(h)``) and modified Kneser-Ney (``left`` the sum of the discounts,
``whole = c(h)``) differ in nothing else but the counts: below the highest order Kneser and Ney count the
different tokens before an n-gram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_foundry.evaluation.scoring import Scored
from model_foundry.model.ngram.counting import MISSING
from model_foundry.model.ngram.smoothing import Smoothing, discounts_of, left_for_others

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """The n-grams of one order, in rows R; contexts C are the rows of the order below."""

    keys_R: Int64
    discounted_R: Float64
    """c(hx) - D(c(hx))."""

    starts_C: Int64
    """Where the continuations of each context begin, and at last the number of rows."""

    left_C: Float64
    whole_C: Float64
    """0 for a context without continuations."""

    discounts: tuple[float, ...]
    """Of n-grams seen 0, 1, 2, and 3 or more times."""

    has_estimated_discounts: bool

    def is_context(self, rows_N: Int64) -> Bool:
        """Whether each row is that of a context after which something was seen."""
        found: Bool = rows_N != MISSING
        if found.any():
            found &= self.whole_C[rows_N] > 0
        return found

    def mixed(self, contexts_M: Int64, direct_M: Float64, shorter_M: Float64) -> Float64:
        """Mix what was seen after contexts, in discounted counts, with the probabilities of shorter ones."""
        return (direct_M + self.left_C[contexts_M] * shorter_M) / self.whole_C[contexts_M]


class NgramModel:
    """Scores token sequences; fulfils ``Scorer``.

    Args:
        vocabulary_size: V, of the tokenizer.
        smoothing: ``witten_bell`` or ``modified_kneser_ney``.
        keys: By order, from 1 on, the sorted keys of the n-grams (``counting``).
        counts: By order, the counts that the smoothing works on.
    """

    def __init__(
        self, vocabulary_size: int, smoothing: Smoothing, keys: Sequence[Int64], counts: Sequence[Int64]
    ) -> None:
        self.vocabulary_size = vocabulary_size
        self.smoothing = smoothing
        sizes = [1, *map(len, keys)]
        self.tables = [
            _table(smoothing, vocabulary_size, contexts, keys_R, counts_R)
            for contexts, keys_R, counts_R in zip(sizes, keys, counts, strict=False)
        ]

    @property
    def order(self) -> int:
        """Tokens of the longest n-grams."""
        return len(self.tables)

    @property
    def positions(self) -> None:
        """No sequence is too long."""
        return None

    def score(
        self,
        sequences: Sequence[Sequence[int]],
        *,
        first: int | None,
        mass_of_V: Bool | None = None,
        words: Sequence[Sequence[int]] | None = None,
    ) -> list[Scored]:
        """Return the scores of each sequence; ``Scorer`` says what they are. ``words`` is not used."""
        lead = [] if first is None else [first]
        rows = [np.array([*lead, *sequence], dtype=np.int64) for sequence in sequences]
        ids_N = np.concatenate([np.empty(0, np.int64), *rows])
        ages_N = np.concatenate([np.empty(0, np.int64), *(np.arange(len(row)) for row in rows)])
        scores_N = self.log_probabilities(ids_N, ages_N)
        masses_N = None if mass_of_V is None else self._log_masses(ids_N, ages_N, mass_of_V)
        unscored = np.full(1 - len(lead), np.nan)
        results, start = [], 0
        for row in rows:
            stop = start + len(row)
            scores_T = scores_N[start + 1 : stop]
            if not lead:
                scores_T = np.concatenate([unscored, scores_T])[: len(row)]
            masses = None if masses_N is None else np.concatenate([unscored, masses_N[start:stop]])
            results.append(Scored(scores_T, masses))
            start = stop
        return results

    def log_probabilities(self, ids_N: Int64, ages_N: Int64) -> Float64:
        """Return ln P of every token after those before it.

        Args:
            ids_N: Tokens of one text, or of several after each other.
            ages_N: How many tokens of its text are before each.
        """
        chances_N = np.full(len(ids_N), 1 / self.vocabulary_size)
        for length, rows_N in enumerate(self._rows_by_length(ids_N, ages_N)):
            table = self.tables[length]
            contexts_N = _shifted(rows_N) if length else rows_N
            contexts_N[ages_N < length] = MISSING
            seen_M = np.flatnonzero(table.is_context(contexts_N))
            contexts_M = contexts_N[seen_M]
            rows_M = _find(table.keys_R, contexts_M * self.vocabulary_size + ids_N[seen_M])
            direct_M = np.where(rows_M == MISSING, 0.0, table.discounted_R[rows_M])
            chances_N[seen_M] = table.mixed(contexts_M, direct_M, chances_N[seen_M])
        with np.errstate(divide="ignore"):  # a discount of 0 leaves nothing for what was not seen
            logarithms: Float64 = np.log(chances_N)
        return logarithms

    def distribution(self, history: Sequence[int]) -> Float64:
        """Return P of every id after ``history``; it sums to 1."""
        ids_N = np.array(history, dtype=np.int64)
        chances_V = np.full(self.vocabulary_size, 1 / self.vocabulary_size)
        rows = self._rows_by_length(ids_N, np.arange(len(ids_N)))
        for length, table in enumerate(self.tables):
            context = 0 if length == 0 else int(rows[length][-1]) if length <= len(ids_N) else MISSING
            if not table.is_context(np.array([context]))[0]:
                break
            found = slice(int(table.starts_C[context]), int(table.starts_C[context + 1]))
            direct_V = np.zeros(self.vocabulary_size)
            direct_V[table.keys_R[found] % self.vocabulary_size] = table.discounted_R[found]
            chances_V = table.mixed(np.array([context]), direct_V, chances_V)
        return chances_V

    def _log_masses(self, ids_N: Int64, ages_N: Int64, mass_of_V: Bool) -> Float64:
        """Return ln of the probability, after every token, that the next one is in the set."""
        masses_N = np.full(len(ids_N), mass_of_V.mean())
        for table, contexts_N in zip(self.tables, self._rows_by_length(ids_N, ages_N), strict=True):
            asked_R = np.where(mass_of_V[table.keys_R % self.vocabulary_size], table.discounted_R, 0.0)
            direct_C = _sums_by_context(asked_R, table.starts_C)
            seen_M = np.flatnonzero(table.is_context(contexts_N))
            contexts_M = contexts_N[seen_M]
            masses_N[seen_M] = table.mixed(contexts_M, direct_C[contexts_M], masses_N[seen_M])
        with np.errstate(divide="ignore"):
            logarithms: Float64 = np.log(masses_N)
        return logarithms

    def _rows_by_length(self, ids_N: Int64, ages_N: Int64) -> list[Int64]:
        """Return for context lengths 0 to order - 1 which context ends with each token (or MISSING).

        Longer ones than the text before gives are missing.
        """
        assert not len(ids_N) or (ids_N.min() >= 0 and ids_N.max() < self.vocabulary_size), "an unknown id"
        rows = [np.zeros(len(ids_N), dtype=np.int64), ids_N][: self.order]
        for length in range(2, self.order):
            shorter_N = _shifted(rows[-1])
            rows_N = _find(self.tables[length - 1].keys_R, shorter_N * self.vocabulary_size + ids_N)
            rows_N[(ages_N < length - 1) | (shorter_N == MISSING)] = MISSING
            rows.append(rows_N)
        return rows


def _table(
    smoothing: Smoothing, vocabulary_size: int, num_contexts: int, keys_R: Int64, counts_R: Int64
) -> Table:
    discounts, is_estimated = discounts_of(smoothing, counts_R)
    left_C_parts = left_for_others(smoothing, counts_R, discounts)
    starts_C = np.searchsorted(keys_R, np.arange(num_contexts + 1) * vocabulary_size).astype(np.int64)
    left_C = _sums_by_context(left_C_parts, starts_C)
    whole_C = _sums_by_context(counts_R.astype(np.float64), starts_C)
    if smoothing == "witten_bell":
        whole_C += left_C
    discounted_R = counts_R - np.array(discounts)[np.minimum(counts_R, 3)]
    return Table(keys_R, discounted_R, starts_C, left_C, whole_C, discounts, is_estimated)


def _sums_by_context(values_R: Float64, starts_C: Int64) -> Float64:
    """Sum the rows of each context."""
    has_rows = starts_C[1:] > starts_C[:-1]
    sums_C = np.zeros(len(has_rows))
    if has_rows.any():
        # Contexts without rows lie between others and add nothing to them.
        sums_C[has_rows] = np.add.reduceat(values_R, starts_C[:-1][has_rows])
    return sums_C


def _find(keys_R: Int64, wanted_M: Int64) -> Int64:
    """Return the row of each key, or MISSING."""
    if not len(keys_R):
        return np.full(len(wanted_M), MISSING, dtype=np.int64)
    rows_M = np.minimum(np.searchsorted(keys_R, wanted_M), len(keys_R) - 1)
    return np.where(keys_R[rows_M] == wanted_M, rows_M, MISSING).astype(np.int64)


def _shifted(rows_N: Int64) -> Int64:
    """Return for each place what the one before it has; the first has nothing before it."""
    return np.concatenate([np.full(min(1, len(rows_N)), MISSING, dtype=np.int64), rows_N[:-1]])
