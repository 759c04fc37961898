"""What is done to every document after it was put on a side, with what it costs counted by the caller.

A step sees one document at a time and depends on nothing else: parts of a corpus go through the steps in any
order, in several processes, some of them twice. What a step takes away is never its own count: documents,
words and bytes are measured before and after it, and the difference stands in the manifest as its loss. The
sides are chosen by the text as it was read, so that corpora which differ in their steps hold out the same.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from model_foundry.corpus._words import count_words
from model_foundry.parts import Part

SAMPLED = 20
"""How many of the documents that a step left out are kept to be looked at."""

_SHOWN_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class Reading:
    """A document on its way."""

    text: str

    parsed: Any = None
    """Its parse, where the source brings one and a step needs it."""

    ordinal: int = 0
    """Number of the document in what is read, blank ones counted."""


class DocumentStep(Part):
    """Settings of one step; they are made anew in other processes from their JSON."""

    needs_parse: ClassVar[bool] = False
    """Whether ``Reading.parsed`` must be there."""

    only_training: ClassVar[bool] = False
    """Whether held-out documents pass it by."""

    is_sampled: ClassVar[bool] = False
    """Whether some of the documents that it changes or leaves out are kept to be looked at."""

    def key(self) -> dict[str, Any]:
        """Return what it depends on; it is in the manifest, too."""
        return self.model_dump(mode="json")

    def at_section(self, number: int) -> Self:
        """Return the step for the documents of a section, which are numbered from 0."""
        return self

    @abstractmethod
    def apply(self, document: Reading, counts: Counter[str]) -> Reading | None:
        """Return the document as the step leaves it, or None where it is left out.

        Args:
            document: Is not blank.
            counts: What the step wants to tell about itself, such as edits by kind; added up over the corpus.
        """


@dataclass
class StepTally:
    """What went through one step."""

    documents_in: int = 0
    documents_out: int = 0
    words_in: int = 0
    words_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    sample: dict[str, list[Any]] = field(default_factory=dict)
    """By lot: the beginning of a text, its words, and how many are left."""

    def keep(self, text: str, left: str | None) -> None:
        """Keep a document that was changed or left out, where its lot is among the least.

        The lot is a hash of the text, so that neither the order nor the number of processes decides.
        """
        lot = hashlib.blake2b(b"removed|" + text.encode(), digest_size=8).hexdigest()
        if len(self.sample) < SAMPLED or lot < max(self.sample):
            self.sample[lot] = [text[:_SHOWN_CHARACTERS], count_words(text), count_words(left or "")]
            self.sample = dict(sorted(self.sample.items())[:SAMPLED])

    def add(self, other: StepTally) -> None:
        """Take in what another part of the corpus counted."""
        for unit in ("documents", "words", "bytes"):
            for side in ("in", "out"):
                name = f"{unit}_{side}"
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.counts.update(other.counts)
        self.sample = dict(sorted({**self.sample, **other.sample}.items())[:SAMPLED])

    def summary(self) -> dict[str, Any]:
        """Return it as the manifest has it: in, out and lost (less than nothing where text was added)."""
        units = {
            unit: {"in": getattr(self, f"{unit}_in"), "out": getattr(self, f"{unit}_out")}
            for unit in ("documents", "words", "bytes")
        }
        for counts in units.values():
            counts["lost"] = counts["in"] - counts["out"]
        return {**units, "counts": dict(sorted(self.counts.items()))}


def apply_steps(
    document: Reading, steps: Sequence[DocumentStep], tallies: Sequence[StepTally], *, is_training: bool
) -> Reading | None:
    """Return what is left of a document that is not blank; None where a step left it out or blank.

    A document that a step does not concern is in its counts, going in and coming out.
    """
    left: Reading | None = document
    words, size = _measured(document.text) if steps else (0, 0)
    for step, tally in zip(steps, tallies, strict=True):
        if left is None:
            break
        given = left.text
        tally.documents_in += 1
        tally.words_in += words
        tally.bytes_in += size
        if is_training or not step.only_training:
            left = step.apply(left, tally.counts)
        if left is not None and (not left.text or left.text.isspace()):
            left = None
        is_changed = left is None or (left.text is not given and left.text != given)
        if step.is_sampled and is_changed:
            tally.keep(given, None if left is None else left.text)
        if left is not None:
            if is_changed:
                words, size = _measured(left.text)
            tally.documents_out += 1
            tally.words_out += words
            tally.bytes_out += size
    return left


def _measured(text: str) -> tuple[int, int]:
    """Return words and bytes."""
    return count_words(text), len(text.encode())


def steps_key(steps: Sequence[DocumentStep]) -> list[dict[str, Any]]:
    """Return what the steps depend on, in order."""
    return [step.key() for step in steps]


def samples_of(steps: Sequence[DocumentStep], tallies: Sequence[StepTally]) -> list[dict[str, Any]]:
    """Return what was kept of each step: beginnings of texts, their words, and how many are left."""
    names = ("text", "words", "words_left")
    return [
        {**step.key(), "removed": [dict(zip(names, kept, strict=True)) for kept in tally.sample.values()]}
        for step, tally in zip(steps, tallies, strict=True)
        if step.is_sampled
    ]


def check_chain(tallies: Sequence[StepTally], read: dict[str, int], left: dict[str, int]) -> None:
    """Assert that every step was given what the one before it left, from the source to the shards."""
    given = read
    for number, tally in enumerate(tallies):
        found = {unit: getattr(tally, f"{unit}_in") for unit in given}
        assert found == given, f"step {number} was given {found}, expected {given}"
        given = {unit: getattr(tally, f"{unit}_out") for unit in given}
    assert given == left, f"read {read}, the steps left {given}, wrote {left}"
