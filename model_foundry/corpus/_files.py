"""Text files as streams: plain or compressed, decoded as UTF-8, never held in memory as a whole.

What is done to text, all of it: a byte-order mark at the very start is removed, and of bytes that do not
decode what the recipe says. Nothing else is changed; CRLF, NUL and every Unicode character stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_foundry.corpus._blocks import is_compressed, read_members
from model_foundry.corpus._decoding import OnUndecodable, decode
from model_foundry.corpus._decompress import BLOCK_BYTES
from model_foundry.corpus.source import Input


@dataclass(frozen=True)
class TextStream:
    """The text of a file, or of one member of a zip; it can be read once."""

    where: str
    """What messages call it."""

    blocks: Iterator[str]
    """About a million characters each."""

    def lines(self) -> Iterator[str]:
        r"""Yield the lines without their ``\n``; no other character ends a line."""
        unfinished: list[str] = []
        for text in self.blocks:
            first, *others = text.split("\n")
            unfinished.append(first)
            if others:
                yield "".join(unfinished)
                yield from others[:-1]
                unfinished = [others[-1]]
        last = "".join(unfinished)
        if last:
            yield last


def text_streams(item: Input, errors: OnUndecodable = "error") -> Iterator[TextStream]:
    """Yield the texts of an input, one or those of a zip; each must be read before the next is asked for.

    Args:
        item: The file, or a part of one that is not compressed.
        errors: What to do about bytes that do not decode; they are counted in ``item.losses``.

    Raises:
        DataError: When the file cannot be read, is not what its name says, grows absurdly, or is not UTF-8
            (with the byte offset in the decompressed text).
    """
    for member in read_members(item.path, item.start, item.stop):
        text = decode(member.blocks, member.where, start=item.start, errors=errors, losses=item.losses)
        yield TextStream(member.where, text)


def cuts_between_lines(path: Path, size: int, *, after_blank: bool = False) -> list[int]:
    """Return where a file may be read in parts of about ``size`` bytes: at the starts of lines, 0 first.

    Args:
        path: The file; one that is compressed stays whole.
        size: Bytes of a part; a long line makes a longer one.
        after_blank: Cut only where the line before is of white space.
    """
    cuts: list[int] = [0]
    if is_compressed(path):
        return cuts
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        while cuts[-1] + size < length:
            file.seek(cuts[-1] + size - 1)
            line = file.readline()  # what is left of one
            while after_blank and (line := file.readline()) and not line.isspace():
                pass
            if file.tell() >= length:
                break
            cuts.append(file.tell())
    return cuts


def lines_before(path: Path, end: int) -> int:
    """Return how many lines end in the first ``end`` bytes of a file."""
    lines = 0
    with path.open("rb") as file:
        while end > 0 and (block := file.read(min(BLOCK_BYTES, end))):
            lines += block.count(b"\n")
            end -= len(block)
    return lines
