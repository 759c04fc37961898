"""Each document of a source, in order, on the training or the validation side."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus._words import count_words
from model_foundry.corpus.fingerprint import FingerprintedInput
from model_foundry.corpus.source import Input, Source
from model_foundry.corpus.steps import DocumentStep, Reading, StepTally, apply_steps, steps_key
from model_foundry.errors import DataError

Side = Literal["train", "validation"]


@dataclass(frozen=True)
class SplitRule:
    """How one source is divided."""

    kind: Literal["train", "validation", "document", "tail"]
    """The side that takes everything, or what is divided."""

    fraction: Fraction = Fraction(0)
    """Share that is held out, where something is divided."""

    seed: int = 0
    """Chooses the held-out documents, where documents are divided."""

    def key(self) -> dict[str, Any]:
        """Return what the result depends on."""
        if self.kind in ("train", "validation"):
            return {"kind": self.kind}
        given = {"kind": self.kind, "fraction": str(self.fraction)}
        return {**given, "seed": self.seed} if self.kind == "document" else given


@dataclass(frozen=True)
class Part:
    """A document on one side, or one of the two halves of the document that ``tail`` cuts through."""

    ordinal: int
    """Number of the document in its source, blank ones counted."""

    text: str
    side: Side
    is_complete: bool = True
    """Whether the end of the document is in it."""


@dataclass
class Tally:
    """What went in, to compare with what came out."""

    counts_text: bool = False
    """Whether words and bytes are counted, which takes time."""

    documents_by_input: list[int] = field(default_factory=list)
    words: int = 0
    bytes: int = 0
    blank_documents: int = 0
    blank_bytes: int = 0
    cut_documents: int = 0
    cut_words: int = 0
    """1 when the cut goes through a word, which then counts on both sides."""

    steps: list[StepTally] = field(default_factory=list)


class SplitSource:
    """A source with its rule, which can be read any number of times and gives the same parts each time.

    Args:
        name: What messages call it.
        source: Its settings.
        inputs: Its files.
        rule: How it is divided.
        steps: What is done to every document once its side is known, in order.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        inputs: list[FingerprintedInput],
        rule: SplitRule,
        steps: Sequence[DocumentStep] = (),
    ) -> None:
        self.name = name
        self.source = source
        self.inputs = inputs
        self.rule = rule
        self.steps = list(steps)

    def key(self) -> dict[str, Any]:
        """Return what its parts depend on, without the places of files and the use made of the text."""
        settings = self.source.model_dump(mode="json", exclude={"path", "weight", "max_epochs"})
        inputs = [[item.source_input.name, item.sha256] for item in self.inputs]
        steps = {"steps": steps_key(self.steps)} if self.steps else {}
        return {"source": settings, "inputs": inputs, "split": self.rule.key(), **steps}

    def parts(self, tally: Tally | None = None) -> Iterator[Part]:
        """Yield every document that is not blank, in order.

        Args:
            tally: Counts what is read.

        Raises:
            DataError: When the text cannot be read or cannot be divided like this.
        """
        tally = tally or Tally()
        tally.steps = [StepTally() for _ in self.steps]
        position = 0
        for ordinal, document in self._documents(tally, parsed=any(step.needs_parse for step in self.steps)):
            if self.rule.kind == "tail":
                yield from self._cut(ordinal, document, self._cut_at - position, tally)
                position += len(document.text)
            elif self.rule.kind == "document":
                yield from self._on(
                    "validation" if self._held_out[ordinal] else "train", ordinal, document, tally
                )
            else:
                yield from self._on(self.rule.kind, ordinal, document, tally)

    def _on(self, side: Side, ordinal: int, document: Reading, tally: Tally) -> Iterator[Part]:
        left = apply_steps(document, self.steps, tally.steps, is_training=side == "train")
        if left is not None:
            yield Part(ordinal, left.text, side)

    def _documents(self, tally: Tally, parsed: bool = False) -> Iterator[tuple[int, Reading]]:
        ordinal = 0
        for item in self.inputs:
            tally.documents_by_input.append(0)
            for document in self._readings(item.source_input, parsed):
                text = document.text
                tally.documents_by_input[-1] += 1
                if text and not text.isspace():
                    if tally.counts_text:
                        tally.words += count_words(text)
                        tally.bytes += len(text.encode())
                    yield ordinal, document
                else:
                    tally.blank_documents += 1
                    tally.blank_bytes += len(text.encode())
                ordinal += 1

    def _readings(self, source_input: Input, parsed: bool) -> Iterator[Reading]:
        if parsed:
            for document in self.source.parsed(source_input):  # type: ignore[attr-defined,unused-ignore]
                yield Reading(document.text, document)
        else:
            yield from map(Reading, self.source.documents(source_input))

    def _cut(self, ordinal: int, document: Reading, at: int, tally: Tally) -> Iterator[Part]:
        text = document.text
        if at >= len(text) or (at > 0 and self.steps):  # steps take documents as a whole
            yield from self._on("train", ordinal, document, tally)
        elif at <= 0:
            yield from self._on("validation", ordinal, document, tally)
        else:
            tally.cut_documents += 1
            tally.cut_words += not (text[at - 1].isspace() or text[at].isspace())
            yield Part(ordinal, text[:at], "train", is_complete=False)
            yield Part(ordinal, text[at:], "validation")

    @cached_property
    def _cut_at(self) -> int:
        """Characters of the training side; one pass over the text."""
        characters = sum(len(document.text) for _, document in self._documents(Tally()))
        at = math.floor(characters * (1 - self.rule.fraction))
        if at == 0:
            raise DataError(
                f"source {self.name}: holding out {float(self.rule.fraction):.6g} of {characters} "
                "characters leaves nothing to train on. Lower validation.fraction."
            )
        return at

    @cached_property
    def _held_out(self) -> NDArray[np.bool_]:
        """Whether each document is held out, by ordinal; one pass over the text."""
        tally = Tally()
        ordinals, hashes = array("q"), array("Q")
        start = f"{self.rule.seed}|".encode()
        for ordinal, document in self._documents(tally):
            ordinals.append(ordinal)
            hashes.append(
                int.from_bytes(hashlib.blake2b(start + document.text.encode(), digest_size=8).digest(), "big")
            )
        chosen = choose_held_out(np.frombuffer(hashes, dtype=np.uint64), self.rule.fraction)
        if chosen.all():
            number = f"{len(chosen)} documents" if len(chosen) > 1 else "only one document"
            raise DataError(
                f"source {self.name}: has {number}, and holding out whole documents would leave none to "
                "train on. Hold out the end of the text instead (validation: {split: tail}), divide it "
                "into more documents (document: blank_line), or lower validation.fraction."
            )
        result = np.zeros(sum(tally.documents_by_input), dtype=np.bool_)
        result[np.frombuffer(ordinals, dtype=np.int64)] = chosen
        return result

    def no_documents(self) -> DataError:
        """Return the error for a source without text."""
        first = self.inputs[0].source_input.path
        which = f"{first} holds" if len(self.inputs) == 1 else f"{first} and {len(self.inputs) - 1} more hold"
        return DataError(
            f"source {self.name}: {which} no text, expected at least one document with some. "
            "Correct the path, or remove the source."
        )


def choose_held_out(hashes: NDArray[np.uint64], fraction: Fraction) -> NDArray[np.bool_]:
    """Choose the documents with the smallest hashes, ``ceil(fraction * documents)`` of them.

    Equal documents stay together. A group of them that is too large for what is still missing is passed
    over, so that a text which stands there a thousand times does not take a thousand places; where every
    group is too large, the smallest is taken.
    """
    wanted = math.ceil(fraction * len(hashes))
    groups, members, sizes = np.unique(hashes, return_inverse=True, return_counts=True)
    is_chosen = np.zeros(len(groups), dtype=np.bool_)
    missing = wanted
    for number, size in enumerate(sizes.tolist()):
        if size <= missing:
            is_chosen[number] = True
            missing -= size
        if missing == 0:
            break
    if wanted and not is_chosen.any():
        is_chosen[int(np.argmin(sizes))] = True
    return is_chosen[members]
