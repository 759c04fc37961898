"""A source in sections of a few megabytes, each prepared by itself, by whichever process is free.

Where sections begin depends on the files alone, so work that was interrupted finds its finished sections
again; what is written in the end does not depend on them at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from model_foundry.corpus.fingerprint import FingerprintedInput
from model_foundry.corpus.source import Input, Source

SECTION_BYTES = 16 << 20
_MAX_INPUTS = 4096


@dataclass(frozen=True)
class Section:
    """A stretch of a source's text."""

    inputs: tuple[Input, ...]

    positions: tuple[int, ...]
    """Which of the source's inputs each of them is, or is a part of."""

    size: int
    """Bytes on disk."""


def sections_of(source: Source, inputs: Sequence[FingerprintedInput], size: int) -> list[Section]:
    """Return the sections of a source, in order: large files cut where it can be, small ones together."""
    sections: list[Section] = []
    held: list[tuple[Input, int]] = []
    held_bytes = 0

    def finish() -> None:
        nonlocal held_bytes
        if held:
            items, positions = zip(*held, strict=True)
            sections.append(Section(items, positions, held_bytes))
        held.clear()
        held_bytes = 0

    for position, item in enumerate(inputs):
        cuts = source.cuts(item.source_input, size) if item.size > size else [0]
        for start, stop in zip(cuts, [*cuts[1:], None], strict=True):
            held.append((replace(item.source_input, start=start, stop=stop), position))
            held_bytes += (item.size if stop is None else stop) - start
            if held_bytes >= size or len(held) >= _MAX_INPUTS:
                finish()
    finish()
    return sections
