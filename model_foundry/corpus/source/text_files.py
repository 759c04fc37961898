"""Plain UTF-8 text, also compressed: a document is a file, a line or a paragraph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from model_foundry.corpus._files import TextStream, cuts_between_lines, text_streams
from model_foundry.corpus._pieces import document_in_pieces
from model_foundry.corpus.source import Input
from model_foundry.corpus.source._paths import TextSource


class TextFiles(TextSource):
    r"""Text is taken as it is: only what separates documents (``\n`` or ``\r\n``) is not part of them."""

    document: Literal["file", "line", "blank_line"] = "file"
    """file: the whole file. line: every line. blank_line: paragraphs, which lines of white space separate."""

    def documents(self, source_input: Input) -> Iterator[str]:
        """Yield the documents of one file, in order; lines and paragraphs are streamed."""
        for stream in text_streams(source_input, self.errors):
            if self.document == "file":
                yield from document_in_pieces(stream.blocks)
            elif self.document == "line":
                for line in stream.lines():
                    yield line.removesuffix("\r")
            else:
                yield from _paragraphs(stream)

    def cuts(self, source_input: Input, size: int) -> list[int]:
        """Cut between lines, or between paragraphs; a file that is one document stays whole."""
        if self.document == "file":
            return [0]
        return cuts_between_lines(source_input.path, size, after_blank=self.document == "blank_line")


def _paragraphs(stream: TextStream) -> Iterator[str]:
    paragraph: list[str] = []
    for line in stream.lines():
        if not line.isspace() and line:
            paragraph.append(line)
        elif paragraph:
            yield "\n".join(paragraph).removesuffix("\r")
            paragraph = []
    if paragraph:
        yield "\n".join(paragraph).removesuffix("\r")
