"""Take out the articles."""

from __future__ import annotations

from model_foundry.corpus.intervention._removal import WordRemoval
from model_foundry.corpus.parsed import Token


class RemoveArticles(WordRemoval):
    """Words with UPOS DET and PronType=Art; what agrees with them is left as it is."""

    def is_target(self, token: Token) -> bool:
        """Whether a word is an article."""
        return token.upos == "DET" and "Art" in token.feature("PronType")
