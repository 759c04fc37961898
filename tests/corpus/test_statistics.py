"""What a corpus is made of, beside counts that are made of its text in the plainest way."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_foundry.corpus import Validation
from model_foundry.corpus._word_hashes import DocumentHashes, word_hashes
from model_foundry.corpus._word_table import join_texts
from model_foundry.corpus.describing import describe_corpus
from model_foundry.corpus.distinct import Distinct
from model_foundry.corpus.filter.length import Length
from model_foundry.corpus.filtering import filter_steps
from model_foundry.corpus.jobs import is_whole
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import PreparedCorpus, PreparedSource
from model_foundry.corpus.source.jsonl import JsonLines
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.corpus.statistics import STATISTICS, TextStatistics
from model_foundry.data.stream import TokenStream
from model_foundry.data.windows import Windows, packing
from model_foundry.tokenizer.byte import Byte

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1, max_size=12)


def hashes_of_documents(*documents: list[str]) -> list[int]:
    """Return the hashes of documents that come in pieces, all in one batch."""
    pieces = [piece for document in documents for piece in document]
    ends = np.array([at == len(document) - 1 for document in documents for at in range(len(document))])
    hashes, words = word_hashes(join_texts(pieces))
    return DocumentHashes().add(hashes, words, ends).tolist()


@settings(deadline=None)
@given(TEXTS)
def test_words_have_one_hash_where_they_are_equal_and_as_many_as_split_finds(texts: list[str]):
    hashes, words = word_hashes(join_texts(texts))

    expected = [word for text in texts for word in text.split()]
    assert words.tolist() == [len(text.split()) for text in texts]
    assert len(hashes) == len(expected)
    assert len(set(zip(hashes.tolist(), expected, strict=True))) == len(set(expected))
    assert len(set(hashes.tolist())) == len(set(expected))


@pytest.mark.parametrize("length", [7, 8, 9, 16, 17, 511, 512, 513, 5000])
def test_a_byte_anywhere_in_a_word_changes_its_hash(length: int):
    word = "a" * length
    others = ["a" * at + "b" + "a" * (length - at - 1) for at in range(0, length, max(1, length // 50))]

    hashes, _ = word_hashes(join_texts([" ".join([word, *others, word + "\0", word + "a", word])]))

    assert hashes[0] == hashes[-1]
    assert len(set(hashes.tolist())) == len(others) + 3


def test_documents_are_known_by_their_words_in_order_however_they_come():
    whole = ["it was the best of times", " it was the worst of times"]
    first, again, spaced, swapped, shorter = hashes_of_documents(
        whole,
        ["it was", " the best of times it", " was the worst", "\tof times"],
        ["it was  the best of times\nit was the worst of times "],
        ["it was the worst of times it was the best of times"],
        ["it was the best of times it was the worst of"],
    )

    assert first == again == spaced
    assert len({first, swapped, shorter}) == 3


def test_a_document_may_reach_over_several_batches():
    texts = ["one two", " three", " four five", " six"]
    counter, found = DocumentHashes(), []
    for text, ends in zip(texts, (False, False, True, True), strict=True):
        found += counter.add(*word_hashes(join_texts([text])), np.array([ends])).tolist()

    assert found == hashes_of_documents(["one two three four five"], [" six"])
    assert counter.words.tolist() == [1]


def test_up_to_the_bound_everything_is_counted():
    found, numbers = Distinct(1000), np.random.default_rng(1).integers(0, 1000, 20_000)
    for block in np.split(numbers.astype(np.uint64), 10):
        found.add(block)

    expected = Counter(numbers.tolist())
    assert dict(zip(found.keys.tolist(), found.counts.tolist(), strict=True)) == expected
    assert (found.number, found.is_exact, found.standard_error) == (len(expected), True, 0)
    assert found.number_once == sum(count == 1 for count in expected.values())


def test_beyond_the_bound_the_number_is_estimated_and_what_is_kept_is_counted_exactly():
    draw = np.random.default_rng(2)
    things = draw.integers(0, 2**64, 50_000, dtype=np.uint64)
    shown = np.concatenate([things, things[:25_000]])  # half of them twice
    found = Distinct(2000)
    for block in np.array_split(draw.permutation(shown), 40):
        found.add(block, np.full(len(block), 3))

    assert not found.is_exact
    assert found.standard_error == pytest.approx(1 / np.sqrt(1998))
    assert abs(found.number - 50_000) < 4 * found.standard_error * 50_000
    assert abs(found.number_once - 25_000) < 4 * 0.05 * 25_000
    assert found.size == pytest.approx(3 * found.number, abs=2)
    twice = set(things[:25_000].tolist())
    found.add(found.keys, np.full(2000, 3))
    kept = zip(found.keys.tolist(), found.counts.tolist(), strict=True)
    assert all(count == (3 if key in twice else 2) for key, count in kept)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(1, 400), min_size=1, max_size=6),
    st.sampled_from([50, 10_000]),
)
def test_neither_order_nor_division_changes_what_is_kept(seed: int, sizes: list[int], most: int):
    draw = np.random.default_rng(seed)
    shown = draw.integers(0, 2**64, sum(sizes), dtype=np.uint64)
    shown[: len(shown) // 3] = shown[-(len(shown) // 3) :] if len(shown) > 2 else shown[: len(shown) // 3]
    at_once, merged = Distinct(most), Distinct(most)
    at_once.add(shown)
    for part in np.split(draw.permutation(shown), np.cumsum(sizes)[:-1]):
        one = Distinct(most)
        one.add(part)
        merged.merge(one.from_arrays(one.arrays()))
        merged.add(part[:0])

    for name, values in at_once.arrays().items():
        assert merged.arrays()[name].tolist() == values.tolist()


def test_what_is_shared_is_counted_and_beyond_the_bound_estimated():
    things = np.random.default_rng(3).integers(0, 2**64, 30_000, dtype=np.uint64)
    for most, error in ((None, 0.0), (4000, 0.03)):
        left, right = Distinct(most), Distinct(most)
        left.add(things[:20_000])
        right.add(things[15_000:])

        assert left.shared_with(right) == pytest.approx(0.25, abs=error)
        assert right.shared_with(left) == pytest.approx(1 / 3, abs=error)


LINES = [f"the {number} and the {number % 7}" + " word" * (number % 40) for number in range(400)]


def prepared(folder: Path, **changes: Any) -> PreparedCorpus:
    """Prepare 400 lines with repetitions and 30 JSON lines."""
    (folder / "a.txt").write_text("\n".join([*LINES, *LINES[:25], "", " "]) + "\n")
    texts = [f"{{another}}  text {number}" for number in range(28)] + [LINES[3], LINES[3]]
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    arguments: dict[str, Any] = {
        "sources": [TextFiles(path="a.txt", document="line"), JsonLines(path="b.jsonl")],
        "validation": Validation(fraction=0.1),
        "tokenizer": Byte(),
        "seed": 1,
        "folders": [folder],
        "cache": folder / "cache",
        "workers": 1,
    }
    return prepare_corpus(**{**arguments, **changes})


def texts_of(source: PreparedSource, side: str) -> list[str]:
    """Decode one side of bytes; 256 ends a document."""
    tokens = np.load(source.folder / side / "tokens-00000.npy").tolist()
    texts: list[bytearray] = [bytearray()]
    for token in tokens:
        texts.append(bytearray()) if token == 256 else texts[-1].append(token)
    return [text.decode() for text in texts[:-1]]


def check(facts: dict[str, Any], texts: list[str]) -> None:
    """Compare the statistics of one side with counts of its texts."""
    words = Counter(word for text in texts for word in text.split())
    different = {tuple(text.split()) for text in texts}
    lengths = sorted(len(text.split()) for text in texts)
    assert facts["documents"] == len(texts)
    assert facts["types"]["number"] == len(words)
    assert facts["types"]["once"] == sum(count == 1 for count in words.values())
    assert facts["duplicates"]["documents"] == len(texts) - len(different)
    assert facts["duplicates"]["words"] == sum(lengths) - sum(map(len, different))
    found = facts["lengths"]["words"]
    assert (found["least"], found["most"]) == (lengths[0], lengths[-1])
    assert found["mean"] == pytest.approx(sum(lengths) / len(lengths))
    assert found["median"] == lengths[-(-len(lengths) // 2) - 1]
    for item in found["histogram"]:
        inside = [length for length in lengths if item["from"] <= length <= item["to"]]
        assert (item["documents"], item["sum"]) == (len(inside), sum(inside))
    assert sum(item["sum"] for item in facts["lengths"]["tokens"]["histogram"]) == facts["tokens"]


def test_each_source_and_all_together_are_as_their_texts(tmp_path: Path):
    corpus = prepared(tmp_path)

    described = describe_corpus(corpus, 16)

    texts = {
        (source.name, side): texts_of(source, side)
        for source in corpus.sources
        for side in source.manifest["splits"]
    }
    for source in described["sources"]:
        for side, facts in source["sides"].items():
            check(facts, texts[source["name"], side])
    for side in ("train", "validation"):
        both = [text for (_, of), found in texts.items() if of == side for text in found]
        check(described["total"][side], both)
        shares = [source["sides"][side]["share"]["words"] for source in described["sources"]]
        assert sum(shares) == pytest.approx(1)
    train, held_out = (
        {word for (_, of), found in texts.items() if of == side for text in found for word in text.split()}
        for side in ("train", "validation")
    )
    assert described["shared"]["types"] == pytest.approx(len(train & held_out) / len(held_out))
    assert described["total"]["train"]["duplicates"]["documents"] > 20


def test_neither_workers_nor_sections_change_what_was_counted(tmp_path: Path):
    one = prepared(tmp_path)
    two = prepared(tmp_path, cache=tmp_path / "other", workers=2, section_bytes=3000)

    assert describe_corpus(one, 16) == describe_corpus(two, 16)
    for left, right in zip(one.sources, two.sources, strict=True):
        assert left.manifest["files"][STATISTICS] == right.manifest["files"][STATISTICS]


def test_a_section_of_which_nothing_was_counted_is_not_whole(tmp_path: Path):
    (tmp_path / "tally.json").write_text('{"files": 0}')
    assert not is_whole(tmp_path)

    TextStatistics().save(tmp_path / STATISTICS)

    assert is_whole(tmp_path)


def test_padding_is_what_padded_windows_have(tmp_path: Path):
    corpus = prepared(tmp_path)

    facts = describe_corpus(corpus, 16)["total"]["train"]["windows"]

    windows = [
        Windows(TokenStream(source.name, source.folder, "train", source.manifest, None), 16, "pad")
        for source in corpus.sources
    ]
    assert facts["padding_if_padded"] == pytest.approx(packing(windows).padding / 100)
    documents = sum(window.stream.num_documents for window in windows)
    assert facts["longer_documents"] == pytest.approx(packing(windows).split_documents / 100 * documents)


def test_losses_are_told_step_by_step(tmp_path: Path):
    filters = [Length(min_words=6)]

    first, second = describe_corpus(prepared(tmp_path, filters=filters), 16)["sources"]

    short = [line for line in [*LINES, *LINES[:25]] if len(line.split()) < 6]
    assert first["losses"] == [
        {"step": "blank documents", "documents": 2, "bytes": 1},
        {
            "step": "length",
            "documents": len(short),
            "words": sum(len(line.split()) for line in short),
            "bytes": sum(len(line) for line in short),
            "counts": {"too_short": len(short)},
        },
    ]
    assert second["losses"][0]["documents"] == 28
    assert filter_steps(filters, [], tmp_path)[0].filter == filters[0]


def test_a_corpus_of_before_there_were_statistics_has_its_counts(tmp_path: Path):
    corpus = prepared(tmp_path)
    (corpus.sources[0].folder / STATISTICS).unlink()

    described = describe_corpus(corpus, 16)

    assert "total" not in described
    assert described["sources"][0]["sides"]["train"].keys() == {
        "documents",
        "words",
        "bytes",
        "tokens",
        "share",
    }
    assert "types" in described["sources"][1]["sides"]["train"]
