"""Write the words of every sentence backwards (impossible languages, Kallini et al. 2024, 2401.06416)."""

from __future__ import annotations

from model_foundry.corpus.intervention._order import Reordering


class Reverse(Reordering):
    """The last word comes first; a sentence of one word has nothing to change."""

    def reordered(self, places: list[int], written: str, number: int) -> list[int]:
        """Return the places backwards."""
        return places[::-1]
