"""Take the inflection from verbs: each is written as its lemma."""

from __future__ import annotations

from collections.abc import Iterator

from model_foundry.corpus.intervention import Candidate, Edit, Intervention
from model_foundry.corpus.parsed import Document


class LemmatizeVerbs(Intervention):
    """Words with UPOS VERB, and AUX where asked; what agrees with them is left as it is."""

    auxiliaries: bool = True
    """Whether auxiliaries (be, have, will) are written as their lemma, too."""

    def candidates(self, document: Document) -> Iterator[Candidate]:
        """Yield a replacement for every verb whose form is not its lemma."""
        kinds = {"VERB", "AUX"} if self.auxiliaries else {"VERB"}
        for number, sentence in enumerate(document.sentences):
            for position, token in enumerate(sentence.tokens):
                is_target = token.upos in kinds and token.lemma
                if is_target and token.lemma.lower() != token.form.lower():
                    yield Candidate(number, position, (Edit("replace", position, token.lemma),))
