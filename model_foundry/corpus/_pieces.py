"""Long texts in pieces, cut where that changes neither words nor, for most tokenizers, tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator

PIECE_CHARACTERS = 1 << 16
LONG_CHARACTERS = 4 << 20
"""Documents up to this length are held as a whole."""

_CUT = re.compile(r"[ \n](?=\S)")


class Piece(str):
    r"""A part of a document that goes on in the next text: before a space or ``\n`` that a word follows."""

    __slots__ = ()


def cut_between_words(text: str) -> Iterator[str]:
    r"""Cut a text about every 65,536 characters, before a space or ``\n`` that a word follows.

    A text without such places stays whole.
    """
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        cut = _CUT.search(text, start + PIECE_CHARACTERS)
        if cut is None:
            break
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]


def document_in_pieces(blocks: Iterator[str]) -> Iterator[str]:
    """Yield one document that arrives in blocks: as it is up to four million characters, else in pieces.

    All but the last are of type ``Piece``. Where there is no place to cut, a piece grows until there is one.
    """
    held: list[str] = []
    length, wanted = 0, LONG_CHARACTERS
    for block in blocks:
        held.append(block)
        length += len(block)
        if length <= wanted:
            continue
        text = "".join(held)
        cut = _CUT.search(text, LONG_CHARACTERS)
        while cut is not None:
            yield Piece(text[: cut.start()])
            text = text[cut.start() :]
            cut = _CUT.search(text, LONG_CHARACTERS)
        held, length = [text], len(text)
        wanted = max(LONG_CHARACTERS, 2 * length if length > LONG_CHARACTERS else 0)
    yield "".join(held)
