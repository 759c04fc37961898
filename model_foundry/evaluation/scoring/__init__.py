"""Contract for scorers: log-probabilities of tokens in their context, whatever the model behind them.

Minimal pairs, surprisal and the probabilities of held-out text rest on it; neural models and n-grams fulfil
it alike. A folder, since a file here would be taken for an evaluator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Scored:
    """One sequence of T tokens, scored."""

    log_probabilities_T: npt.NDArray[np.float64]
    """ln p(token | its context), in nats; -inf where the model rules it out."""

    log_masses: npt.NDArray[np.float64] | None = None
    """(T + 1,) ln of the probability, before each token and after the last, that the next one is in the
    asked set; None where none was asked for."""


class Scorer(Protocol):
    """Scores sequences of token ids."""

    @property
    def positions(self) -> int | None:
        """How many tokens the model takes at once; None for no limit."""

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
            first: The id that stands before the first token as its context (BOS or EOS); None for none,
                which leaves the first token unscored (NaN).
            mass_of_V: Ids whose joint probability is wanted at every place.
            words: For each token the number of its word; for scorers that go word by word, others leave it
                alone.

        Raises:
            DataError: When the model has too few positions for a sequence with all that it needs around it.
        """
