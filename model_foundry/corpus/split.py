"""Which documents of a source are held out, or where its text is cut, decided over all of it."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus.fingerprint import FingerprintedInput
from model_foundry.corpus.reading import Part, Placement, Tally, place_texts, read_texts
from model_foundry.corpus.source import Input, Source
from model_foundry.corpus.steps import DocumentStep, steps_key
from model_foundry.errors import DataError

_BLOCK = 1 << 20


@dataclass(frozen=True)
class SplitRule:
    """How one source is divided."""

    kind: Literal["train", "validation", "document", "tail"]
    """The side that takes everything, or what is divided."""

    fraction: Fraction = Fraction(0)
    """Share that is held out, where something is divided."""

    seed: int = 0
    """Chooses the held-out documents, where documents are divided."""

    @property
    def hash_seed(self) -> int | None:
        """The seed of the documents' hashes, where they decide."""
        return self.seed if self.kind == "document" else None

    def key(self) -> dict[str, Any]:
        """Return what the result depends on."""
        if self.kind in ("train", "validation"):
            return {"kind": self.kind}
        given = {"kind": self.kind, "fraction": str(self.fraction)}
        return {**given, "seed": self.seed} if self.kind == "document" else given


@dataclass(frozen=True)
class Scan:
    """What one pass over some inputs found."""

    documents: int
    """Blank ones counted."""

    characters: int
    """Of documents that are not blank."""

    num_bytes: int
    """Of documents that are not blank, in UTF-8."""

    ordinals: NDArray[np.int64]
    """Which documents are not blank, where hashes are asked for."""

    hashes: NDArray[np.uint64]
    """Of these."""


def scan(source: Source, inputs: Sequence[Input], hash_seed: int | None) -> Iterator[int | Scan]:
    """Read inputs once; yield how many characters were read now and then, and at last the result."""
    tally = Tally()
    ordinals, hashes = array("q"), array("Q")
    start = f"{hash_seed}|".encode()
    digest = None
    num_bytes = told = 0
    for text in read_texts(source, inputs, tally):
        data = text.document.text.encode()
        num_bytes += len(data)
        if hash_seed is not None:
            digest = digest or hashlib.blake2b(start, digest_size=8)
            digest.update(data)
            if text.ends:
                ordinals.append(text.ordinal)
                hashes.append(int.from_bytes(digest.digest(), "big"))
                digest = None
        if tally.characters - told >= _BLOCK:
            yield tally.characters - told
            told = tally.characters
    yield Scan(
        sum(tally.documents_by_input),
        tally.characters,
        num_bytes,
        np.frombuffer(ordinals, dtype=np.int64),
        np.frombuffer(hashes, dtype=np.uint64),
    )


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

    def key(self, *, with_steps: bool = True) -> dict[str, Any]:
        """Return what its parts depend on, without the places of files and the use made of the text."""
        settings = self.source.model_dump(mode="json", exclude={"path", "weight", "max_epochs"})
        if settings.get("errors") == "error":
            del settings["errors"]  # corpora of before there was a choice keep their names
        inputs = [[item.source_input.name, item.sha256] for item in self.inputs]
        steps = {"steps": steps_key(self.steps)} if self.steps and with_steps else {}
        return {"source": settings, "inputs": inputs, "split": self.rule.key(), **steps}

    @property
    def num_bytes(self) -> int:
        """Bytes of its files."""
        return sum(item.size for item in self.inputs)

    @property
    def needs_parse(self) -> bool:
        """Whether a step reads the parse."""
        return any(step.needs_parse for step in self.steps)

    def parts(self, tally: Tally | None = None, placement: Placement | None = None) -> Iterator[Part]:
        """Yield every document that is not blank, in order.

        Args:
            tally: Counts what is read.
            placement: The sides; the default takes a pass over the text to find out.

        Raises:
            DataError: When the text cannot be read or cannot be divided like this.
        """
        tally = tally or Tally()
        inputs = [item.source_input for item in self.inputs]
        texts = read_texts(self.source, inputs, tally, parsed=self.needs_parse, whole=bool(self.steps))
        yield from place_texts(texts, placement or self.placement, self.steps, tally)

    def place(self, scans: Sequence[Scan]) -> Placement:
        """Return the sides of the whole source from the scans of its sections, in order.

        Raises:
            DataError: When one of the sides would have nothing.
        """
        if self.rule.kind in ("train", "validation"):
            return Placement(self.rule.kind)
        if self.rule.kind == "tail":
            return Placement(cut_at=self._cut_at(sum(found.characters for found in scans)))
        hashes = [found.hashes for found in scans]
        chosen = choose_hashes(hashes, self.rule.fraction)
        total = sum(map(len, hashes))
        held_out = np.zeros(sum(found.documents for found in scans), dtype=np.bool_)
        first = taken = 0
        for found in scans:
            is_held = np.isin(found.hashes, chosen)
            held_out[first + found.ordinals[is_held]] = True
            taken += int(is_held.sum())
            first += found.documents
        if total and taken == total:
            raise self._nothing_to_train_on(total)
        return Placement(held_out=held_out)

    @cached_property
    def placement(self) -> Placement:
        """The sides, found by a pass over the text in this process."""
        if self.rule.kind in ("train", "validation"):
            return self.place([])
        inputs = [item.source_input for item in self.inputs]
        return self.place(
            [found for found in scan(self.source, inputs, self.rule.hash_seed) if isinstance(found, Scan)]
        )

    def _cut_at(self, characters: int) -> int:
        """Characters of the training side."""
        at = math.floor(characters * (1 - self.rule.fraction))
        if at == 0 and characters:
            raise DataError(
                f"source {self.name}: holding out {float(self.rule.fraction):.6g} of {characters} "
                "characters leaves nothing to train on. Lower validation.fraction."
            )
        return at

    def _nothing_to_train_on(self, documents: int) -> DataError:
        number = f"{documents} documents" if documents > 1 else "only one document"
        return DataError(
            f"source {self.name}: has {number}, and holding out whole documents would leave none to "
            "train on. Hold out the end of the text instead (validation: {split: tail}), divide it "
            "into more documents (document: blank_line), or lower validation.fraction."
        )

    def no_documents(self) -> DataError:
        """Return the error for a source without text."""
        first = self.inputs[0].source_input.path
        which = f"{first} holds" if len(self.inputs) == 1 else f"{first} and {len(self.inputs) - 1} more hold"
        left = " that is left after the steps" if self.steps else ""
        return DataError(
            f"source {self.name}: {which} no text{left}, expected at least one document with some. "
            "Correct the path, or remove the source."
        )


def choose_hashes(hashes: Sequence[NDArray[np.uint64]], fraction: Fraction) -> NDArray[np.uint64]:
    """Choose the smallest hashes, of ``ceil(fraction * documents)`` documents; memory follows the fraction.

    Equal documents stay together. A group of them that is too large for what is still missing is passed
    over, so that a text which stands there a thousand times does not take a thousand places; where every
    group is too large, the smallest is taken.

    Args:
        hashes: Of all documents, in any order, in several arrays.
        fraction: Share that is wanted.
    """
    total = sum(map(len, hashes))
    wanted = math.ceil(fraction * total)
    if not wanted:
        return np.zeros(0, dtype=np.uint64)
    share = float(fraction) * 1.1 + 0.01  # hashes are even: the smallest lie below about this
    while True:
        below = [block if share >= 1 else block[block < np.uint64(share * 2**64)] for block in hashes]
        groups, sizes = np.unique(np.concatenate(below), return_counts=True)
        chosen, missing = _smallest(sizes, wanted)
        if share >= 1 and not chosen.any():
            chosen[int(np.argmin(sizes))] = True
        if share >= 1 or not missing:
            result: NDArray[np.uint64] = groups[chosen]
            return result
        share *= 4


def _smallest(sizes: NDArray[np.int64], wanted: int) -> tuple[NDArray[np.bool_], int]:
    """Take groups in order as long as they fit; return which, and how many documents are still missing."""
    is_chosen = np.zeros(len(sizes), dtype=np.bool_)
    missing = wanted
    for number, size in enumerate(sizes.tolist()):
        if size <= missing:
            is_chosen[number] = True
            missing -= size
        if missing == 0:
            break
    return is_chosen, missing


def choose_held_out(hashes: NDArray[np.uint64], fraction: Fraction) -> NDArray[np.bool_]:
    """Return for each document whether it is held out, by the hashes of all."""
    return np.isin(hashes, choose_hashes([hashes], fraction))
