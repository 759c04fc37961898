"""The sides of a large source, found by reading its sections once and kept in the cache."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model_foundry.corpus.cache import digest_of, get_or_build, read_manifest, write_manifest
from model_foundry.corpus.jobs import Done, input_spec, is_whole, load_scan, part_spec
from model_foundry.corpus.progress import Report, Teller
from model_foundry.corpus.reading import Placement, Side
from model_foundry.corpus.sections import Section
from model_foundry.corpus.split import SplitSource
from model_foundry.corpus.workers import Workers

_FORMAT = 1
_HELD_OUT = "held_out.npy"


@dataclass(frozen=True)
class Sides:
    """Where the documents of a source are, as a whole and for each section."""

    folder: Path
    side: Side
    """Of everything, where nothing is divided."""

    cut_at: int | None
    documents: list[int]
    """Of each section, blank ones counted."""

    characters: list[int]
    """Of each section, in documents that are not blank."""

    num_bytes: int
    """Of documents that are not blank."""

    @property
    def whole(self) -> Placement:
        """The sides of the whole source."""
        if self.cut_at is not None:
            return Placement(cut_at=self.cut_at)
        if not (self.folder / _HELD_OUT).is_file():
            return Placement(self.side)
        return Placement(held_out=np.load(self.folder / _HELD_OUT, mmap_mode="r", allow_pickle=False))

    def of_section(self, number: int) -> dict[str, Any]:
        """Return the placement of a section as a job names it."""
        if self.cut_at is not None:
            return {"cut_at": self.cut_at - sum(self.characters[:number])}
        first = sum(self.documents[:number])
        held_out = str(self.folder / _HELD_OUT)
        return {"held_out": held_out, "first": first, "documents": self.documents[number]}


def sides_entry(source: SplitSource, sections: list[Section], cache: Path) -> Path:
    """Return where the sides of a source are, or will be."""
    sizes = [section.size for section in sections]
    made_from = {**source.key(with_steps=False), "sections": sizes}
    return cache / digest_of({"format": _FORMAT, "kind": "split", **made_from})


def find_sides(
    source: SplitSource, sections: list[Section], cache: Path, workers: Workers, report: Report | None
) -> Sides:
    """Return the sides of a source, from the cache or by reading it.

    Raises:
        DataError: When the text cannot be read, or cannot be divided as asked.
    """
    key = sides_entry(source, sections, cache).name

    def build(folder: Path) -> None:
        scans = folder / "scans"
        scans.mkdir(exist_ok=True)
        _scan(source, sections, scans, workers, report)
        found = [load_scan(scans / f"{number:05d}.npz") for number in range(len(sections))]
        placement = source.place(found)
        if placement.held_out is not None:
            np.save(folder / _HELD_OUT, placement.held_out, allow_pickle=False)
        shutil.rmtree(scans)
        facts = {
            "side": placement.side,
            "cut_at": placement.cut_at,
            "documents": [one.documents for one in found],
            "characters": [one.characters for one in found],
            "num_bytes": sum(one.num_bytes for one in found),
        }
        for item in source.inputs:
            item.check_unchanged()
        write_manifest(folder, {"format": _FORMAT, "key": key, **facts})

    def open_entry(entry: Path) -> Sides:
        manifest = read_manifest(entry, verify=False)
        facts = ("side", "cut_at", "documents", "characters", "num_bytes")
        return Sides(entry, **{name: manifest[name] for name in facts})

    return get_or_build(cache, key, open_entry, build, goes_on=True)


def _scan(
    source: SplitSource, sections: list[Section], folder: Path, workers: Workers, report: Report | None
) -> None:
    jobs, total, finished = [], 0, 0
    for number, section in enumerate(sections):
        target = folder / f"{number:05d}.npz"
        total += section.size
        if target.exists() and is_whole(target):
            finished += section.size
            continue
        jobs.append(
            {
                "kind": "scan",
                "source": part_spec(source.source),
                "inputs": [input_spec(item) for item in section.inputs],
                "hash_seed": source.rule.hash_seed,
                "target": str(target),
            }
        )
    with Teller(report, f"reading {source.name}", total, finished) as teller:
        for event in workers.run(jobs, source.source, source.steps):
            if isinstance(event, Done):
                teller.add(event.characters)
            else:
                teller.look()
