from __future__ import annotations

import itertools
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

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_foundry.corpus import Validation
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.fingerprint import fingerprint
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import PreparedCorpus, PreparedSource, corpus_manifest, open_prepared
from model_foundry.corpus.reading import Tally
from model_foundry.corpus.source.jsonl import JsonLines
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.corpus.writing import check_conservation
from model_foundry.errors import DataError, RecipeError
from model_foundry.tokenizer.byte import Byte
from model_foundry.tokenizer.byte_bpe import ByteBpe
from model_foundry.tokenizer.character import Character
from model_foundry.tokenizer.pretrained import Pretrained

TEN_PERCENT = Validation(fraction=0.1)


def prepared(folder: Path, **changes: Any) -> PreparedCorpus:
    """Prepare the texts in ``folder/texts`` with a small vocabulary, but for what is changed."""
    arguments: dict[str, Any] = {
        "sources": [TextFiles(path="texts/*.txt")],
        "validation": TEN_PERCENT,
        "tokenizer": ByteBpe(vocab_size=300),
        "seed": 1,
        "folders": [folder],
        "cache": folder / "cache",
    }
    return prepare_corpus(**{**arguments, **changes})


@pytest.fixture
def texts(tmp_path: Path, text_corpus: Callable[..., Path]) -> Path:
    """A folder that holds ``texts``, twenty small files."""
    text_corpus()
    return tmp_path


def load(source: PreparedSource, side: str, table: str) -> np.ndarray:
    return np.load(source.folder / side / f"{table}.npy")


def documents(source: PreparedSource, side: str, encoder: TextEncoder) -> list[str]:
    """Decode the documents of one side from its tokens alone."""
    tokens = np.concatenate([load(source, side, f"tokens-{n:05d}") for n in range(len(shards(source, side)))])
    offsets = load(source, side, "document_offsets")
    return [
        encoder.decode([token for token in tokens[start:end].tolist() if token != encoder.eos_id])
        for start, end in itertools.pairwise(offsets)
    ]


def shards(source: PreparedSource, side: str) -> list[dict[str, Any]]:
    return list(source.manifest["splits"][side]["shards"])


def content_of(corpus: PreparedCorpus) -> dict[str, str]:
    """Return the hash of every file of a corpus."""
    manifests = {source.name: source.manifest["files"] for source in [*corpus.sources, *corpus.held_out]}
    return {
        f"{name}/{file}": facts["sha256"]
        for name, files in manifests.items()
        for file, facts in files.items()
    }


def test_the_tokens_on_disk_are_the_documents(texts: Path):
    corpus = prepared(texts)
    [source], encoder = corpus.sources, TextEncoder(corpus.tokenizer_folder)
    originals = [path.read_text() for path in sorted((texts / "texts").iterdir())]

    for side, count in (("train", 18), ("validation", 2)):
        ids = load(source, side, "document_ids").tolist()
        assert documents(source, side, encoder) == [originals[number] for number in ids]
        assert load(source, side, "document_words").tolist() == [len(originals[n].split()) for n in ids]
        assert load(source, side, "document_bytes").tolist() == [len(originals[n].encode()) for n in ids]
        assert len(ids) == count


def test_the_manifest_counts_what_is_there(texts: Path):
    [source] = prepared(texts).sources
    splits, inputs = source.manifest["splits"], source.manifest["inputs"]
    originals = {path.name: path.read_bytes() for path in (texts / "texts").iterdir()}

    assert sum(split["bytes"] for split in splits.values()) == sum(map(len, originals.values()))
    assert sum(split["words"] for split in splits.values()) == sum(
        len(text.split()) for text in originals.values()
    )
    assert [item["name"] for item in inputs] == [f"texts/{name}" for name in sorted(originals)]
    assert [item["first_document"] for item in inputs] == list(range(20))
    for side, split in splits.items():
        assert sum(shard["length"] for shard in split["shards"]) == split["tokens"]
        assert int(load(source, side, "words-00000").sum()) == split["words"]
        assert load(source, side, "tokens-00000").dtype == np.uint16
        assert load(source, side, "words-00000").dtype == np.uint8
        assert load(source, side, "document_offsets")[-1] == split["tokens"]


def test_every_document_of_whole_ones_ends_in_the_end_of_document(texts: Path):
    corpus = prepared(texts)
    [source] = corpus.sources

    tokens, offsets = load(source, "train", "tokens-00000"), load(source, "train", "document_offsets")

    assert np.flatnonzero(tokens == 0).tolist() == (offsets[1:] - 1).tolist()


def test_the_tail_is_cut_in_a_word_and_counted_on_both_sides(tmp_path: Path):
    (tmp_path / "a.txt").write_text("one two three")

    [source] = prepared(
        tmp_path,
        sources=[TextFiles(path="a.txt")],
        validation=Validation(fraction=0.5, split="tail"),
        tokenizer=Byte(),
    ).sources

    assert load(source, "train", "tokens-00000").tolist() == [*b"one tw"]
    assert load(source, "validation", "tokens-00000").tolist() == [*b"o three", 256]
    assert source.manifest["cut"] == {"documents": 1, "words": 1}
    assert load(source, "train", "document_words").tolist() == [2]
    assert load(source, "validation", "document_words").tolist() == [2]
    assert load(source, "validation", "document_ids").tolist() == [0]


def test_tiny_shakespeare_by_characters_is_divided_as_in_nanogpt(test_data: Path, tmp_path: Path):
    corpus = prepared(
        tmp_path,
        sources=[TextFiles(path="tinyshakespeare/input.txt")],
        folders=[test_data],
        validation=Validation(fraction=0.1, split="tail"),
        tokenizer=Character(),
    )
    [source] = corpus.sources
    splits = source.manifest["splits"]

    assert (splits["train"]["tokens"], splits["validation"]["tokens"]) == (1_003_854, 111_540 + 1)
    assert (splits["train"]["bytes"], splits["validation"]["bytes"]) == (1_003_854, 111_540)
    assert source.manifest["tokenizer_vocab_size"] == 65 + 2
    text = (test_data / "tinyshakespeare" / "input.txt").read_text()
    encoder = TextEncoder(corpus.tokenizer_folder)
    assert documents(source, "train", encoder) + documents(source, "validation", encoder) == [
        text[:1_003_854],
        text[1_003_854:],
    ]


def test_sources_are_prepared_each_with_a_name_of_its_own(texts: Path):
    (texts / "more.jsonl").write_text(
        "".join(json.dumps({"text": f"document {n}"}) + "\n" for n in range(30))
    )

    corpus = prepared(
        texts, sources=[TextFiles(path="texts/*.txt"), JsonLines(path="more.jsonl", weight=0.2)]
    )

    assert [source.name for source in corpus.sources] == ["text_files-0", "jsonl-1"]
    assert [source.manifest["name"] for source in corpus.sources] == ["text_files-0", "jsonl-1"]
    assert corpus.sources[1].manifest["splits"]["validation"]["documents"] == 3
    assert corpus.held_out == []


def test_held_out_sources_are_validation_only_and_training_keeps_everything(texts: Path):
    (texts / "held.txt").write_text("never seen in training qqq")

    corpus = prepared(
        texts, validation=Validation(sources=[TextFiles(path="held.txt")]), tokenizer=Character()
    )

    [training], [held_out] = corpus.sources, corpus.held_out
    assert (training.name, list(training.manifest["splits"])) == ("text_files-0", ["train"])
    assert (held_out.name, list(held_out.manifest["splits"])) == ("held_out-text_files-0", ["validation"])
    assert not (held_out.folder / "train").exists()
    assert "q" not in TextEncoder(corpus.tokenizer_folder)._vocabulary


def test_a_file_that_is_trained_on_and_held_out_is_warned_of(texts: Path, caplog: pytest.LogCaptureFixture):
    shutil.copy(texts / "texts" / "0003.txt", texts / "copy.txt")

    with caplog.at_level(logging.WARNING):
        prepared(texts, validation=Validation(sources=[TextFiles(path="copy.txt")]))

    assert "held_out-text_files-0: copy.txt is in the training text, too" in caplog.text


def test_without_validation_everything_is_training(texts: Path):
    [source] = prepared(texts, validation=Validation(fraction=0)).sources

    assert list(source.manifest["splits"]) == ["train"]


def test_the_tokenizer_sees_the_training_side_only(tmp_path: Path):
    lines = [f"abc{number}" for number in range(200)]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\nZ\n")
    source = TextFiles(path="a.txt", document="line")

    held_out_seed = next(
        seed
        for seed in range(100)
        if "Z"
        not in TextEncoder(
            prepared(tmp_path, sources=[source], tokenizer=Character(), seed=seed).tokenizer_folder
        )._vocabulary
    )
    corpus = prepared(tmp_path, sources=[source], tokenizer=Character(), seed=held_out_seed)

    assert "<unk>" in documents(corpus.sources[0], "validation", TextEncoder(corpus.tokenizer_folder))
    assert "<unk>" not in "".join(documents(corpus.sources[0], "train", TextEncoder(corpus.tokenizer_folder)))


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


class Reads(TextFiles):
    """Text files that note every time they are read."""

    note: str

    def documents(self, source_input: Any) -> Any:
        with Path(self.note).open("a") as file:
            file.write("read\n")
        return super().documents(source_input)


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


FILE_CHANGES = {"a byte", "a name", "one more file"}


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


def test_the_summary_for_a_run_holds_no_path(texts: Path):
    manifest = corpus_manifest(prepared(texts))

    assert str(texts) not in json.dumps(manifest)
    assert manifest["sources"][0]["splits"]["train"]["documents"] == 18
    assert manifest["sources"][0]["inputs"][0]["name"] == "texts/0000.txt"


def test_compressed_text_gives_the_tokens_of_the_text(tmp_path: Path):
    text = "".join(f"a line of text {number}\n" for number in range(500))
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "a.txt.zst").write_bytes(zstandard.compress(text.encode()))

    plain, packed = (
        prepared(tmp_path, sources=[TextFiles(path=path, document="line")]).sources[0].manifest["files"]
        for path in ("a.txt", "a.txt.zst")
    )

    assert plain == packed


@pytest.mark.parametrize(
    "tokenizer", [Byte(), Character(), ByteBpe(vocab_size=257)], ids=lambda part: part.part_name()
)
@pytest.mark.parametrize("content", ["", "\n \n\n"])
def test_a_corpus_without_text_is_named_and_leaves_nothing(tmp_path: Path, tokenizer: Any, content: str):
    (tmp_path / "a.txt").write_text(content)

    with pytest.raises(DataError, match=r"source text_files-0: .*\.txt holds no text"):
        prepared(tmp_path, sources=[TextFiles(path="a.txt", document="line")], tokenizer=tokenizer)

    assert [path for path in (tmp_path / "cache" / "corpora").glob("*") if path.is_dir()] == []


def test_bad_text_is_named_and_leaves_nothing(texts: Path):
    (texts / "texts" / "0005.txt").write_bytes(b"fine so far \xff")

    with pytest.raises(DataError, match=r"0005\.txt: byte 12: ff is not UTF-8"):
        prepared(texts)

    assert [path.suffix for path in (texts / "cache" / "tokenizers").iterdir()] == [".lock"]


def test_a_single_document_cannot_be_divided_by_documents(tmp_path: Path):
    (tmp_path / "a.txt").write_text("a single document\n\nof two paragraphs")

    with pytest.raises(DataError, match=r"has only one document.*split: tail.*document: blank_line"):
        prepared(tmp_path, sources=[TextFiles(path="a.txt")])


def test_a_file_that_changes_while_it_is_read_leaves_nothing(texts: Path):
    class Changing(Reads):
        def documents(self, source_input: Any) -> Any:
            yield from super().documents(source_input)
            if source_input.name.endswith("0003.txt"):
                source_input.path.write_text(source_input.path.read_text() + "more")

    sources = [Changing(path="texts/*.txt", note=str(texts / "note"))]

    with pytest.raises(DataError, match=r"0003\.txt: changed while it was being read"):
        prepared(texts, sources=sources, tokenizer=Byte())

    assert not list((texts / "cache" / "corpora").glob("*/manifest.json"))


def test_progress_is_told_from_start_to_end(texts: Path, monkeypatch: pytest.MonkeyPatch):
    (texts / "texts" / "long.txt").write_text("some words and more of them\n" * 100_000)
    told: list[tuple[str, float]] = []

    prepared(
        texts,
        validation=Validation(fraction=0),
        progress=lambda progress: told.append((progress.stage, progress.share)),
    )

    assert [stage for stage, share in told if share == 0] == [
        "training the tokenizer",
        "tokenizing text_files-0",
    ]
    assert [share for stage, share in told if stage == "training the tokenizer"] == [
        0,
        pytest.approx(1, abs=0.01),
        1,
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=12),
        min_size=4,
        max_size=30,
    ),
    split=st.sampled_from(["document", "tail"]),
    tokenizer=st.sampled_from([Byte(), Character()]),
)
def test_any_text_is_conserved(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], split: Any, tokenizer: Any
):
    folder = tmp_path_factory.mktemp("any")
    lines = ["first one", "second one", *lines]
    (folder / "a.txt").write_bytes("\n".join(lines).encode())

    [source] = prepared(
        folder,
        sources=[TextFiles(path="a.txt", document="line")],
        validation=Validation(fraction=0.2, split=split),
        tokenizer=tokenizer,
    ).sources

    kept = [text for text in (line.removesuffix("\r") for line in lines) if text.strip()]
    kept[0] = kept[0].removeprefix("\ufeff")
    for side, split_counts in source.manifest["splits"].items():
        words = np.concatenate(
            [load(source, side, f"words-{n:05d}") for n in range(len(shards(source, side)))]
        )
        offsets = load(source, side, "document_offsets")
        per_document = [int(words[a:b].sum()) for a, b in itertools.pairwise(offsets)]
        assert per_document == load(source, side, "document_words").tolist()
        assert split_counts["documents"] == len(per_document)
    total = sum(counts["bytes"] for counts in source.manifest["splits"].values())
    assert total == sum(len(text.encode()) for text in kept)


def test_what_was_read_and_written_must_agree():
    with pytest.raises(AssertionError, match=r"read .*'words': 2.* wrote .*'words': 3"):
        check_conservation(
            "x",
            {"train": {"documents": 1, "words": 3, "bytes": 4}},
            Tally(documents_by_input=[1], words=2, bytes=4),
        )


def test_a_tokenizer_that_cannot_be_had_leaves_nothing(texts: Path):
    with pytest.raises(RecipeError, match=r"no folder './nowhere'"):
        prepared(texts, tokenizer=Pretrained(path="./nowhere"))

    assert not (texts / "cache" / "corpora").exists()


def test_inputs_are_fingerprinted_in_order(texts: Path):
    found = TextFiles(path="texts/*.txt").inputs([texts])

    assert [item.source_input for item in fingerprint(found, texts / "cache")] == found
