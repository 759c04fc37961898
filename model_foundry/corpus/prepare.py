"""From the recipe's sources to token shards; what leaves each stage is listed here.

inputs      files with their SHA-256; the rest is made only where the cache has no such entry
tokenizer   ``<cache>/tokenizers/<key>/tokenizer/``, trained on the training side of all sources, in order
shards      ``<cache>/corpora/<key>/``, one a source: ``train/`` and ``validation/``, manifest last

A key is the SHA-256 of everything that the content depends on, and of nothing that differs between machines.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

from model_foundry.corpus import Validation
from model_foundry.corpus.cache import digest_of, get_or_build, read_manifest, write_manifest
from model_foundry.corpus.encoder import TextEncoder, cut_between_words
from model_foundry.corpus.fingerprint import fingerprint
from model_foundry.corpus.prepared import FORMAT, PreparedCorpus, PreparedSource, open_prepared
from model_foundry.corpus.shards import SideWriter, encode_parts
from model_foundry.corpus.source import Source
from model_foundry.corpus.split import Part, SplitRule, SplitSource, Tally
from model_foundry.corpus.steps import DocumentStep, check_chain
from model_foundry.tokenizer import Tokenizer

Progress = Callable[[str, float], None]
"""Is told what is being done, and which share of it (0 to 1)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _PreparedTokenizer:
    folder: Path
    sha256: str


def prepare_corpus(
    *,
    sources: list[Source],
    validation: Validation,
    tokenizer: Tokenizer,
    seed: int,
    folders: list[Path],
    cache: Path,
    steps: Sequence[DocumentStep] = (),
    progress: Progress | None = None,
) -> PreparedCorpus:
    """Return tokenizer and shards of a corpus, from the cache or made now.

    Args:
        sources: Of the training text.
        validation: What is held out.
        tokenizer: How text becomes tokens.
        seed: Chooses the held-out documents.
        folders: Where relative paths are looked for.
        cache: Everything is written below it; ``default_cache_folder()`` is the usual one.
        steps: What is done to every document of every source, in order.
        progress: Told now and then how far it is.

    Raises:
        DataError: When text is missing, undecodable, too little, or cannot be divided as asked.
        RecipeError: When the tokenizer's settings cannot be met.
        ResourceError: When the cache cannot be written.
    """
    report = progress or (lambda _stage, _share: None)
    rule = _rule(validation, seed)
    training = [_read(source, number, rule, folders, cache, steps) for number, source in enumerate(sources)]
    held_out = [
        _read(source, number, SplitRule("validation"), folders, cache, steps, "held_out-")
        for number, source in enumerate(validation.sources)
    ]
    _warn_of_shared_files(training, held_out)
    made = _prepare_tokenizer(tokenizer, training, folders, cache / "tokenizers", report)
    return PreparedCorpus(
        tokenizer_folder=made.folder,
        sources=[_prepare_source(source, made, cache / "corpora", report) for source in training],
        held_out=[_prepare_source(source, made, cache / "corpora", report) for source in held_out],
    )


def _rule(validation: Validation, seed: int) -> SplitRule:
    fraction = Fraction(str(validation.fraction))
    if validation.sources or fraction == 0:
        return SplitRule("train")
    return SplitRule(validation.split, fraction, seed if validation.split == "document" else 0)


def _read(
    source: Source,
    number: int,
    rule: SplitRule,
    folders: list[Path],
    cache: Path,
    steps: Sequence[DocumentStep],
    prefix: str = "",
) -> SplitSource:
    inputs = fingerprint(source.inputs(folders), cache)
    return SplitSource(f"{prefix}{source.part_name()}-{number}", source, inputs, rule, steps)


def _warn_of_shared_files(training: list[SplitSource], held_out: list[SplitSource]) -> None:
    trained_on = {item.sha256 for source in training for item in source.inputs}
    for source in held_out:
        shared = [item.source_input.name for item in source.inputs if item.sha256 in trained_on]
        if shared:
            _log.warning(
                "%s: %s is in the training text, too, so the held-out loss will be too low. Remove it from "
                "one of them.",
                source.name,
                shared[0] if len(shared) == 1 else f"{len(shared)} files, such as {shared[0]},",
            )


def _prepare_tokenizer(
    tokenizer: Tokenizer, training: list[SplitSource], folders: list[Path], cache: Path, report: Progress
) -> _PreparedTokenizer:
    """Train once per corpus; one that is not trained is named by its content, wherever it came from."""
    settings = tokenizer.model_dump(mode="json")
    for role in ("mask_token", "pad_token"):
        if settings[role] is None:
            del settings[role]  # tokenizers of before there were any keep their names
    libraries = {"tokenizers": version("tokenizers")}
    if tokenizer.is_trained:
        made_from = {
            "settings": settings,
            "libraries": libraries,
            "sources": [source.key() for source in training],
        }
        key = digest_of({"format": FORMAT, "kind": "tokenizer", **made_from})

        def fill(folder: Path) -> None:
            tokenizer.write(folder, _training_texts(training, report), folders)
            for source in training:
                for item in source.inputs:
                    item.check_unchanged()

        return _tokenizer_entry(cache, key, settings, fill)
    with tempfile.TemporaryDirectory(prefix="model-foundry-") as made:
        tokenizer.write(Path(made), iter(()), folders)
        files = {path.name: path.read_bytes().hex() for path in sorted(Path(made).iterdir())}
        key = digest_of({"format": FORMAT, "kind": "tokenizer", "files": files})
        return _tokenizer_entry(
            cache, key, {"type": settings["type"]}, lambda folder: _copy_files(Path(made), folder)
        )


def _copy_files(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


def _tokenizer_entry(
    cache: Path, key: str, settings: dict[str, Any], fill: Callable[[Path], None]
) -> _PreparedTokenizer:
    def open_entry(entry: Path) -> _PreparedTokenizer:
        # Hashed every time: it is small, and all tokens depend on it.
        return _PreparedTokenizer(entry / "tokenizer", read_manifest(entry, verify=True)["tokenizer_sha256"])

    def build(partial: Path) -> None:
        folder = partial / "tokenizer"
        folder.mkdir()
        fill(folder)
        encoder = TextEncoder(folder)
        identity = {"tokenizer_sha256": encoder.sha256, "tokenizer_vocab_size": encoder.vocab_size}
        write_manifest(partial, {"format": FORMAT, "key": key, "settings": settings, **identity})

    return get_or_build(cache, key, open_entry, build)


def _training_texts(training: list[SplitSource], report: Progress) -> Iterator[str]:
    """Yield the training side of all sources; long documents in pieces, so that none fills the memory."""
    for source in training:
        found = False
        for part in _reporting(source, source.parts(), "training the tokenizer", report):
            if part.side == "train":
                found = True
                yield from cut_between_words(part.text)
        if not found:
            raise source.no_documents()


def _prepare_source(
    source: SplitSource, tokenizer: _PreparedTokenizer, cache: Path, report: Progress
) -> PreparedSource:
    made_from = {**source.key(), "tokenizer_sha256": tokenizer.sha256, "libraries": version("tokenizers")}
    key = digest_of({"format": FORMAT, "kind": "corpus", **made_from})

    def build(folder: Path) -> None:
        encoder = TextEncoder(tokenizer.folder)
        write_manifest(folder, {"format": FORMAT, "key": key, **_encode(source, encoder, folder, report)})

    return get_or_build(cache, key, lambda entry: open_prepared(entry, name=source.name), build)


def _encode(source: SplitSource, encoder: TextEncoder, folder: Path, report: Progress) -> dict[str, Any]:
    """Write the shards of a source and return what its manifest says about it."""
    tally = Tally(counts_text=True)
    writers: dict[str, SideWriter] = {}
    parts = _reporting(source, source.parts(tally), f"tokenizing {source.name}", report)
    with ExitStack() as open_files:
        for part, ids, words in encode_parts(parts, encoder):
            if part.side not in writers:
                writers[part.side] = open_files.enter_context(SideWriter(folder, part.side, encoder))
            writers[part.side].add(part, ids, words)
        if not writers:
            raise source.no_documents()
        splits = {side: writer.close() for side, writer in writers.items()}
    for item in source.inputs:
        item.check_unchanged()
    _check_conservation(source.name, splits, tally)
    inputs, first_document = [], 0
    for item, documents in zip(source.inputs, tally.documents_by_input, strict=True):
        identity = {"name": item.source_input.name, "sha256": item.sha256, "bytes": item.size}
        inputs.append({**identity, "documents": documents, "first_document": first_document})
        first_document += documents
    key = source.key()
    return {
        "source": key["source"],
        "split": key["split"],
        "tokenizer_sha256": encoder.sha256,
        "tokenizer_vocab_size": encoder.vocab_size,
        "inputs": inputs,
        "splits": splits,
        "dropped": {"empty_documents": tally.blank_documents, "bytes": tally.blank_bytes},
        "cut": {"documents": tally.cut_documents, "words": tally.cut_words},
        "steps": [
            {**step, **counted.summary()}
            for step, counted in zip(key.get("steps", []), tally.steps, strict=True)
        ],
    }


def _check_conservation(name: str, splits: dict[str, dict[str, Any]], tally: Tally) -> None:
    """What was read is what was written; a document or word that the cut goes through is on both sides."""
    read = {
        "documents": sum(tally.documents_by_input) - tally.blank_documents + tally.cut_documents,
        "words": tally.words + tally.cut_words,
        "bytes": tally.bytes,
    }
    written = {unit: sum(counts[unit] for counts in splits.values()) for unit in read}
    if tally.steps:
        check_chain(tally.steps, read, written)
    else:
        assert read == written, f"{name}: read {read}, wrote {written}"


def _reporting(source: SplitSource, parts: Iterator[Part], stage: str, report: Progress) -> Iterator[Part]:
    """Pass parts on, and tell every million characters which share of the inputs' bytes that is, about."""
    total = max(1, sum(item.size for item in source.inputs))
    done = told = 0
    report(stage, 0.0)
    for part in parts:
        yield part
        done += len(part.text)
        if done - told >= 1_000_000:
            told = done
            report(stage, min(1.0, done / total))
    report(stage, 1.0)
