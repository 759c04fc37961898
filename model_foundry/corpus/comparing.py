"""Filters that compare documents with each other: signatures section by section, then one decision over all.

Documents are compared in one order, whatever the number of processes: the held-out ones first, each side in
the order of the corpus. What repeats an earlier document is left out, so that a held-out document has no copy
in training. Signatures lie on disk while they are compared; memory holds a few numbers a document.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus.filter import Filter, Judge
from model_foundry.corpus.reading import Placement


class Comparison(Filter):
    """A filter that decides over all documents at once."""

    @abstractmethod
    def signature(self, text: str) -> NDArray[np.uint32]:
        """Return what is compared of a document, of shape (width_of_signature,)."""

    @abstractmethod
    def repeats(self, signatures: NDArray[np.uint32], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each of the rows whether it repeats an earlier one that stays.

        Args:
            signatures: Of shape (documents, width), perhaps on disk.
            rows: Which of them are compared, in order.
        """

    @property
    @abstractmethod
    def width_of_signature(self) -> int:
        """Numbers of a signature."""

    def open(self, files: Sequence[Path]) -> Judge:
        """Return what lets every text pass: the decision is made over all."""
        return lambda text, counts: text


@dataclass(frozen=True)
class Signed:
    """The documents of one section: how long they are, and the signatures that filters made of them."""

    characters: NDArray[np.int64]
    """Of each document as it was read, 0 for blank ones."""

    ordinals: dict[int, NDArray[np.int64]]
    """By filter: which documents came to it."""

    signatures: dict[int, NDArray[np.uint32]]
    """By filter: of these."""


def load_signed(path: Path, numbers: Sequence[int]) -> Signed:
    """Read what a job has found."""
    with np.load(path, allow_pickle=False) as file:
        return Signed(
            file["characters"],
            {number: file[f"ordinals.{number}"] for number in numbers},
            {number: file[f"signatures.{number}"] for number in numbers},
        )


@dataclass(frozen=True)
class Compared:
    """One source in a comparison."""

    name: str
    sections: list[Path]
    """What the jobs have found, in order."""

    placement: Placement


def decide(sources: Sequence[Compared], filters: dict[int, Comparison], folder: Path) -> dict[str, list[int]]:
    """Write for each source which filter leaves each document out, and return documents by section.

    Args:
        sources: In order.
        filters: By number, 1 or more, in order.
        folder: Receives ``<name>.npy``, uint8, 0 where a document stays.
    """
    documents: dict[str, list[int]] = {}
    held_out: list[NDArray[np.bool_]] = []
    verdicts: list[NDArray[np.uint8]] = []
    starts: list[int] = []
    for source in sources:
        found = [load_signed(path, []).characters for path in source.sections]
        documents[source.name] = [len(one) for one in found]
        starts.append(sum(len(one) for one in verdicts))
        held_out.append(_held_out(np.concatenate(found), source.placement))
        verdicts.append(np.zeros(sum(documents[source.name]), dtype=np.uint8))
    verdict, held = np.concatenate(verdicts), np.concatenate(held_out)
    for number, each in filters.items():
        gathered = _gather(sources, starts, number, each.width_of_signature, folder)
        if gathered is None:
            continue
        places, signatures = gathered
        stays = np.flatnonzero(verdict[places] == 0)
        rows = stays[np.argsort(~held[places[stays]], kind="stable")]
        verdict[places[rows[each.repeats(signatures, rows)]]] = number
    for source, start in zip(sources, starts, strict=True):
        stop = start + sum(documents[source.name])
        np.save(folder / f"{source.name}.npy", verdict[start:stop], allow_pickle=False)
    return documents


def _held_out(characters: NDArray[np.int64], placement: Placement) -> NDArray[np.bool_]:
    if placement.held_out is not None:
        return np.array(placement.held_out, dtype=np.bool_)
    if placement.cut_at is not None:
        return np.cumsum(characters) - characters >= placement.cut_at
    return np.full(len(characters), placement.side == "validation")


def _gather(
    sources: Sequence[Compared], starts: Sequence[int], number: int, width: int, folder: Path
) -> tuple[NDArray[np.int64], NDArray[np.uint32]] | None:
    """Return which documents came to a filter, numbered through all sources, and their signatures on disk."""
    path, places = folder / f"signatures-{number}.bin", []
    with path.open("wb") as file:
        for source, start in zip(sources, starts, strict=True):
            for section in source.sections:
                signed = load_signed(section, [number])
                places.append(start + signed.ordinals[number])
                file.write(signed.signatures[number].tobytes())
                start += len(signed.characters)
    where = np.concatenate(places)
    if not len(where):
        path.unlink()
        return None
    mapped = np.memmap(path, dtype=np.uint32, mode="r", shape=(len(where), width))
    path.unlink()  # the map keeps it until it is let go
    return where, mapped


def in_blocks(rows: NDArray[np.int64], size: int = 1 << 16) -> Iterator[slice]:
    """Yield slices of rows, so that not all of what is on disk is in memory at once."""
    for start in range(0, len(rows), size):
        yield slice(start, start + size)
