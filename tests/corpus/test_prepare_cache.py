"""What was prepared is found again exactly when it is the same, and is the same however it came to be."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_foundry.corpus import Validation
from model_foundry.corpus.fingerprint import fingerprint
from model_foundry.corpus.prepared import corpus_manifest, open_prepared
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.errors import DataError
from model_foundry.tokenizer.byte import Byte
from model_foundry.tokenizer.byte_bpe import ByteBpe
from model_foundry.tokenizer.character import Character
from model_foundry.tokenizer.pretrained import Pretrained
from tests.corpus.preparing import Reads, content_of, prepared


@pytest.mark.parametrize(
    "tokenizer", [ByteBpe(vocab_size=300), Character(), Byte()], ids=lambda part: part.part_name()
)
def test_the_same_corpus_gives_the_same_bytes_in_another_cache(texts: Path, tokenizer: Any):
    first = prepared(texts, tokenizer=tokenizer)
    second = prepared(texts, tokenizer=tokenizer, cache=texts / "other")

    assert content_of(first) == content_of(second)
    assert corpus_manifest(first) == corpus_manifest(second)
    assert len(content_of(first)) == 13


PROGRAM = """
import json, sys
from pathlib import Path
from model_foundry.corpus import Validation
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import corpus_manifest
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.tokenizer.byte_bpe import ByteBpe
import os, signal

folder, cache, kill_at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
told = []
def progress(progress):
    told.append(progress.stage)
    if len(told) == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
corpus = prepare_corpus(
    sources=[TextFiles(path="texts/*.txt")], validation=Validation(fraction=0.1),
    tokenizer=ByteBpe(vocab_size=300), seed=1, folders=[folder], cache=cache, progress=progress,
)
files = [source.manifest["files"] for source in corpus.sources]
print(json.dumps([corpus_manifest(corpus), files, told], sort_keys=True))
"""


def start(folder: Path, cache: Path, kill_at: int = 0, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(folder), str(cache), str(kill_at)]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)


def test_neither_threads_nor_hash_seeds_change_a_byte(texts: Path):
    one = start(
        texts, texts / "one", RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", PYTHONHASHSEED="1"
    )
    four = start(
        texts, texts / "four", RAYON_NUM_THREADS="4", TOKENIZERS_PARALLELISM="true", PYTHONHASHSEED="2"
    )

    outputs = [process.communicate()[0] for process in (one, four)]

    assert outputs[0] == outputs[1] != ""


def test_two_processes_at_once_build_everything_once(texts: Path):
    both = [start(texts, texts / "cache") for _ in range(2)]

    results = [json.loads(process.communicate()[0]) for process in both]

    told = [stage for result in results for stage in result[2]]
    assert results[0][:2] == results[1][:2]
    assert sorted(set(told)) == ["tokenizing text_files-0", "training the tokenizer"]
    assert len(told) == 4  # each stage at its start and its end, in one of the two


@pytest.mark.parametrize("kill_at", [1, 2, 3, 4])
def test_a_killed_preparation_is_made_again_as_if_it_had_never_been(texts: Path, kill_at: int):
    expected = content_of(prepared(texts, cache=texts / "undisturbed"))

    killed = start(texts, texts / "cache", kill_at)
    killed.communicate()
    left = list((texts / "cache").rglob(".*.partial"))
    corpus = prepared(texts)

    assert killed.returncode == -signal.SIGKILL
    assert len(left) == 1
    assert content_of(corpus) == expected
    assert list((texts / "cache").rglob(".*.partial")) == []


def test_a_warm_cache_is_opened_without_reading_the_text(texts: Path):
    note = texts / "note"
    sources = [Reads(path="texts/*.txt", note=str(note))]
    first = prepared(texts, sources=sources)
    note.unlink()

    second = prepared(texts, sources=sources)

    assert not note.exists()
    assert second == first


def change_a_byte(folder: Path) -> dict[str, Any]:
    path = folder / "texts" / "0007.txt"
    state = path.stat()
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    return {}


def rename_a_file(folder: Path) -> dict[str, Any]:
    (folder / "texts" / "0019.txt").rename(folder / "texts" / "0020.txt")
    return {}


def add_a_file(folder: Path) -> dict[str, Any]:
    (folder / "texts" / "0021.txt").write_text("new\n" * 9)
    return {}


CHANGES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "a byte": change_a_byte,
    "a name": rename_a_file,
    "one more file": add_a_file,
    "documents": lambda _: {"sources": [TextFiles(path="texts/*.txt", document="line")]},
    "seed": lambda _: {"seed": 2},
    "fraction": lambda _: {"validation": Validation(fraction=0.2)},
    "split": lambda _: {"validation": Validation(fraction=0.1, split="tail")},
    "vocabulary": lambda _: {"tokenizer": ByteBpe(vocab_size=301)},
    "tokenizer": lambda _: {"tokenizer": Byte()},
}


FILE_CHANGES = {"a byte", "a name", "one more file"}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_the_tokens_never_meets_the_old_ones(texts: Path, change: str):
    before = prepared(texts)

    after = prepared(texts, **CHANGES[change](texts))

    assert after.sources[0].folder != before.sources[0].folder
    assert corpus_manifest(after)["digest"] != corpus_manifest(before)["digest"]
    fresh = prepared(
        texts, cache=texts / "fresh", **(CHANGES[change](texts) if change not in FILE_CHANGES else {})
    )
    assert content_of(after) == content_of(fresh)


def test_what_does_not_change_the_tokens_meets_the_old_ones(texts: Path):
    before = prepared(texts)
    elsewhere = texts / "elsewhere"
    shutil.copytree(texts / "texts", elsewhere / "texts")

    for changes in (
        {"folders": [elsewhere]},
        {"sources": [TextFiles(path="texts/0*.txt", weight=2, max_epochs=3)]},
        {"sources": [TextFiles(path=[f"texts/{number:04d}.txt" for number in range(20)])]},
    ):
        assert prepared(texts, **changes).sources[0].folder == before.sources[0].folder


def test_the_seed_matters_only_where_documents_are_chosen(texts: Path):
    tail = Validation(fraction=0.1, split="tail")

    assert prepared(texts, validation=tail, seed=1) == prepared(texts, validation=tail, seed=2)


def test_a_pretrained_tokenizer_is_known_by_its_content(texts: Path):
    for name in ("one", "two"):
        shutil.copytree(prepared(texts).tokenizer_folder, texts / name)

    one = prepared(texts, tokenizer=Pretrained(path="one"))
    two = prepared(texts, tokenizer=Pretrained(path="two"))
    description = json.loads((texts / "two" / "tokenizer.json").read_text())
    vocabulary = description["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (texts / "two" / "tokenizer.json").write_text(json.dumps(description))
    changed = prepared(texts, tokenizer=Pretrained(path="two"))

    assert one.sources[0].folder == two.sources[0].folder
    assert changed.sources[0].folder != two.sources[0].folder


def test_a_damaged_entry_is_built_again_loudly(texts: Path, caplog: pytest.LogCaptureFixture):
    before = prepared(texts)
    (before.sources[0].folder / "train" / "tokens-00000.npy").write_bytes(b"short")
    (before.tokenizer_folder / "tokenizer.json").write_text("{}")

    with caplog.at_level(logging.WARNING):
        after = prepared(texts)

    assert caplog.text.count("A cache entry does not hold and is built again") == 2
    assert content_of(after) == content_of(before)
    assert open_prepared(after.sources[0].folder, verify=True).name == "text_files"


def test_verification_reads_every_file(texts: Path):
    [source] = prepared(texts).sources
    path = source.folder / "train" / "words-00000.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x09")

    assert open_prepared(source.folder).manifest["key"] == source.manifest["key"]
    with pytest.raises(DataError, match=r"train/words-00000\.npy: its content is not what was prepared"):
        open_prepared(source.folder, verify=True)


def test_a_folder_of_another_format_is_refused(texts: Path):
    corpus = prepared(texts)

    with pytest.raises(DataError, match="is not a prepared source of format 1"):
        open_prepared(corpus.tokenizer_folder.parent)


def test_inputs_are_fingerprinted_in_order(texts: Path):
    found = TextFiles(path="texts/*.txt").inputs([texts])

    assert [item.source_input for item in fingerprint(found, texts / "cache")] == found
