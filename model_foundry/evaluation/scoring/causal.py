"""Scores of causal models: each different sequence once, and what sequences begin with alike once for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model_foundry.evaluation.scoring import Scored

if TYPE_CHECKING:
    import torch

    from model_foundry.evaluation.scoring._tries import Forest

Float64 = npt.NDArray[np.float64]

_WORTH_A_TREE = 0.85
"""Share of the tokens that may be left for trees to be worth their mask."""

_ROUNDING = 1e-4
"""Change of a log-probability, in nats, that other orders of addition explain."""


class CausalScorer:
    """ln p(w_t | w_<t) by a model whose logits at a place depend on the tokens up to it.

    Rows are padded on the right with tokens that nothing before them can see, so padding has no effect and
    needs no mask, and recurrent models are served alike. Models that take a mask of who sees whom are given
    sequences that share their beginnings as trees; that this changes nothing is tried out on the longest.

    Args:
        model: A transformers model in evaluation mode, on ``device``.
        device: Where it is.
        tokens_per_batch: How many tokens, padding included, one forward pass takes at most; one row at least.
            1,024 on a CPU where not given, whose caches hold no more, and 8,192 elsewhere.
    """

    def __init__(
        self, model: torch.nn.Module, device: torch.device, *, tokens_per_batch: int | None = None
    ) -> None:
        from model_foundry.evaluation.scoring._log_probabilities import (
            TokenLogProbabilities,
            default_batch,
            positions_of,
        )

        self._run = TokenLogProbabilities(model, device)
        self._tokens_per_batch = tokens_per_batch or default_batch(device)
        self._tried_length = 0
        self._takes_trees = True
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
        if (forest := self._forest(inputs)) is not None:
            results |= self._score_forest(forest, rows, before, asked)
            return [results[tuple([*before, *sequence])] for sequence in sequences]
        lengths = [len(row) for row in inputs]
        for numbers in batches_by_length(lengths, self._run.rows_at_once, self._tokens_per_batch):
            chosen = [rows[number] for number in numbers]
            results.update(zip(chosen, self._score_batch(chosen, num_unseen, before, asked), strict=True))
        return [results[tuple([*before, *sequence])] for sequence in sequences]

    def _forest(self, inputs: list[tuple[int, ...]]) -> Forest | None:
        """Return the inputs as trees; None where these save little, or would change scores."""
        from model_foundry.evaluation.scoring._tries import forest_of

        if not self._takes_trees:
            return None
        forest = forest_of(inputs)
        if forest.widths_R.sum() >= _WORTH_A_TREE * sum(map(len, inputs)):
            return None
        return forest if self._are_as_alone(forest, inputs) else None

    def _score_forest(
        self,
        forest: Forest,
        rows: list[tuple[int, ...]],
        before: list[int],
        asked: torch.Tensor | None,
    ) -> dict[tuple[int, ...], Scored]:
        results = {}
        unscored = np.full(1 - len(before), np.nan)
        order = forest.by_width()
        begin = 0
        while begin < len(order):
            count = self._run.rows_at_once(int(forest.widths_R[order[begin]]), self._tokens_per_batch)
            found = self._run_trees(forest, order[begin : begin + count], rows, asked)
            for number, (scores, masses) in found.items():
                log_p = np.concatenate([unscored, scores[: len(rows[number]) - 1]])
                log_masses = None if masses is None else np.concatenate([unscored, masses])
                results[rows[number]] = Scored(log_p, log_masses)
            begin += count
        return results

    def _are_as_alone(self, forest: Forest, chosen: list[tuple[int, ...]]) -> bool:
        """Whether sequences have the scores in their tree that they have alone; tried for each new length.

        Tried are the longest one and, in its row, the first and the last: a model that goes by the order in
        a row and not by the mask scores the later ones otherwise.
        """
        longest = max(map(len, chosen))
        if longest <= self._tried_length:
            return True
        number = next(number for number, row in enumerate(chosen) if len(row) == longest)
        tree, there = forest.row_with(number)
        # The last token of each stands for its target, too: only the comparison counts here.
        rows = [(*row, *row[-1:]) for row in chosen]
        try:
            found = self._run_trees(forest, np.array([tree]), rows, None)
        except (TypeError, ValueError, RuntimeError):  # a model that takes no such mask or positions
            self._takes_trees = False
            return False
        numbers = sorted({number, there[0], there[-1]}, key=lambda number: -len(rows[number]))
        alone = self._score_batch([rows[number] for number in numbers], 1, [0], None)
        self._tried_length = longest
        self._takes_trees = all(
            np.allclose(found[number][0], scored.log_probabilities_T, rtol=0, atol=_ROUNDING)
            for number, scored in zip(numbers, alone, strict=True)
        )
        return self._takes_trees

    def _run_trees(
        self,
        forest: Forest,
        rows_B: npt.NDArray[np.int64],
        rows: list[tuple[int, ...]],
        asked: torch.Tensor | None,
    ) -> dict[int, tuple[Float64, Float64 | None]]:
        """Return for each sequence ln p of the token after each of its nodes, and of the asked set there."""
        import torch

        leaves = forest.leaves(rows_B)
        targets = np.zeros(len(leaves.places), dtype=np.int64)  # any token after the last one
        ends = np.cumsum(leaves.lengths)
        begins = ends - leaves.lengths
        for number, begin in zip(leaves.numbers, begins.tolist(), strict=True):
            row = rows[number]
            targets[begin : begin + len(row) - 1] = row[1:]
        # A place and the token after it, each once.
        size = int(targets.max(initial=0)) + 1
        edges_N, edge_of = np.unique(leaves.places * size + targets, return_inverse=True)
        arguments = {
            "input_ids": torch.from_numpy(leaves.ids_BT),
            "position_ids": torch.from_numpy(leaves.positions_BT),
            "attention_mask": torch.from_numpy(leaves.sees_BTT),
        }
        places_N, targets_N = (torch.from_numpy(part) for part in np.divmod(edges_N, size))
        scores_N, masses_N = self._run(arguments, places_N, targets_N, asked)
        scores = scores_N[edge_of]
        masses = None if masses_N is None else masses_N[edge_of]
        return {
            number: (scores[begin:end], None if masses is None else masses[begin:end])
            for number, begin, end in zip(leaves.numbers, begins.tolist(), ends.tolist(), strict=True)
        }

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
