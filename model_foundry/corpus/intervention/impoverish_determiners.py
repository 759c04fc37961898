"""Take the inflection from determiners, or all differences between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from model_foundry.corpus.intervention import Candidate, Edit, Intervention
from model_foundry.corpus.parsed import Document


class ImpoverishDeterminers(Intervention):
    """Words with UPOS DET are written as their lemma (this for these, a for an), or all in one form."""

    form: Annotated[str, Field(min_length=1)] | None = None
    """What is written for every determiner; without it, its lemma."""

    pronoun_types: list[str] = Field(default_factory=list)
    """Only determiners with one of these values of PronType, such as [Art, Dem]; without any, all."""

    def candidates(self, document: Document) -> Iterator[Candidate]:
        """Yield a replacement for every determiner that is not written like that already."""
        wanted = set(self.pronoun_types)
        for number, sentence in enumerate(document.sentences):
            for position, token in enumerate(sentence.tokens):
                form = self.form or token.lemma
                is_target = token.upos == "DET" and form and form.lower() != token.form.lower()
                if is_target and (not wanted or not wanted.isdisjoint(token.feature("PronType"))):
                    yield Candidate(number, position, (Edit("replace", position, form),))
