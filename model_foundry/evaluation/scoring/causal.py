"""Scores of causal models: each different sequence once, and what sequences begin with alike once for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model_foundry.evaluation.scoring import Scored

if TYPE_CHECKING:
    import torch

    from model_foundry.evaluation.scoring._tries import Trie

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
            512 on a CPU where not given, whose caches hold no more, and 8,192 elsewhere.
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
        if (trees := self._trees(inputs)) is not None:
            results |= self._score_trees(trees, rows, before, asked)
            return [results[tuple([*before, *sequence])] for sequence in sequences]
        lengths = [len(row) for row in inputs]
        for numbers in batches_by_length(lengths, self._run.rows_at_once, self._tokens_per_batch):
            chosen = [rows[number] for number in numbers]
            results.update(zip(chosen, self._score_batch(chosen, num_unseen, before, asked), strict=True))
        return [results[tuple([*before, *sequence])] for sequence in sequences]

    def _trees(self, inputs: list[tuple[int, ...]]) -> list[Trie] | None:
        """Return the inputs as trees, widest first; None where these save little, or would change scores."""
        from model_foundry.evaluation.scoring._tries import tries_of

        if not self._takes_trees:
            return None
        tries = tries_of(inputs)
        if sum(len(trie.ids) for trie in tries) >= _WORTH_A_TREE * sum(map(len, inputs)):
            return None
        if not self._are_as_alone(tries, inputs):
            return None
        return sorted(tries, key=lambda trie: -len(trie.ids))

    def _score_trees(
        self,
        tries: list[Trie],
        rows: list[tuple[int, ...]],
        before: list[int],
        asked: torch.Tensor | None,
    ) -> dict[tuple[int, ...], Scored]:
        results = {}
        unscored = np.full(1 - len(before), np.nan)
        begin = 0
        while begin < len(tries):
            count = self._run.rows_at_once(len(tries[begin].ids), self._tokens_per_batch)
            for number, (scores, masses) in self._run_trees(
                tries[begin : begin + count], rows, asked
            ).items():
                log_p = np.concatenate([unscored, scores[: len(rows[number]) - 1]])
                log_masses = None if masses is None else np.concatenate([unscored, masses])
                results[rows[number]] = Scored(log_p, log_masses)
            begin += count
        return results

    def _are_as_alone(self, tries: list[Trie], chosen: list[tuple[int, ...]]) -> bool:
        """Whether sequences have the scores in their tree that they have alone; tried for each new length.

        Tried are the longest one and, in its row, the first and the last: a model that goes by the order in
        a row and not by the mask scores the later ones otherwise.
        """
        longest = max(map(len, chosen))
        if longest <= self._tried_length:
            return True
        number = next(number for number, row in enumerate(chosen) if len(row) == longest)
        trie = next(trie for trie in tries if number in trie.sequences)
        # The last token of each stands for its target, too: only the comparison counts here.
        rows = [(*row, *row[-1:]) for row in chosen]
        try:
            found = self._run_trees([trie], rows, None)
        except (TypeError, ValueError, RuntimeError):  # a model that takes no such mask or positions
            self._takes_trees = False
            return False
        tried = {number, trie.sequences[0], trie.sequences[-1]}
        numbers = sorted(tried, key=lambda number: -len(rows[number]))
        alone = self._score_batch([rows[number] for number in numbers], 1, [0], None)
        self._tried_length = longest
        self._takes_trees = all(
            np.allclose(found[number][0], scored.log_probabilities_T, rtol=0, atol=_ROUNDING)
            for number, scored in zip(numbers, alone, strict=True)
        )
        return self._takes_trees

    def _run_trees(
        self, tries: list[Trie], rows: list[tuple[int, ...]], asked: torch.Tensor | None
    ) -> dict[int, tuple[Float64, Float64 | None]]:
        """Return for each row ln p of the token after each of its nodes, and of the asked set there."""
        import torch

        from model_foundry.evaluation.scoring._tries import arrays_of

        ids_BT, positions_BT, sees = arrays_of(tries)
        width = ids_BT.shape[1]
        edges: dict[tuple[int, int], int] = {}  # a place and the token after it, each once
        wanted: list[tuple[int, list[int]]] = []
        for index, trie in enumerate(tries):
            for number, path in zip(trie.sequences, trie.paths, strict=True):
                steps = zip(path, (*rows[number][1:], 0), strict=False)  # any token after the last one
                keys = [(index * width + node, token) for node, token in steps]
                wanted.append((number, [edges.setdefault(key, len(edges)) for key in keys]))
        arguments = {
            "input_ids": torch.from_numpy(ids_BT),
            "position_ids": torch.from_numpy(positions_BT),
            "attention_mask": torch.from_numpy(sees),
        }
        places_N, targets_N = torch.tensor(list(edges)).T
        scores_N, masses_N = self._run(arguments, places_N, targets_N, asked)
        return {
            number: (scores_N[found], None if masses_N is None else masses_N[found])
            for number, found in wanted
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
