"""Matched exposure: what interventions take from the training text is refilled from documents set aside.

A share of the training documents is the pool, chosen by lot (a hash of seed and text, so equal documents go
together). The target is what the other training documents had before the interventions; documents of the
pool, edited like the rest, are added in the order of their lots until it is reached. What of the pool is not
needed is not shown. An identity intervention takes nothing, so its pool stays unused: conditions with the
same seed have the same target and the same pool.
"""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar, Literal

from pydantic import Field, PrivateAttr

from model_foundry.corpus.edition import Edition
from model_foundry.corpus.split import SplitSource
from model_foundry.corpus.steps import DocumentStep, Reading
from model_foundry.errors import DataError

_log = logging.getLogger(__name__)

Unit = Literal["words", "tokens", "documents"]


def lot(seed: int, text: str) -> int:
    """Return the lot of a document, below 2^64; it decides who is in the pool, and who of it comes first."""
    return int.from_bytes(hashlib.blake2b(f"pool|{seed}|{text}".encode(), digest_size=8).digest(), "big")


class Pool(DocumentStep):
    """Leaves out the documents of the pool, but for those that refill; says what was matched."""

    only_training: ClassVar[bool] = True

    seed: int
    """Of the lots."""

    share: str
    """Of the training documents, as a fraction; their lots are below it."""

    unit: Unit
    """What is matched."""

    target: int | None = None
    """What the training documents outside the pool had before the interventions; None: not counted yet."""

    kept: int = 0
    """What they have after them."""

    refilled: int = 0
    """What the documents that came back have, after the interventions."""

    refilled_to: int = 0
    """Documents whose lot is below this number come back."""

    without: list[int] = Field(default_factory=list)
    """Lots below it that do not: of documents that are held out, too, or are too many of the same."""

    @classmethod
    def part_name(cls) -> str:
        """Return what the manifest calls it."""
        return "pool"

    def apply(self, document: Reading, counts: Counter[str]) -> Reading | None:
        """Return the document, or None where it stays in the pool."""
        drawn = lot(self.seed, document.text)
        if not self.has(drawn):
            return document
        counts["pool"] += 1
        if drawn < self.refilled_to and drawn not in self.without:
            counts["refilled"] += 1
            return document
        return None

    def has(self, drawn: int) -> bool:
        """Whether a document with this lot is in the pool."""
        return drawn < Fraction(self.share) * 2**64


@dataclass
class _Sizes:
    """Lot and size of documents, before and after the edits."""

    seed: int
    count: Callable[[str], int]
    lots: array[int] = field(default_factory=lambda: array("Q"))
    before: array[int] = field(default_factory=lambda: array("q"))
    after: array[int] = field(default_factory=lambda: array("q"))

    def add(self, before: str, after: str) -> None:
        self.lots.append(lot(self.seed, before))
        self.before.append(self.count(before))
        self.after.append(self.count(after) if after and not after.isspace() else 0)


class _Probe(DocumentStep):
    """Keeps what the edits would do to each training document; passes it on as it was."""

    only_training: ClassVar[bool] = True

    edition: Edition

    _sizes: _Sizes = PrivateAttr()

    @property
    def needs_parse(self) -> bool:  # type: ignore[override]  # follows from the source, not from the class
        return self.edition.needs_parse

    def apply(self, document: Reading, counts: Counter[str]) -> Reading:
        self._sizes.add(document.text, self.edition.apply(document, Counter()).text)
        return document


def refilled(
    source: SplitSource,
    edition: Edition,
    pool: Pool,
    count: Callable[[str], int],
    held_out: Iterable[str],
) -> Pool:
    """Return the pool with what of it comes back; one pass over the source's text.

    Args:
        source: Without pool and interventions.
        edition: The interventions.
        pool: What is set aside.
        count: Tells how much of the pool's unit a text is.
        held_out: Texts beside the source's own held-out ones that must not come back.

    Raises:
        DataError: When the pool is too small, or the interventions add to the text.
    """
    probe = _Probe(edition=edition)
    sizes = probe._sizes = _Sizes(pool.seed, count)
    probing = SplitSource(source.name, source.source, source.inputs, source.rule, [*source.steps, probe])
    never = {lot(pool.seed, text) for text in held_out}
    never |= {lot(pool.seed, part.text) for part in probing.parts() if part.side == "validation"}
    documents = list(zip(sizes.lots, sizes.before, sizes.after, strict=True))
    outside = [document for document in documents if not pool.has(document[0])]
    target, kept = sum(before for _, before, _ in outside), sum(after for *_, after in outside)
    leaked = len(never.intersection(drawn for drawn, *_ in outside))
    if leaked:
        _log.warning(
            "%s: %d of its training documents are held out, too, so the held-out loss will be too low. "
            "Remove them from one of the two.",
            source.name,
            leaked,
        )
    if kept > target:
        raise DataError(
            f"source {source.name}: the interventions add to the text ({kept} {pool.unit}, {target} before), "
            "expected them to take from it: only that can be refilled. Set corpus.exposure.match to none."
        )
    candidates = [(drawn, after) for drawn, _, after in documents if pool.has(drawn)]
    result = _take(pool, candidates, target, kept, never)
    if kept + result.refilled < target:
        raise DataError(
            f"source {source.name}: the pool of {len(candidates)} documents is used up at "
            f"{kept + result.refilled} of {target} {pool.unit}. Raise corpus.exposure.pool."
        )
    return result


def _take(pool: Pool, candidates: list[tuple[int, int]], target: int, kept: int, never: set[int]) -> Pool:
    """Take documents in the order of their lots up to the target, and less than a document beyond it."""
    groups: dict[int, list[int]] = {}
    for drawn, size in sorted(candidates):
        groups.setdefault(drawn, []).append(size)
    without, taken, last = [], 0, 0
    for drawn, sizes in groups.items():
        missing = target - kept - taken
        if missing <= 0:
            break
        last = drawn + 1
        if drawn in never or sum(sizes[1:]) >= missing:  # equal documents, more than one too many
            without.append(drawn)
        else:
            taken += sum(sizes)
    found = {"target": target, "kept": kept, "refilled": taken, "refilled_to": last, "without": without}
    return pool.model_copy(update=found)
