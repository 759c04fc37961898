"""What may go from a cache: nothing that somebody uses, and nothing that is not of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from model_foundry.corpus.cache_listing import Entry, clean, in_use, list_cache
from model_foundry.corpus.holding import Holds, is_held
from model_foundry.corpus.progress import Progress
from tests.corpus.preparing import prepared

READER = "import numpy, sys; a = numpy.load(sys.argv[1], mmap_mode='r'); print(len(a), flush=True); input()"
HOLDER = """
import sys
from pathlib import Path
from model_foundry.corpus.holding import Holds
holds = Holds()
for path in sys.argv[1:]:
    holds.add(Path(path))
print(flush=True)
input()
"""


def begun(program: str, *arguments: Path) -> subprocess.Popen[bytes]:
    """Start a program and return it when it has printed a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def of_kind(cache: Path, kind: str) -> Entry:
    [entry] = [entry for entry in list_cache(cache) if entry.kind == kind]
    return entry


def test_a_folder_that_was_named_by_mistake_loses_nothing(texts: Path):
    prepared(texts)
    for name in ("photos", "corpora"):
        (texts / "cache" / name / "summer").mkdir(parents=True)
        (texts / "cache" / name / "summer" / "a.jpg").write_bytes(b"1")
    (texts / "cache" / "tokenizers" / ("f" * 64)).symlink_to(texts / "texts")

    entries = list_cache(texts / "cache")

    assert {entry.kind for entry in entries} == {"corpora", "tokenizers"}
    assert [clean(entry, in_use=set()) for entry in entries] == [True, True]
    assert (texts / "cache" / "corpora" / "summer" / "a.jpg").is_file()
    assert len(list((texts / "texts").iterdir())) == 20


def test_what_another_process_holds_stays_until_it_ends(texts: Path):
    folder = prepared(texts).sources[0].folder
    holder = begun(HOLDER, folder)
    entry = of_kind(texts / "cache", "corpora")

    assert in_use([entry]) == {folder.resolve()}
    assert not clean(entry, in_use=set())
    holder.kill()
    holder.communicate()

    assert in_use([entry]) == set()
    assert clean(entry, in_use=set())
    assert not folder.exists()


def test_a_corpus_holds_its_entries_as_long_as_it_lives(texts: Path):
    corpus = prepared(texts)
    folders = [corpus.sources[0].folder, corpus.tokenizer_folder.parent]
    assert all(is_held(folder) for folder in folders)

    del corpus

    assert not any(is_held(folder) for folder in folders)


def test_a_preparation_holds_what_it_made_on_the_way(texts: Path):
    """Sides are read by each section's process, long after the one that found them has closed them."""
    tried: list[tuple[str, bool]] = []

    def try_to_clean(progress: Progress) -> None:
        if progress.stage.startswith("tokenizing"):
            tried.extend((entry.kind, clean(entry, in_use=set())) for entry in list_cache(texts / "cache"))

    prepared(texts, section_bytes=2000, workers=1, progress=try_to_clean)

    assert {kind for kind, _ in tried} == {"splits", "tokenizers", "corpora"}
    assert not any(is_removed for _, is_removed in tried)
    assert clean(of_kind(texts / "cache", "splits"), in_use=set())


def test_files_that_are_open_are_found_through_links(texts: Path):
    if sys.platform != "linux":
        pytest.skip("which files are open is seen on Linux alone")
    prepared(texts)
    kind = texts / "cache" / "corpora"
    kind.rename(texts / "elsewhere")
    kind.symlink_to(texts / "elsewhere")
    entry = of_kind(texts / "cache", "corpora")
    reader = begun(READER, entry.path / "train" / "tokens-00000.npy")

    used = in_use([entry])
    is_removed = clean(entry, in_use=used)
    reader.communicate(b"\n")

    assert used == {entry.path.resolve()}
    assert not is_removed
    assert clean(entry, in_use=in_use([entry]))


def test_nothing_is_held_where_nothing_can_be_written(tmp_path: Path):
    holds = Holds()

    holds.add(tmp_path / "nowhere" / "entry")

    assert not is_held(tmp_path / "nowhere" / "entry")
