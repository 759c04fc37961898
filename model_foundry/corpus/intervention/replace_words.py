"""Write other words for some: by form or by lemma, wherever they stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from model_foundry.corpus.intervention import Candidate, Edit, Intervention
from model_foundry.corpus.parsed import Document


class ReplaceWords(Intervention):
    """Capital letters make no difference to what is found; the word's own capital is kept."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"words": {"he": "they"}}]})

    words: Annotated[dict[str, Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    """What is written for each word: {he: they, she: they}."""

    by: Literal["form", "lemma"] = "form"
    """What the words on the left are; a lemma needs a parse."""

    upos: list[str] = Field(default_factory=list)
    """Only words of one of these parts of speech, which needs a parse: [PRON]."""

    @property
    def needs_parse(self) -> bool:
        """Whether it asks for more than forms."""
        return self.by == "lemma" or bool(self.upos)

    def candidates(self, document: Document) -> Iterator[Candidate]:
        """Yield a replacement for every word that is listed."""
        written = {word.lower(): text for word, text in self.words.items()}
        for number, sentence in enumerate(document.sentences):
            for position, token in enumerate(sentence.tokens):
                text = written.get((token.form if self.by == "form" else token.lemma).lower())
                if text is not None and (not self.upos or token.upos in self.upos):
                    yield Candidate(number, position, (Edit("replace", position, text),))
