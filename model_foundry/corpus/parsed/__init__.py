"""Parsed text: documents of sentences of words, in the terms of Universal Dependencies, with their places.

Whatever parses (a treebank, spaCy, Stanza) ends in these classes, so that an edit is written once. Every
place is a number of characters from the start of the document's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Token:
    """A syntactic word; what nobody annotated is empty.

    A multiword token (Spanish ``del`` = ``de`` + ``el``) holds several. Where their forms spell it out, as in
    English ``don't`` = ``do`` + ``n't``, each has its own place; else all have the place of the whole.
    """

    form: str
    start: int
    end: int
    """Exclusive."""

    lemma: str = ""
    upos: str = ""
    """Universal part of speech, such as PRON."""

    feats: str = ""
    """Morphological features as in CoNLL-U: ``Number=Sing|PronType=Prs``."""

    head: int = 0
    """Number of the head within the sentence, from 1; 0 for the root."""

    deprel: str = ""
    """Relation to the head, with its subtype: ``nsubj:pass``."""

    def feature(self, name: str) -> tuple[str, ...]:
        """Return the values of a feature, none where it is not annotated."""
        for pair in self.feats.split("|"):
            key, _, values = pair.partition("=")
            if key == name:
                return tuple(values.split(","))
        return ()

    @property
    def is_word(self) -> bool:
        """Whether there is a letter or digit in it; the rest is punctuation, whatever a parser calls it."""
        return any(map(str.isalnum, self.form))


@dataclass(frozen=True)
class Sentence:
    """The words of a sentence in the order in which they are written."""

    tokens: tuple[Token, ...]

    multiword: tuple[range, ...] = ()
    """Which tokens (from 0) are written as one, each two or more."""

    @cached_property
    def units(self) -> tuple[range, ...]:
        """The surface words as ranges of tokens: a multiword token is one of them."""
        units, at = [], 0
        for group in self.multiword:
            units += [range(number, number + 1) for number in range(at, group.start)]
            units.append(group)
            at = group.stop
        return (*units, *(range(number, number + 1) for number in range(at, len(self.tokens))))

    def unit_of(self, token: int) -> range:
        """Return the surface word that a token is in."""
        found = (group for group in self.multiword if token in group)
        return next(found, range(token, token + 1))


@dataclass(frozen=True)
class Document:
    """A text and its sentences, which do not overlap; what lies between words is white space, or unparsed."""

    text: str
    sentences: tuple[Sentence, ...]

    def text_of(self, sentence: Sentence) -> str:
        """Return a sentence as it is written, from its first word to its last."""
        return self.text[sentence.tokens[0].start : sentence.tokens[-1].end]
