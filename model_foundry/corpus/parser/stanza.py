"""Parses by Stanza (Qi et al. 2020, arXiv:2003.07082), which is trained on Universal Dependencies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from model_foundry.corpus.parsed import Document, Sentence, Token
from model_foundry.corpus.parser import Parser
from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from stanza import Pipeline


class Stanza(Parser):
    """Needs the extra [parse] and the language's models; nothing is downloaded here."""

    language: Annotated[str, Field(min_length=1)]
    """Stanza's code of the language, such as en or it."""

    package: str = "default"
    """Which of its models."""

    def identity(self) -> dict[str, str]:
        """Return Stanza's version and the files of the models that are loaded."""
        processors = self._load().processors.items()
        files = {name: Path(part.config.get("model_path", "")).name for name, part in processors}
        return {"stanza": version("stanza"), "models": json.dumps(files, sort_keys=True)}

    def parse(self, texts: Iterable[str]) -> Iterator[Document]:
        """Yield the parse of every text, in order."""
        pipeline = self._load()
        for text in texts:
            yield document_of(text, pipeline(text))

    def _load(self) -> Pipeline:
        try:
            import stanza
        except ImportError as error:
            raise RecipeError(
                "corpus.parser: stanza is not installed. Install it: pip install 'model-foundry[parse]'."
            ) from error
        try:
            return stanza.Pipeline(
                self.language,
                package=self.package,
                processors="tokenize,mwt,pos,lemma,depparse",
                download_method=None,
                verbose=False,
            )
        except Exception as error:  # it raises several kinds of its own for models that are not there
            raise RecipeError(
                f"corpus.parser: Stanza has no models for {self.language!r} here: {error}. Download them: "
                f"python -c \"import stanza; stanza.download('{self.language}')\"."
            ) from error


def document_of(text: str, parsed: Any) -> Document:
    """Return a ``stanza.models.common.doc.Document`` of a text as a document."""
    sentences = []
    for found in parsed.sentences:
        tokens: list[Token] = []
        multiword: list[range] = []
        for written in found.tokens:
            words = written.words
            if len(words) > 1:
                multiword.append(range(len(tokens), len(tokens) + len(words)))
            for word, (start, end) in zip(words, _places(written, text), strict=True):
                tokens.append(
                    Token(
                        word.text,
                        start,
                        end,
                        lemma=word.lemma or "",
                        upos=word.upos or "",
                        feats=word.feats or "",
                        head=int(word.head or 0),
                        deprel=word.deprel or "",
                    )
                )
        if tokens:
            sentences.append(Sentence(tuple(tokens), tuple(multiword)))
    return Document(text, tuple(sentences))


def _places(written: Any, text: str) -> list[tuple[int, int]]:
    """Return where the words of a token are written, all of it for each if they do not spell it."""
    start, end = int(written.start_char), int(written.end_char)
    forms = [word.text for word in written.words]
    if "".join(forms).casefold() != text[start:end].casefold() or sum(map(len, forms)) != end - start:
        return [(start, end)] * len(forms)
    places = []
    for form in forms:
        places.append((start, start + len(form)))
        start += len(form)
    return places
