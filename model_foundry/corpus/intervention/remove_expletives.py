"""Take out the subjects and objects that mean nothing: ``it rains``, ``there is``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from model_foundry.corpus.intervention._removal import WordRemoval
from model_foundry.corpus.parsed import Token


class RemoveExpletives(WordRemoval):
    """Words with one of the relations, of any part of speech."""

    relations: Annotated[list[str], Field(min_length=1)] = Field(default=["expl", "expl:impers", "expl:subj"])
    """Relations that count, exactly as annotated; the default has no reflexives (expl:pv, expl:pass)."""

    def is_target(self, token: Token) -> bool:
        """Whether a word is an expletive."""
        return token.deprel in self.relations
