"""Take out whole sentences that hold a construction, as in FiCT (Patil et al. 2024, arXiv:2405.15750)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from model_foundry.corpus.intervention import Candidate, Edit, Intervention
from model_foundry.corpus.parsed import Document, Sentence, Token


class RemoveSentencesMatching(Intervention):
    """A sentence goes when its text matches ``pattern`` and one of its words has all that is asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"relations": ["nsubj:pass"]}]})

    pattern: str | None = None
    """Regular expression (Python's) to be found in the sentence's text."""

    upos: list[str] = Field(default_factory=list)
    """Parts of speech, one of which the word has: [PRON]."""

    relations: list[str] = Field(default_factory=list)
    """Relations to its head, one of which the word has, exactly as annotated: ["nsubj:pass"]."""

    lemmas: list[str] = Field(default_factory=list)
    """Lemmas, one of which the word has; capital letters make no difference."""

    features: dict[str, str] = Field(default_factory=dict)
    """Features, all of which the word has: {PronType: Rel}."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.pattern is None and not self._asks_for_a_word:
            raise ValueError(
                "would remove every sentence, expected at least one of pattern, upos, relations, lemmas, "
                "features"
            )
        return self

    @property
    def needs_parse(self) -> bool:
        """Whether it asks for more than a pattern."""
        return self._asks_for_a_word

    def candidates(self, document: Document) -> Iterator[Candidate]:
        """Yield the deletion of all words of each sentence that matches."""
        pattern = re.compile(self.pattern or "")
        for number, sentence in enumerate(document.sentences):
            written = document.text_of(sentence)
            if pattern.search(written) and self._has_word(sentence):
                everything = tuple(Edit("delete", at) for at in range(len(sentence.tokens)))
                yield Candidate(number, 0, everything)

    @property
    def _asks_for_a_word(self) -> bool:
        return bool(self.upos or self.relations or self.lemmas or self.features)

    def _has_word(self, sentence: Sentence) -> bool:
        return not self._asks_for_a_word or any(map(self._is_asked_for, sentence.tokens))

    def _is_asked_for(self, token: Token) -> bool:
        lemmas = [lemma.lower() for lemma in self.lemmas]
        return (
            (not self.upos or token.upos in self.upos)
            and (not self.relations or token.deprel in self.relations)
            and (not lemmas or token.lemma.lower() in lemmas)
            and all(value in token.feature(name) for name, value in self.features.items())
        )
