"""Take out the pronouns that are subjects, as in a language that leaves them out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from model_foundry.corpus.intervention._removal import WordRemoval
from model_foundry.corpus.parsed import Token


class RemoveSubjectPronouns(WordRemoval):
    """Words with UPOS PRON and one of the relations; questions and relative clauses are not excepted."""

    relations: Annotated[list[str], Field(min_length=1)] = Field(
        default=["nsubj", "nsubj:pass", "nsubj:outer", "nsubjpass"]
    )
    """Relations that count as subject, exactly as annotated; the default has those of passives, too,

    and the name that parsers with ClearNLP's relations have for those."""

    pronoun_types: list[str] = Field(default_factory=list)
    """Only pronouns with one of these values of PronType, such as [Prs]; without any, all."""

    def is_target(self, token: Token) -> bool:
        """Whether a word is a pronoun and a subject."""
        is_subject = token.upos == "PRON" and token.deprel in self.relations
        return is_subject and (
            not self.pronoun_types or not set(self.pronoun_types).isdisjoint(token.feature("PronType"))
        )
