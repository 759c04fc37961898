"""Where a text stands in a stream of tokens, found by decoding it chunk by chunk."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.data.stream import TokenStream

_CHUNK = 1 << 16


def find_text(stream: TokenStream, encoder: TextEncoder, text: str) -> Iterator[tuple[int, int]]:
    """Yield the tokens that hold each occurrence of ``text``, in order: the first, the one after the last.

    Tokens are decoded and not the text encoded, since how a text is cut into tokens depends on what stands
    around it. The time is that of decoding the stream once. Occurrences that begin in one token count as one.
    """
    # A text touches at most as many tokens as it has bytes; a token more at both sides, because a decoder may
    # treat the first and the last one differently.
    margin = len(text.encode()) + 1
    for begin in range(0, len(stream), _CHUNK):
        left = max(0, begin - 1)
        ids = stream.tokens(left, begin + _CHUNK + margin).tolist()
        for start, stop in _spans(ids, encoder, text):
            if begin <= left + start < begin + _CHUNK:
                yield left + start, left + stop


def _spans(ids: list[int], encoder: TextEncoder, text: str) -> Iterator[tuple[int, int]]:
    def holds(start: int, stop: int) -> bool:
        return text in encoder.decode(ids[start:stop])

    at = 0
    while holds(at, len(ids)):
        stop = _first(at + 1, len(ids), lambda stop, at=at: holds(at, stop))  # type: ignore[misc]
        start = _first(at, stop, lambda start, stop=stop: not holds(start + 1, stop))  # type: ignore[misc]
        yield start, stop
        at = start + 1


def _first(low: int, high: int, is_reached: Callable[[int], bool]) -> int:
    """Return the first number from ``low`` on for which ``is_reached`` holds; it holds for ``high``."""
    return low + bisect_left(range(low, high), True, key=is_reached)
