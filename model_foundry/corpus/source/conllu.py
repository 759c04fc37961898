"""Parsed text in CoNLL-U, also compressed: its words make the text, interventions read its parse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from model_foundry.corpus._files import text_streams
from model_foundry.corpus.parsed import Document
from model_foundry.corpus.parsed.conllu import read_conllu
from model_foundry.corpus.source import Input
from model_foundry.corpus.source._paths import TextSource


class Conllu(TextSource):
    """Sentences are separated by a space, paragraphs by a line break; within a sentence '# text' decides."""

    is_parsed: ClassVar[bool] = True

    document: Literal["newdoc", "newpar", "sentence"] = "newdoc"
    """newdoc: what '# newdoc' begins; without any, the file. newpar: paragraphs. sentence: sentences."""

    def documents(self, source_input: Input) -> Iterator[str]:
        """Yield the text of every document, in order."""
        return (document.text for document in self.parsed(source_input))

    def parsed(self, source_input: Input) -> Iterator[Document]:
        """Yield every document with its parse, in order."""
        for stream in text_streams(source_input, self.errors):
            yield from read_conllu(stream.lines(), stream.where, self.document)
