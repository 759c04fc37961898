"""Shuffle the words of every sentence (impossible languages, Kallini et al. 2024, arXiv:2401.06416)."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import Field

from model_foundry.corpus.intervention._order import Reordering


class ShuffleWords(Reordering):
    """Every sentence has an order of its own, which follows from its text, its number and ``seed``."""

    window: Annotated[int, Field(ge=2)] | None = None
    """Shuffle so many neighbouring words among themselves, then the next so many; without it, all."""

    def reordered(self, places: list[int], written: str, number: int) -> list[int]:
        """Return the places in the order of a hash of each."""
        start = hashlib.blake2b(f"{self.seed}|{number}|{written}|".encode(), digest_size=8)

        def lot(place: int) -> bytes:
            drawn = start.copy()
            drawn.update(str(place).encode())
            return drawn.digest()

        width = self.window or max(1, len(places))
        groups = (places[at : at + width] for at in range(0, len(places), width))
        return [place for group in groups for place in sorted(group, key=lot)]
