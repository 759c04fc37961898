"""Bytes to text: UTF-8, strictly, or with what does not decode replaced or left out, and counted."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from model_foundry.errors import DataError

OnUndecodable = Literal["error", "replace", "skip"]
UNDECODABLE, REPLACEMENTS = "undecodable_bytes", "replacement_characters"


def decode(
    blocks: Iterator[bytes], where: str, *, start: int, errors: OnUndecodable, losses: Counter[str]
) -> Iterator[str]:
    """Yield the text of blocks, without a byte-order mark at the very start.

    Args:
        blocks: Of one file.
        where: What messages call it.
        start: Which byte of the file the first one is; the first of a character.
        errors: What to do about bytes that do not decode.
        losses: Counts them, and the characters that stand for them.

    Raises:
        DataError: When bytes do not decode and ``errors`` is error, with the offset in the decompressed file;
            when the text is UTF-16.
    """
    rest = b""
    offset = start  # of rest[0]
    first = start == 0
    for block, is_last in _with_last_marked(blocks):
        buffer = rest + block
        if first and buffer[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(
                f"{where}: byte 0: this is UTF-16, expected UTF-8. Convert it: iconv -f UTF-16 -t UTF-8."
            )
        try:
            text, used = codecs.utf_8_decode(buffer, "strict", is_last)
        except UnicodeDecodeError as error:
            if errors == "error":
                position = offset + error.start
                raise DataError(
                    f"{where}: byte {position}: {buffer[error.start : error.start + 4].hex(' ')} is not "
                    f"UTF-8 ({error.reason}), expected UTF-8 text. Convert the file, for instance with "
                    "iconv, remove it, or say errors: replace (or skip)."
                ) from error
            text, used = _forgiving(buffer, is_last, errors, losses)
        offset += used
        rest = buffer[used:]
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        if text:
            yield text


def _forgiving(buffer: bytes, is_last: bool, errors: OnUndecodable, losses: Counter[str]) -> tuple[str, int]:
    """Decode what can be; each longest beginning of a character that goes wrong is replaced as one."""
    kept, used = codecs.utf_8_decode(buffer, "ignore", is_last)
    lost = used - len(kept.encode())
    losses[UNDECODABLE] += lost
    if errors == "skip":
        return kept, used
    text, used_again = codecs.utf_8_decode(buffer, "replace", is_last)
    replaced = len(text) - len(kept)
    assert used_again == used, f"{used} bytes, then {used_again}"
    assert len(text.encode()) == used - lost + 3 * replaced, "a character stands for what it does not replace"
    losses[REPLACEMENTS] += replaced
    return text, used


def _with_last_marked(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    for block in blocks:
        yield block, False
    yield b"", True
