"""What is done to every document after it was put on a side, with what it costs counted by the caller.

A step sees one document at a time and depends on nothing else: parts of a corpus go through the steps in any
order, in several processes, some of them twice. What a step takes away is never its own count: documents,
words and bytes are measured before and after it, and the difference stands in the manifest as its loss. The
sides are chosen by the text as it was read, so that corpora which differ in their steps hold out the same.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from model_foundry.corpus._words import count_words
from model_foundry.parts import Part


@dataclass(frozen=True, slots=True)
class Reading:
    """A document on its way."""

    text: str

    parsed: Any = None
    """Its parse, where the source brings one and a step needs it."""


class DocumentStep(Part):
    """Settings of one step; they are made anew in other processes from their JSON."""

    needs_parse: ClassVar[bool] = False
    """Whether ``Reading.parsed`` must be there."""

    only_training: ClassVar[bool] = False
    """Whether held-out documents pass it by."""

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

    def add(self, other: StepTally) -> None:
        """Take in what another part of the corpus counted."""
        for unit in ("documents", "words", "bytes"):
            for side in ("in", "out"):
                name = f"{unit}_{side}"
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.counts.update(other.counts)

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
    for step, tally in zip(steps, tallies, strict=True):
        if left is None:
            break
        tally.documents_in += 1
        tally.words_in += count_words(left.text)
        tally.bytes_in += len(left.text.encode())
        if is_training or not step.only_training:
            left = step.apply(left, tally.counts)
        if left is not None and (not left.text or left.text.isspace()):
            left = None
        if left is not None:
            tally.documents_out += 1
            tally.words_out += count_words(left.text)
            tally.bytes_out += len(left.text.encode())
    return left


def steps_key(steps: Sequence[DocumentStep]) -> list[dict[str, Any]]:
    """Return what the steps depend on, in order."""
    return [step.model_dump(mode="json") for step in steps]


def check_chain(tallies: Sequence[StepTally], read: dict[str, int], left: dict[str, int]) -> None:
    """Assert that every step was given what the one before it left, from the source to the shards."""
    given = read
    for number, tally in enumerate(tallies):
        found = {unit: getattr(tally, f"{unit}_in") for unit in given}
        assert found == given, f"step {number} was given {found}, expected {given}"
        given = {unit: getattr(tally, f"{unit}_out") for unit in given}
    assert given == left, f"read {read}, the steps left {given}, wrote {left}"
