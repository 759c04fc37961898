"""Interventions that take words out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from pydantic import Field

from model_foundry.corpus.intervention import Candidate, Edit, Intervention
from model_foundry.corpus.parsed import Document, Sentence, Token


class WordRemoval(Intervention):
    """Settings of an intervention that deletes single words; their dependents stay."""

    contractions: dict[str, str] = Field(default_factory=dict)
    """What is written for the rest of a contraction that loses a word: {"'s/be": is, "'m": am}.

    Keys are a form, or a form and a lemma, in lower case. A rest that is not listed stays as it is spelled.
    """

    @abstractmethod
    def is_target(self, token: Token) -> bool:
        """Whether a word is taken out."""

    def candidates(self, document: Document) -> Iterator[Candidate]:
        """Yield a deletion for every target, with what its contraction then needs."""
        for number, sentence in enumerate(document.sentences):
            for position, token in enumerate(sentence.tokens):
                if self.is_target(token):
                    rest = self._rest(sentence, position) if self.contractions else ()
                    yield Candidate(number, position, (Edit("delete", position), *rest))

    def _rest(self, sentence: Sentence, position: int) -> Iterator[Edit]:
        for other in sentence.unit_of(position):
            token = sentence.tokens[other]
            form, lemma = token.form.lower(), token.lemma.lower()
            written = self.contractions.get(f"{form}/{lemma}", self.contractions.get(form))
            if other != position and written is not None:
                yield Edit("replace", other, written)
