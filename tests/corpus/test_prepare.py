"""A corpus that is prepared: its tokens, its sides, its sources, and what its manifest counts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_foundry.corpus import Validation
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.prepared import corpus_manifest
from model_foundry.corpus.source.jsonl import JsonLines
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.tokenizer.byte import Byte
from model_foundry.tokenizer.character import Character
from tests.corpus.preparing import documents, load, prepared, shards


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
