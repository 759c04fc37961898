"""Scores of causal models: one forward pass over each different sequence, in batches of like length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model_foundry.evaluation.scoring import Scored

if TYPE_CHECKING:
    import torch


class CausalScorer:
    """ln p(w_t | w_<t) by a model whose logits at a place depend on the tokens up to it.

    Rows are padded on the right with tokens that nothing before them can see, so padding has no effect and
    needs no mask, and recurrent models are served alike.

    Args:
        model: A transformers model in evaluation mode, on ``device``.
        device: Where it is.
        tokens_per_batch: How many tokens, padding included, one forward pass takes at most; one row at least.
    """

    def __init__(self, model: torch.nn.Module, device: torch.device, *, tokens_per_batch: int = 8192) -> None:
        from model_foundry.evaluation.scoring._log_probabilities import TokenLogProbabilities, positions_of

        self._run = TokenLogProbabilities(model, device)
        self._tokens_per_batch = tokens_per_batch
        self._positions = positions_of(model)

    @property
    def positions(self) -> int | None:
        """How many tokens the model takes at once; None for no limit."""
        return self._positions

    def score(
        self,
        sequences: Sequence[Sequence[int]],
        *,
        first: int | None,
        mass_of_V: npt.NDArray[np.bool_] | None = None,
        words: Sequence[Sequence[int]] | None = None,
    ) -> list[Scored]:
        """Return the scores of each sequence, in the order given; batching never changes them.

        Args:
            sequences: Token ids without any special ones; each may be empty.
            first: The id that stands before the first token as its context; None for none, which leaves the
                first token unscored (NaN).
            mass_of_V: Ids whose joint probability is wanted at every place.
            words: Not used.

        Raises:
            DataError: When a sequence needs more positions than the model has: one for ``first`` and for each
                token but the last, and for the last, too, where masses are wanted.
        """
        import torch

        from model_foundry.evaluation.scoring._log_probabilities import batches_by_length, require_positions

        before = [] if first is None else [first]
        # Equal sequences are scored once.
        rows = list(dict.fromkeys(tuple([*before, *sequence]) for sequence in sequences))
        num_unseen = 0 if mass_of_V is not None else 1  # the last token is a target only
        inputs = [row[: len(row) - num_unseen] for row in rows]
        require_positions(inputs, self._positions, "the context before the first one included")
        asked = None if mass_of_V is None else torch.from_numpy(np.flatnonzero(mass_of_V))
        results: dict[tuple[int, ...], Scored] = {row: _nothing(row, before, asked) for row in rows}
        lengths = [len(row) for row in inputs]
        for numbers in batches_by_length(lengths, self._run.rows_at_once, self._tokens_per_batch):
            chosen = [rows[number] for number in numbers]
            results.update(zip(chosen, self._score_batch(chosen, num_unseen, before, asked), strict=True))
        return [results[tuple([*before, *sequence])] for sequence in sequences]

    def _score_batch(
        self,
        rows: list[tuple[int, ...]],
        num_unseen: int,
        before: list[int],
        asked: torch.Tensor | None,
    ) -> list[Scored]:
        import torch

        width = len(rows[0]) - num_unseen
        whole_BT = np.zeros((len(rows), width + 1), dtype=np.int64)  # 0 is as good a padding as any
        lengths_B = np.array([len(row) - num_unseen for row in rows])
        for number, row in enumerate(rows):
            whole_BT[number, : len(row)] = row
        places_N = np.flatnonzero(np.arange(width) < lengths_B[:, None])
        scores_N, masses_N = self._run(
            {"input_ids": torch.from_numpy(np.ascontiguousarray(whole_BT[:, :-1]))},
            torch.from_numpy(places_N),
            torch.from_numpy(whole_BT[:, 1:].ravel()[places_N]),
            asked,
        )
        unscored = np.full(1 - len(before), np.nan)
        ends = np.cumsum(lengths_B)
        results = []
        for row, end, length in zip(rows, ends.tolist(), lengths_B.tolist(), strict=True):
            begin = end - length
            scores = np.concatenate([unscored, scores_N[begin : begin + len(row) - 1]])
            masses = None if masses_N is None else np.concatenate([unscored, masses_N[begin:end]])
            results.append(Scored(scores, masses))
        return results


def _nothing(row: tuple[int, ...], before: list[int], asked: torch.Tensor | None) -> Scored:
    """Return the scores of a row without any input: none, or one that has no context."""
    unscored = np.full(len(row) - len(before), np.nan)
    return Scored(unscored, None if asked is None else np.full(len(unscored) + 1, np.nan))
