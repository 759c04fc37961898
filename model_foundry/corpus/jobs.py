"""What is done to one section, in whichever process: read it once, or encode it; the result is a file.

A job is plain JSON, so that it can be given to another process. Files appear under their names only when they
are whole, and carry checksums: what a killed run has finished is taken as it is by the next one.
"""

from __future__ import annotations

import importlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from model_foundry.corpus.bulk import BulkEncoder
from model_foundry.corpus.chunks import Chunk, SideChunk, encode_parts
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.fast import load_fast
from model_foundry.corpus.filtering import sign
from model_foundry.corpus.reading import Placement, Tally, place_texts, read_texts
from model_foundry.corpus.source import Input, Source
from model_foundry.corpus.split import Scan, scan
from model_foundry.corpus.statistics import STATISTICS, TextStatistics
from model_foundry.corpus.steps import DocumentStep, StepTally
from model_foundry.corpus.token_encoder import TokenEncoder
from model_foundry.failpoints import reach
from model_foundry.parts import Part, custom_code

Job = dict[str, Any]
_FILE_TOKENS = 8 << 20


@dataclass(frozen=True)
class Done:
    """How far a job is: characters read and tokens made since it last told."""

    characters: int
    tokens: int = 0


def part_spec(part: Part) -> dict[str, Any]:
    """Return a source or step as JSON."""
    settings = part.model_dump(mode="json", exclude={"type"})
    settings.pop("type", None)
    return {"module": type(part).__module__, "name": type(part).__qualname__, "settings": settings}


def part_from(spec: dict[str, Any]) -> Any:
    """Make a source or step anew; its recipe was allowed to run this code before it came here."""
    made: Any = importlib.import_module(spec["module"])
    for name in spec["name"].split("."):
        made = getattr(made, name)
    with custom_code(True):
        return made.model_validate(spec["settings"])


def input_spec(item: Input) -> dict[str, Any]:
    """Return an input as JSON."""
    return {"path": str(item.path), "name": item.name, "start": item.start, "stop": item.stop}


def perform(
    job: Job, source: Source | None = None, steps: Sequence[DocumentStep] | None = None
) -> Iterator[Done]:
    """Do a job, telling how far it is.

    Args:
        job: ``kind`` is scan, sign or encode.
        source: The source where it is at hand, else it is made from the job.
        steps: The same of the steps.

    Raises:
        DataError: When the text cannot be read.
        TokensDiffer: When the fast tokenizer cannot be relied on.
    """
    source = source or part_from(job["source"])
    inputs = [Input(**{**item, "path": Path(item["path"])}) for item in job["inputs"]]
    if job["kind"] == "scan":
        yield from _scan(job, source, inputs)
        return
    steps = [part_from(step) for step in job["steps"]] if steps is None else steps
    steps = [step.at_section(job["section"]) for step in steps]
    if job["kind"] == "sign":
        yield from _sign(job, source, inputs, steps)
    else:
        yield from _encode(job, source, inputs, steps)


def _scan(job: Job, source: Source, inputs: list[Input]) -> Iterator[Done]:
    for found in scan(source, inputs, job["hash_seed"]):
        if isinstance(found, int):
            yield Done(found)
        else:
            facts = [found.documents, found.characters, found.num_bytes]
            arrays = {"ordinals": found.ordinals, "hashes": found.hashes}
            _save(Path(job["target"]), {"facts": np.array(facts, dtype=np.int64), **arrays})


def _sign(job: Job, source: Source, inputs: list[Input], steps: Sequence[DocumentStep]) -> Iterator[Done]:
    told = 0
    for found in sign(source, inputs, steps):
        if isinstance(found, int):
            yield Done(found - told)
            told = found
        else:
            _save(Path(job["target"]), found)


def load_scan(path: Path) -> Scan:
    """Read what a scan has found."""
    with np.load(path, allow_pickle=False) as file:
        documents, characters, num_bytes = file["facts"].tolist()
        return Scan(documents, characters, num_bytes, file["ordinals"], file["hashes"])


def _encode(job: Job, source: Source, inputs: list[Input], steps: Sequence[DocumentStep]) -> Iterator[Done]:
    bulk = _bulk_encoder(Path(job["tokenizer"]), bool(job["fast"]))
    folder = Path(job["target"])
    tally = Tally()
    held: list[Chunk] = []
    number = held_tokens = 0
    statistics = TextStatistics()
    placement = placement_from(job["placement"])
    chunks = encode_section(source, inputs, steps, placement, bulk, tally, statistics)
    for chunk in chunks:
        tokens = sum(len(side.tokens) for side in chunk.sides.values())
        yield Done(chunk.characters, tokens)
        held.append(chunk)
        held_tokens += tokens
        if held_tokens >= _FILE_TOKENS:
            _save_chunks(folder / f"{number:03d}.npz", held)
            number, held, held_tokens = number + 1, [], 0
    _save_chunks(folder / f"{number:03d}.npz", held)
    _save(folder / STATISTICS, statistics.arrays())
    facts = {**vars(tally), "steps": list(map(vars, tally.steps)), "files": number + 1}
    _write_whole(folder / "tally.json", json.dumps(facts).encode())


def encode_section(
    source: Source,
    inputs: Sequence[Input],
    steps: Sequence[DocumentStep],
    placement: Placement,
    bulk: BulkEncoder,
    tally: Tally,
    statistics: TextStatistics,
) -> Iterator[Chunk]:
    """Yield the tokens of some inputs, and assert that the text that was read is what was encoded."""
    if source.is_tokenized:
        where = str(inputs[-1].path) if len(inputs) < 3 else f"{inputs[0].path} to {inputs[-1].path}"
        bulk = TokenEncoder(bulk.encoder, source, where)
    parsed = any(step.needs_parse for step in steps)
    whole = bool(steps) or not (bulk.encoder.can_cut or source.is_tokenized)
    texts = read_texts(source, inputs, tally, parsed=parsed, whole=whole)
    characters = 0
    for chunk in encode_parts(place_texts(texts, placement, steps, tally), bulk, statistics):
        characters += chunk.characters
        tally.words += chunk.num_words
        tally.bytes += chunk.num_bytes
        yield chunk
    tally.words -= tally.cut_words
    assert steps or characters == tally.characters, (
        f"read {tally.characters} characters, encoded {characters}"
    )


def placement_from(spec: dict[str, Any]) -> Placement:
    """Return the sides that a job names: one side, a place in the text, or a stretch of a file."""
    if "held_out" not in spec:
        return Placement(**spec)
    held_out = np.load(spec["held_out"], mmap_mode="r", allow_pickle=False)
    return Placement(held_out=np.array(held_out[spec["first"] : spec["first"] + spec["documents"]]))


def load_chunks(folder: Path) -> Iterator[dict[str, SideChunk]]:
    """Yield what an encoded section holds, in order.

    Raises:
        OSError, ValueError, zipfile.BadZipFile: When it is not whole.
    """
    for number in range(json.loads((folder / "tally.json").read_text(encoding="ascii"))["files"]):
        with np.load(folder / f"{number:03d}.npz", allow_pickle=False) as file:
            sides = sorted({name.partition(".")[0] for name in file.files})
            yield {
                side: SideChunk(*(file[f"{side}.{name}"] for name in ("tokens", "words", "rows")))
                for side in sides
            }


def load_tally(folder: Path) -> Tally:
    """Read what was counted while a section was encoded."""
    facts = json.loads((folder / "tally.json").read_text(encoding="ascii"))
    del facts["files"]
    steps = [StepTally(**step) for step in facts["steps"]]
    return Tally(**{**facts, "losses": Counter(facts["losses"]), "steps": steps})


def is_whole(path: Path) -> bool:
    """Return whether a finished job's file, or folder of files, is there and holds."""
    try:
        if path.suffix == ".npz":
            return _holds(path)
        files = json.loads((path / "tally.json").read_text(encoding="ascii"))["files"]
        return all(_holds(path / name) for name in (*(f"{n:03d}.npz" for n in range(files)), STATISTICS))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False


def _holds(path: Path) -> bool:
    with zipfile.ZipFile(path) as file:
        return file.testzip() is None


def _save_chunks(path: Path, chunks: list[Chunk]) -> None:
    arrays = {}
    for side in ("train", "validation"):
        of_side = [chunk.sides[side] for chunk in chunks if side in chunk.sides]
        if of_side:
            arrays[f"{side}.tokens"] = np.concatenate([chunk.tokens for chunk in of_side])
            arrays[f"{side}.words"] = np.concatenate([chunk.words for chunk in of_side])
            arrays[f"{side}.rows"] = np.concatenate([chunk.rows for chunk in of_side])
    _save(path, arrays)


def _save(path: Path, arrays: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    aside = path.with_name(f".{path.name}")
    with aside.open("wb") as file:
        np.savez(file, **arrays)
    reach("corpus.section")
    os.replace(aside, path)


def _write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    aside = path.with_name(f".{path.name}")
    aside.write_bytes(data)
    os.replace(aside, path)


@lru_cache(maxsize=1)
def _bulk_encoder(folder: Path, with_fast: bool) -> BulkEncoder:
    return bulk_encoder(TextEncoder(folder), with_fast)


def bulk_encoder(encoder: TextEncoder, with_fast: bool = True) -> BulkEncoder:
    """Return the fastest way to encode with a tokenizer."""
    return BulkEncoder(encoder, load_fast(encoder) if with_fast else None)
