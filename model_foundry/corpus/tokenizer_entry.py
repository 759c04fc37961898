"""The tokenizer of a corpus: trained once on text of its training side, or named by its content."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from model_foundry.corpus._pieces import cut_between_words
from model_foundry.corpus.cache import digest_of, get_or_build, read_manifest, write_manifest
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.prepared import FORMAT
from model_foundry.corpus.progress import Report, Teller
from model_foundry.corpus.reading import Placement
from model_foundry.corpus.split import SplitSource
from model_foundry.tokenizer import SAMPLE_BYTES, Tokenizer

_UNSAMPLED_BYTES = 128 << 20
"""Files of up to so many bytes are taken whole unless a sample is asked for; no pass is made to size them."""


@dataclass(frozen=True)
class PreparedTokenizer:
    """A tokenizer in the cache."""

    folder: Path
    sha256: str


@dataclass(frozen=True)
class TrainingText:
    """The text of one source for a tokenizer."""

    source: SplitSource
    num_bytes: int
    """Of its documents, both sides, in UTF-8."""

    placement: Placement


def prepare_tokenizer(
    tokenizer: Tokenizer,
    training: list[SplitSource],
    texts: Mapping[str, Callable[[], TrainingText]],
    folders: list[Path],
    cache: Path,
    seed: int,
    report: Report | None,
) -> PreparedTokenizer:
    """Train once per corpus; one that is not trained is named by its content, wherever it came from.

    Args:
        tokenizer: Its settings.
        training: The sources that are trained on.
        texts: Find out the text of each source, by its name; asked only where the tokenizer is trained now.
        folders: Where a relative path is looked for.
        cache: Receives it.
        seed: Chooses the documents of a sample.
        report: Is told how far it is.
    """
    settings = tokenizer.model_dump(mode="json")
    for role in ("mask_token", "pad_token", "sample"):
        if settings[role] is None:
            del settings[role]  # tokenizers of before there were any keep their names
    if tokenizer.is_trained:
        is_sampled = tokenizer.sample is not None or sum(one.num_bytes for one in training) > _UNSAMPLED_BYTES
        made_from = {
            "settings": settings,
            "libraries": {name: version(name) for name in tokenizer.libraries},
            "sources": [source.key() for source in training],
            **({"sample": [tokenizer.sample or SAMPLE_BYTES, seed]} if is_sampled else {}),
        }
        key = digest_of({"format": FORMAT, "kind": "tokenizer", **made_from})

        def fill(folder: Path) -> None:
            found = [texts[source.name]() for source in training]
            wanted = (tokenizer.sample or SAMPLE_BYTES) if is_sampled else None
            tokenizer.write(folder, _training_texts(found, wanted, seed, report), folders)
            for source in training:
                for item in source.inputs:
                    item.check_unchanged()

        return _entry(cache, key, settings, fill)
    with tempfile.TemporaryDirectory(prefix="model-foundry-") as made:
        tokenizer.write(Path(made), iter(()), folders)
        files = {path.name: path.read_bytes().hex() for path in sorted(Path(made).iterdir())}
        key = digest_of({"format": FORMAT, "kind": "tokenizer", "files": files})
        return _entry(cache, key, {"type": settings["type"]}, lambda folder: _copy_files(Path(made), folder))


def _copy_files(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


def _entry(
    cache: Path, key: str, settings: dict[str, Any], fill: Callable[[Path], None]
) -> PreparedTokenizer:
    def open_entry(entry: Path) -> PreparedTokenizer:
        # Hashed every time: it is small, and all tokens depend on it.
        return PreparedTokenizer(entry / "tokenizer", read_manifest(entry, verify=True)["tokenizer_sha256"])

    def build(partial: Path) -> None:
        folder = partial / "tokenizer"
        folder.mkdir()
        fill(folder)
        encoder = TextEncoder(folder)
        identity = {"tokenizer_sha256": encoder.sha256, "tokenizer_vocab_size": encoder.vocab_size}
        write_manifest(partial, {"format": FORMAT, "key": key, "settings": settings, **identity})

    return get_or_build(cache, key, open_entry, build)


def _training_texts(
    texts: list[TrainingText], wanted: int | None, seed: int, report: Report | None
) -> Iterator[str]:
    """Yield the training side of all sources, or a sample of its documents; long ones in pieces."""
    total = sum(text.num_bytes for text in texts)
    below = 2**64 if wanted is None or total <= wanted else wanted * 2**64 // total
    start = f"{seed}|tokenizer|".encode()
    with Teller(report, "training the tokenizer", sum(text.source.num_bytes for text in texts)) as teller:
        for text in texts:
            found = False
            for part in text.source.parts(placement=text.placement):
                teller.add(len(part.text))
                if part.side == "train" and (not found or below == 2**64 or _hash(start, part.text) < below):
                    found = True
                    yield from cut_between_words(part.text)
            if not found:
                raise text.source.no_documents()


def _hash(start: bytes, text: str) -> int:
    return int.from_bytes(hashlib.blake2b(start + text.encode(), digest_size=8).digest(), "big")
