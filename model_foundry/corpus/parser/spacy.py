"""Parses by spaCy (https://spacy.io): any pipeline with a tagger, a parser and a lemmatizer will do.

Relations are those of the pipeline's training data: spaCy's own English ones have ClearNLP's (``nsubjpass``),
those trained on Universal Dependencies have UD's. Name them in the interventions as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from model_foundry.corpus.parsed import Document, Sentence, Token
from model_foundry.corpus.parser import Parser
from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from spacy.language import Language


class Spacy(Parser):
    """Needs the extra [parse] and the pipeline, which is a package of its own."""

    model: Annotated[str, Field(min_length=1)]
    """Name of an installed pipeline, such as en_core_web_sm, or a folder."""

    batch_size: Annotated[int, Field(ge=1)] = 64
    """Documents handed over at once; never changes a parse."""

    def identity(self) -> dict[str, str]:
        """Return the versions of spaCy and of the pipeline."""
        meta = self._load().meta
        return {"spacy": version("spacy"), "model": f"{meta['lang']}_{meta['name']} {meta['version']}"}

    def parse(self, texts: Iterable[str]) -> Iterator[Document]:
        """Yield the parse of every text, in order."""
        for parsed in self._load().pipe(texts, batch_size=self.batch_size):
            yield document_of(parsed)

    def _load(self) -> Language:
        try:
            import spacy
        except ImportError as error:
            raise RecipeError(
                "corpus.parser: spacy is not installed. Install it: pip install 'model-foundry[parse]'."
            ) from error
        try:
            return spacy.load(self.model)
        except OSError as error:
            raise RecipeError(
                f"corpus.parser: no spaCy pipeline is called {self.model!r}. Install it: python -m spacy "
                f"download {self.model}."
            ) from error


def document_of(parsed: Any) -> Document:
    """Return a ``spacy.tokens.Doc`` as a document; white space that spaCy has as tokens is white space."""
    sentences = []
    for span in parsed.sents:
        words = [word for word in span if not word.is_space]
        numbers = {word.i: number for number, word in enumerate(words, start=1)}
        tokens = tuple(
            Token(
                word.text,
                word.idx,
                word.idx + len(word.text),
                lemma=word.lemma_,
                upos=word.pos_,
                feats=str(word.morph),
                head=0 if word.head.i == word.i else numbers.get(word.head.i, 0),
                deprel="root" if word.dep_ == "ROOT" else word.dep_,
            )
            for word in words
        )
        if tokens:
            sentences.append(Sentence(tokens, tuple(_contractions(tokens))))
    return Document(parsed.text, tuple(sentences))


def _contractions(tokens: tuple[Token, ...]) -> Iterator[range]:
    """Yield words written together (``do`` + ``n't``), which spaCy does not mark.

    Those are words without a gap between letters that have capitals: in other scripts that is usual.
    """
    start = 0
    for at in range(1, len(tokens) + 1):
        if at == len(tokens) or not _is_one(tokens[at - 1], tokens[at]):
            if at - start > 1:
                yield range(start, at)
            start = at


def _is_one(left: Token, right: Token) -> bool:
    is_together = left.end == right.start and left.is_word and right.is_word
    return is_together and _is_cased(left.form[-1]) and _is_cased(right.form[0])


def _is_cased(character: str) -> bool:
    return character in "'\u2019" or character.lower() != character.upper()
