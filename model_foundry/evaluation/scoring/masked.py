"""Pseudo-log-likelihoods of models that see both sides: one forward pass over each sequence and token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from model_foundry.errors import DataError
from model_foundry.evaluation.scoring import Scored

if TYPE_CHECKING:
    import torch


class _Row(NamedTuple):
    """A sequence with one of its tokens hidden."""

    sequence: int
    token: int
    ids: list[int]
    place: int
    """Where the logits for the token are."""


class MaskedScorer:
    """ln p(w_t | all others), each token hidden in turn.

    ``token`` hides the token alone (Salazar et al. 2020, https://arxiv.org/abs/1910.14659, section 2.2).
    ``word_l2r`` hides the later tokens of its word, too, which else give it away (Kauf and Ivanova 2023,
    https://arxiv.org/abs/2305.10588, equation 4).

    Args:
        model: A transformers model in evaluation mode, on ``device``.
        device: Where it is.
        mask_id: The token that hides another.
        last: The token that stands after a sequence (SEP or EOS); None for none.
        metric: What is hidden beside the token.
        shifted: Read the logits one place to the left, for models of direction ``any``, which were trained to
            predict masked tokens from there (masked next-token prediction; Charpentier and Samuel 2024,
            https://arxiv.org/abs/2410.24159, section 2.1). They get a mask that lets all see all.
        tokens_per_batch: How many tokens, padding included, one forward pass takes at most; one row at least.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        device: torch.device,
        *,
        mask_id: int,
        last: int | None = None,
        metric: Literal["token", "word_l2r"] = "token",
        shifted: bool = False,
        tokens_per_batch: int | None = None,
    ) -> None:
        from model_foundry.evaluation.scoring._log_probabilities import (
            TokenLogProbabilities,
            default_batch,
            positions_of,
        )

        self._run = TokenLogProbabilities(model, device)
        self._mask_id, self._last = mask_id, last
        self._metric, self._shifted = metric, shifted
        self._tokens_per_batch = tokens_per_batch or default_batch(device)
        self._positions = positions_of(model)

    @property
    def positions(self) -> int | None:
        """How many tokens the model takes at once; None for no limit."""
        return self._positions

    def num_around(self, first: int | None) -> int:
        """Return how many tokens stand around a sequence."""
        return (first is not None) + (self._last is not None)

    def score(
        self,
        sequences: Sequence[Sequence[int]],
        *,
        first: int | None,
        mass_of_V: npt.NDArray[np.bool_] | None = None,
        words: Sequence[Sequence[int]] | None = None,
    ) -> list[Scored]:
        """Return the pseudo-log-likelihoods of each token, in the order given; batching never changes them.

        Args:
            sequences: Token ids without any special ones; each may be empty.
            first: The id that stands before the first token (CLS or BOS); None for none. With ``shifted``
                the first token is unscored (NaN) then.
            mass_of_V: Ids whose joint probability is wanted at every place; after the last token, which
                nothing hides, it is NaN.
            words: For each token the number of its word; ``word_l2r`` needs them.

        Raises:
            DataError: When a sequence with what stands around it is longer than the model's positions, or
                words are needed and missing.
        """
        import torch

        from model_foundry.evaluation.scoring._log_probabilities import batches_by_length, require_positions

        before = [] if first is None else [first]
        after = [] if self._last is None else [self._last]
        whole = [[*before, *sequence, *after] for sequence in sequences]
        require_positions(whole, self._positions, "what stands before and after included")
        rows = self._rows(whole, [len(sequence) for sequence in sequences], len(before), words)
        asked = None if mass_of_V is None else torch.from_numpy(np.flatnonzero(mass_of_V))
        scores = [np.full(len(sequence), np.nan) for sequence in sequences]
        masses = [np.full(len(sequence) + 1, np.nan) for sequence in sequences]
        lengths = [len(row.ids) for row in rows]
        for numbers in batches_by_length(lengths, self._run.rows_at_once, self._tokens_per_batch):
            chosen = [rows[number] for number in numbers]
            targets = [whole[row.sequence][len(before) + row.token] for row in chosen]
            scores_N, masses_N = self._run(*self._arguments(chosen), torch.tensor(targets), asked)
            for index, row in enumerate(chosen):
                scores[row.sequence][row.token] = scores_N[index]
                if masses_N is not None:
                    masses[row.sequence][row.token] = masses_N[index]
        return [
            Scored(score, None if asked is None else mass) for score, mass in zip(scores, masses, strict=True)
        ]

    def _rows(
        self,
        whole: list[list[int]],
        lengths: list[int],
        offset: int,
        words: Sequence[Sequence[int]] | None,
    ) -> list[_Row]:
        if self._metric == "word_l2r" and words is None:
            raise DataError("scores word by word: which word each token belongs to must be given.")
        rows = []
        for number, ids in enumerate(whole):
            for token in range(lengths[number]):
                place = offset + token - self._shifted
                if place < 0:
                    continue  # nothing stands to the left
                hidden = ids.copy()
                hidden[offset + token] = self._mask_id
                if self._metric == "word_l2r" and words is not None:
                    word = words[number]
                    for later in range(token + 1, lengths[number]):
                        if word[later] == word[token]:
                            hidden[offset + later] = self._mask_id
                rows.append(_Row(number, token, hidden, place))
        return rows

    def _arguments(self, rows: list[_Row]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        import torch

        width = len(rows[0].ids)
        ids_BT = np.zeros((len(rows), width), dtype=np.int64)
        for number, row in enumerate(rows):
            ids_BT[number, : len(row.ids)] = row.ids
        lengths_B = np.array([len(row.ids) for row in rows])
        visible_BT = torch.from_numpy(np.arange(width) < lengths_B[:, None])
        all_see_all = visible_BT[:, None, None, :].expand(-1, 1, width, -1)
        mask = all_see_all if self._shifted else visible_BT.long()
        places_N = np.arange(len(rows)) * width + np.array([row.place for row in rows])
        arguments = {"input_ids": torch.from_numpy(ids_BT), "attention_mask": mask}
        return arguments, torch.from_numpy(places_N)
