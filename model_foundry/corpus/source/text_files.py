"""Plain UTF-8 text, also as gz or zst: a document is a file, a line or a paragraph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from model_foundry.corpus._files import read_lines, read_text
from model_foundry.corpus.source import Input
from model_foundry.corpus.source._paths import PathSource


class TextFiles(PathSource):
    r"""Text is taken as it is: only what separates documents (``\n`` or ``\r\n``) is not part of them."""

    document: Literal["file", "line", "blank_line"] = "file"
    """file: the whole file. line: every line. blank_line: paragraphs, which lines of white space separate."""

    def documents(self, source_input: Input) -> Iterator[str]:
        """Yield the documents of one file, in order; lines and paragraphs are streamed."""
        if self.document == "file":
            yield "".join(read_text(source_input.path))
        elif self.document == "line":
            for line in read_lines(source_input.path):
                yield line.removesuffix("\r")
        else:
            paragraph: list[str] = []
            for line in read_lines(source_input.path):
                if not line.isspace() and line:
                    paragraph.append(line)
                elif paragraph:
                    yield "\n".join(paragraph).removesuffix("\r")
                    paragraph = []
            if paragraph:
                yield "\n".join(paragraph).removesuffix("\r")
