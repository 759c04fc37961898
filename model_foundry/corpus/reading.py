"""Inputs to documents on their sides: numbered, tallied, put on a side and led through the steps.

The same code reads a whole source and a section of it; numbers and positions count from where it begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus._pieces import Piece
from model_foundry.corpus.source import Input, Source
from model_foundry.corpus.steps import DocumentStep, Reading, StepTally, apply_steps

Side = Literal["train", "validation"]


@dataclass(frozen=True)
class Part:
    """A document on one side, or one of the halves of a document that ``tail`` cuts, or a piece of those."""

    ordinal: int
    """Number of the document in what is read, blank ones counted."""

    text: str
    side: Side
    is_complete: bool = True
    """Whether the end of the document is in it."""

    goes_on: bool = False
    """Whether more of the same document on the same side comes next."""


@dataclass(frozen=True)
class Placement:
    """Which side documents are on: all on one, or each on its own, or those before a place on the first."""

    side: Side = "train"
    held_out: NDArray[np.bool_] | None = None
    """For each document (blank ones counted) whether it is on the validation side."""

    cut_at: int | None = None
    """Characters of documents that are not blank, after which validation begins."""


@dataclass
class Tally:
    """What went in, to compare with what came out."""

    documents_by_input: list[int] = field(default_factory=list)
    characters: int = 0
    """Of documents that are not blank."""

    words: int = 0
    bytes: int = 0
    """Of what was encoded, counted in the text; a word that the cut goes through counts once."""

    blank_documents: int = 0
    blank_bytes: int = 0
    cut_documents: int = 0
    cut_words: int = 0
    """1 when the cut goes through a word, which then counts on both sides."""

    losses: Counter[str] = field(default_factory=Counter)
    """What the source left out or replaced while it read."""

    steps: list[StepTally] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Text:
    """A document that is not blank, or a piece of one."""

    ordinal: int
    document: Reading
    ends: bool
    """Whether it is the last piece."""


def read_texts(
    source: Source, inputs: Sequence[Input], tally: Tally, *, parsed: bool = False, whole: bool = False
) -> Iterator[Text]:
    """Yield the documents of some inputs that are not blank, in order.

    Args:
        source: Reads them.
        inputs: In order.
        tally: Counts them.
        parsed: With their parse.
        whole: Long documents in one piece.
    """
    ordinal = 0
    for item in inputs:
        tally.documents_by_input.append(0)
        begun = False
        counted = replace(item, losses=tally.losses)
        for document, ends in _pieces(source, counted, parsed=parsed, whole=whole):
            if not begun:
                tally.documents_by_input[-1] += 1
            text = document.text
            if begun or (
                text and not text.isspace()
            ):  # white space has no place to cut: it is the first piece
                tally.characters += len(text)
                yield Text(ordinal, document, ends)
                begun = not ends
            else:
                tally.blank_documents += 1
                tally.blank_bytes += len(text.encode())
            ordinal += ends


def _pieces(source: Source, item: Input, *, parsed: bool, whole: bool) -> Iterator[tuple[Reading, bool]]:
    if parsed:
        for document in source.parsed(item):
            yield Reading(document.text, document), True
        return
    held: list[str] = []
    for text in source.documents(item):
        ends = not isinstance(text, Piece)
        if whole and (held or not ends):
            held.append(text)
            if not ends:
                continue
            text, held = "".join(held), []
        yield Reading(text), ends


def place_texts(
    texts: Iterator[Text], placement: Placement, steps: Sequence[DocumentStep], tally: Tally
) -> Iterator[Part]:
    """Yield what is written of documents, in order, each on its side.

    Args:
        texts: Whole documents where there are steps.
        placement: The sides.
        steps: Done to every document once its side is known.
        tally: Counts what the cut and the steps do.
    """
    tally.steps = [StepTally() for _ in steps]
    position = 0

    def on(side: Side, text: Text) -> Iterator[Part]:
        left: Reading | None = text.document
        if steps:
            given = replace(text.document, ordinal=text.ordinal)
            left = apply_steps(given, steps, tally.steps, is_training=side == "train")
        if left is not None:
            yield Part(text.ordinal, left.text, side, is_complete=text.ends, goes_on=not text.ends)

    for text in texts:
        length = len(text.document.text)
        if placement.held_out is not None:
            yield from on("validation" if placement.held_out[text.ordinal] else "train", text)
        elif placement.cut_at is None:
            yield from on(placement.side, text)
        else:
            at = placement.cut_at - position
            position += length
            if at <= 0:
                yield from on("validation", text)
            elif at > length or (at == length and text.ends) or steps:  # steps take documents as a whole
                yield from on("train", text)
            else:
                yield from _cut(text, at, tally)


def _cut(text: Text, at: int, tally: Tally) -> Iterator[Part]:
    whole = text.document.text
    tally.cut_documents += 1
    if at == len(whole):  # between two pieces, which is between two words
        yield Part(text.ordinal, whole, "train", is_complete=False)
        return
    tally.cut_words += not (whole[at - 1].isspace() or whole[at].isspace())
    yield Part(text.ordinal, whole[:at], "train", is_complete=False)
    yield Part(text.ordinal, whole[at:], "validation", is_complete=text.ends, goes_on=not text.ends)
