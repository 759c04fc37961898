"""A source to token shards: its sections, encoded by several processes, appended in order as they finish."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from model_foundry.corpus.cache import write_json
from model_foundry.corpus.chunks import SideChunk
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.fast import TokensDiffer
from model_foundry.corpus.jobs import (
    Done,
    Job,
    bulk_encoder,
    encode_section,
    input_spec,
    is_whole,
    load_chunks,
    load_tally,
    part_spec,
)
from model_foundry.corpus.prepared import REMOVED
from model_foundry.corpus.progress import Report, Teller
from model_foundry.corpus.reading import Tally
from model_foundry.corpus.sections import Section
from model_foundry.corpus.shards import SideWriter
from model_foundry.corpus.sides import Sides
from model_foundry.corpus.split import SplitSource
from model_foundry.corpus.statistics import STATISTICS, TextStatistics
from model_foundry.corpus.steps import StepTally, check_chain, samples_of, steps_key
from model_foundry.corpus.workers import Finished, Workers

_log = logging.getLogger(__name__)
_WORK = "sections"


class _Shards:
    """Both sides of a source as they grow, and what was counted on the way."""

    def __init__(self, folder: Path, encoder: TextEncoder, files: ExitStack) -> None:
        self._folder, self._encoder, self._files = folder, encoder, files
        self._writers: dict[str, SideWriter] = {}
        self.statistics = TextStatistics()

    def append(self, sides: dict[str, SideChunk], first_ordinal: int) -> None:
        for side, chunk in sides.items():
            if not len(chunk.tokens):
                continue
            if side not in self._writers:
                writer = SideWriter(self._folder, side, self._encoder)
                self._writers[side] = self._files.enter_context(writer)
            self._writers[side].append(chunk, first_ordinal)

    def close(self) -> dict[str, dict[str, Any]]:
        self.statistics.save(self._folder / STATISTICS)
        return {side: writer.close() for side, writer in self._writers.items()}


def write_source(
    source: SplitSource,
    sections: list[Section],
    sides: Callable[[], Sides | None],
    tokenizer: Path,
    folder: Path,
    workers: Workers,
    report: Report | None,
    *,
    fast: bool,
) -> dict[str, Any]:
    """Write the shards of a source and return what its manifest says about it.

    Args:
        source: What is written.
        sections: Of the source; one is encoded in this process, and leaves nothing behind when it is stopped.
        sides: Of more than one section; None where all is on one side.
        tokenizer: Its folder.
        folder: Receives the shards; may hold sections that an earlier run has finished.
        workers: Encode the sections.
        report: Is told how far it is.
        fast: Encode with snaptokens where it can be.
    """
    encoder = TextEncoder(tokenizer)
    try:
        splits, tally = _write(source, sections, sides, encoder, folder, workers, report, fast=fast)
    except TokensDiffer as difference:
        _log.warning(
            "%s: snaptokens gives other tokens than tokenizers for %s; all is tokenized again without it",
            source.name,
            difference,
        )
        shutil.rmtree(folder)
        folder.mkdir()
        splits, tally = _write(source, sections, sides, encoder, folder, workers, report, fast=False)
    if not splits:
        raise source.no_documents()
    for item in source.inputs:
        item.check_unchanged()
    check_conservation(source.name, splits, tally)
    if any(step.is_sampled for step in source.steps):
        write_json(folder / REMOVED, samples_of(source.steps, tally.steps))
    return _summary(source, encoder, splits, tally)


def _write(
    source: SplitSource,
    sections: list[Section],
    sides: Callable[[], Sides | None],
    encoder: TextEncoder,
    folder: Path,
    workers: Workers,
    report: Report | None,
    *,
    fast: bool,
) -> tuple[dict[str, dict[str, Any]], Tally]:
    for side in ("train", "validation"):  # of a run that was stopped while it appended
        shutil.rmtree(folder / side, ignore_errors=True)
    with ExitStack() as files:
        shards = _Shards(folder, encoder, files)
        if len(sections) == 1:
            tally = _encode_here(source, encoder, shards, report, fast=fast)
        else:
            tally = _encode_sections(
                source, sections, sides(), encoder, folder, shards, workers, report, fast=fast
            )
        return shards.close(), tally


def _encode_here(
    source: SplitSource, encoder: TextEncoder, shards: _Shards, report: Report | None, *, fast: bool
) -> Tally:
    tally = Tally()
    inputs = [item.source_input for item in source.inputs]
    bulk = bulk_encoder(encoder, fast)
    with Teller(report, f"tokenizing {source.name}", source.num_bytes) as teller:
        facts = (source.steps, source.placement, bulk, tally, shards.statistics)
        for chunk in encode_section(source.source, inputs, *facts):
            shards.append(chunk.sides, 0)
            teller.add(chunk.characters, sum(len(side.tokens) for side in chunk.sides.values()))
    return tally


def _encode_sections(
    source: SplitSource,
    sections: list[Section],
    sides: Sides | None,
    encoder: TextEncoder,
    folder: Path,
    shards: _Shards,
    workers: Workers,
    report: Report | None,
    *,
    fast: bool,
) -> Tally:
    work = folder / _WORK
    work.mkdir(exist_ok=True)
    targets = [work / f"{number:05d}" for number in range(len(sections))]
    is_done = [is_whole(target) for target in targets]
    todo = [number for number, done in enumerate(is_done) if not done]
    jobs = []
    for number in todo:
        shutil.rmtree(targets[number], ignore_errors=True)
        placement = sides.of_section(number) if sides else {"side": source.rule.kind}
        jobs.append(_job(source, sections, number, placement, encoder.folder, targets[number], fast=fast))
    tally = Tally(documents_by_input=[0] * len(source.inputs), steps=[StepTally() for _ in source.steps])
    appended = 0

    def append_finished() -> None:
        nonlocal appended
        while appended < len(sections) and is_done[appended]:
            first_ordinal = sum(tally.documents_by_input)
            for chunk in load_chunks(targets[appended]):
                shards.append(chunk, first_ordinal)
            _add(tally, load_tally(targets[appended]), sections[appended])
            shards.statistics.merge(TextStatistics.load(targets[appended] / STATISTICS))
            appended += 1

    finished = sum(section.size for section, done in zip(sections, is_done, strict=True) if done)
    with Teller(report, f"tokenizing {source.name}", source.num_bytes, finished) as teller:
        for event in workers.run(jobs, source.source, source.steps):
            if isinstance(event, Done):
                teller.add(event.characters, event.tokens)
            elif isinstance(event, Finished):
                is_done[todo[event.number]] = True
                append_finished()
            else:
                teller.look()
        append_finished()
    assert appended == len(sections), f"{appended} of {len(sections)} sections of {source.name} were appended"
    shutil.rmtree(work)
    return tally


def _job(
    source: SplitSource,
    sections: list[Section],
    number: int,
    placement: dict[str, Any],
    tokenizer: Path,
    target: Path,
    *,
    fast: bool,
) -> Job:
    return {
        "kind": "encode",
        "source": part_spec(source.source),
        "steps": [part_spec(step) for step in source.steps],
        "section": number,
        "inputs": [input_spec(item) for item in sections[number].inputs],
        "placement": placement,
        "tokenizer": str(tokenizer),
        "fast": fast,
        "target": str(target),
    }


def _add(tally: Tally, other: Tally, section: Section) -> None:
    """Count a section into its source."""
    for position, documents in zip(section.positions, other.documents_by_input, strict=True):
        tally.documents_by_input[position] += documents
    for each in dataclasses.fields(Tally):
        if each.name not in ("documents_by_input", "steps"):
            setattr(tally, each.name, getattr(tally, each.name) + getattr(other, each.name))
    for mine, theirs in zip(tally.steps, other.steps, strict=True):
        mine.add(theirs)


def check_conservation(name: str, splits: dict[str, dict[str, Any]], tally: Tally) -> None:
    """Assert that what was read is what was written; what the cut goes through is on both sides."""
    encoded = {
        "documents": sum(tally.documents_by_input) - tally.blank_documents + tally.cut_documents,
        "words": tally.words + tally.cut_words,
        "bytes": tally.bytes,
    }
    written = {unit: sum(counts[unit] for counts in splits.values()) for unit in encoded}
    if tally.steps:
        read = {
            "documents": sum(tally.documents_by_input) - tally.blank_documents,
            "words": tally.steps[0].words_in,
            "bytes": tally.steps[0].bytes_in,
        }
        check_chain(tally.steps, read, written)
        encoded["documents"] = written["documents"]
    assert encoded == written, f"{name}: read {encoded}, wrote {written}"


def _inputs(source: SplitSource, tally: Tally) -> Iterator[dict[str, Any]]:
    first_document = 0
    for item, documents in zip(source.inputs, tally.documents_by_input, strict=True):
        identity = {"name": item.source_input.name, "sha256": item.sha256, "bytes": item.size}
        yield {**identity, "documents": documents, "first_document": first_document}
        first_document += documents


def _summary(
    source: SplitSource, encoder: TextEncoder, splits: dict[str, dict[str, Any]], tally: Tally
) -> dict[str, Any]:
    key = source.key()
    return {
        "source": key["source"],
        "split": key["split"],
        "tokenizer_sha256": encoder.sha256,
        "tokenizer_vocab_size": encoder.vocab_size,
        "inputs": list(_inputs(source, tally)),
        "splits": splits,
        "dropped": {
            "empty_documents": tally.blank_documents,
            "bytes": tally.blank_bytes,
            **dict(sorted(tally.losses.items())),
        },
        "cut": {"documents": tally.cut_documents, "words": tally.cut_words},
        "steps": [
            {**step, **counted.summary()}
            for step, counted in zip(steps_key(source.steps), tally.steps, strict=True)
        ],
    }
