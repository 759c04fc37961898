from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_foundry.corpus import Validation, workers
from model_foundry.corpus.filter import Filter
from model_foundry.corpus.filtering import FilterStep
from model_foundry.corpus.parsed import Document
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import PreparedCorpus, PreparedSource
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.corpus.steps import Reading
from model_foundry.errors import RecipeError
from model_foundry.parts import find_part
from model_foundry.tokenizer.byte import Byte
from tests.corpus.test_sections import Stopped, content_of, stop_after


def made(name: str, **settings: Any) -> Filter:
    return find_part(Filter, name).model_validate(settings)


LENGTH, EXACT = made("length", min_words=2), made("exact_duplicates")


def prepared(folder: Path, cache: Path, *filters: Filter, **changes: Any) -> PreparedCorpus:
    arguments: dict[str, Any] = {
        "sources": [TextFiles(path="a.txt", document="line"), TextFiles(path="b.txt", document="line")],
        "validation": Validation(fraction=0.2),
        "tokenizer": Byte(),
        "seed": 1,
        "folders": [folder],
        "cache": cache,
        "filters": filters,
    }
    return prepare_corpus(**{**arguments, **changes})


def lines_of(source: PreparedSource, side: str) -> list[str]:
    if side not in source.manifest["splits"]:
        return []
    tokens = np.concatenate([np.load(path) for path in sorted((source.folder / side).glob("tokens-*.npy"))])
    return bytes(token if token < 256 else 10 for token in tokens.tolist()).decode().split("\n")[:-1]


def write_lines(folder: Path) -> tuple[list[str], list[str]]:
    """Write two files with exact copies and versions of each other's lines, and blank and short ones."""
    draw = random.Random(7)
    first: list[str] = []
    for number in range(60):
        words = [f"word{draw.randrange(90)}" for _ in range(30)]
        first.append(" ".join(words))
        if number % 4 == 0:
            first += ["", "x", first[-1]]
        if number % 5 == 0:
            first.append(" ".join([*words[:-1], "other"]))
    second = [*first[10:40:3], *(f"another line {number} {draw.random()} of its own" for number in range(30))]
    (folder / "a.txt").write_text("\n".join(first) + "\n")
    (folder / "b.txt").write_text("\n".join(second) + "\n")
    return first, second


def test_a_document_that_stands_again_is_left_out_and_held_out_ones_have_no_copy_in_training(tmp_path: Path):
    first, second = write_lines(tmp_path)

    corpus = prepared(tmp_path, tmp_path / "cache", LENGTH, EXACT)

    sides = {side: [lines_of(source, side) for source in corpus.sources] for side in ("train", "validation")}
    everything = [line for side in sides.values() for lines in side for line in lines]
    assert sorted(everything) == sorted({line for line in [*first, *second] if len(line.split()) > 1})
    held_out = {line for lines in sides["validation"] for line in lines}
    assert held_out
    # In b, what stands in a already is gone, whichever side of a it is on; and nothing else.
    gone = {line for line in second if line in first}
    assert len(gone) > 5
    of_second = [*sides["train"][1], *sides["validation"][1]]
    plain = prepared(tmp_path, tmp_path / "cache")
    held_out_second = set(lines_of(plain.sources[1], "validation"))
    assert gone - set(of_second) == {
        line
        for line in gone
        if line not in held_out_second or line in lines_of(plain.sources[0], "validation")
    }
    [length, exact] = corpus.sources[0].manifest["steps"]
    words = Counter(len(line.split()) for line in first if line)
    assert length["documents"] == {"in": sum(words.values()), "out": sum(words.values()) - 15, "lost": 15}
    assert length["counts"] == {"too_short": 15}
    assert exact["counts"]["repeated"] == exact["documents"]["lost"] >= 15
    assert exact["filter"] == {"type": "exact_duplicates"}


@pytest.mark.parametrize("split", ["document", "tail"])
def test_neither_processes_nor_sections_change_what_filters_leave(tmp_path: Path, split: Any):
    write_lines(tmp_path)
    filters = [LENGTH, made("near_duplicates", threshold=0.6, shingle=2), EXACT, made("repetition")]
    validation = Validation(fraction=0.2, split=split)

    contents = [
        content_of(prepared(tmp_path, tmp_path / f"{number}-{size}", *filters, validation=validation,
                            workers=number, section_bytes=size))
        for number, size in ((1, 1 << 24), (1, 1500), (2, 1500))
    ]  # fmt: skip

    assert contents[0] == contents[1] == contents[2]
    [steps, _] = [source["steps"] for source in json.loads(contents[0])[0]]
    assert [step["documents"]["lost"] > 0 for step in steps] == [True, True, False, False]


def test_held_out_sources_come_first_even_where_they_are_named_last(tmp_path: Path):
    (tmp_path / "a.txt").write_text("same line here\nonly in training\n")
    (tmp_path / "b.txt").write_text("same line here\nonly held out\nonly held out\n")
    changes: dict[str, Any] = {
        "sources": [TextFiles(path="a.txt", document="line")],
        "validation": Validation(sources=[TextFiles(path="b.txt", document="line")]),
    }

    corpus = prepared(tmp_path, tmp_path / "cache", EXACT, **changes)

    assert lines_of(corpus.sources[0], "train") == ["only in training"]
    assert lines_of(corpus.held_out[0], "validation") == ["same line here", "only held out"]


def test_filters_and_what_they_read_are_part_of_the_corpus(tmp_path: Path):
    (tmp_path / "a.txt").write_text("one two three\nfour five six\nseven eight nine\n")
    (tmp_path / "b.txt").write_text("ten eleven twelve\nnine ten eleven\n")
    (tmp_path / "pairs.txt").write_text("two three\n")
    decontaminate = made("decontaminate", path="pairs.txt", ngram=2)

    def key(*filters: Filter) -> str:
        return prepared(tmp_path, tmp_path / "cache", *filters).sources[0].folder.name

    keys = [key(), key(LENGTH), key(LENGTH, EXACT), key(EXACT, LENGTH), key(decontaminate)]
    corpus = prepared(tmp_path, tmp_path / "cache", decontaminate)
    (tmp_path / "pairs.txt").write_text("five six\n")
    keys.append(key(decontaminate))
    (tmp_path / "moved").mkdir()
    (tmp_path / "pairs.txt").rename(tmp_path / "moved" / "pairs.txt")

    assert len(set(keys)) == 6
    assert key(made("decontaminate", path="moved/pairs.txt", ngram=2)) == keys[-1]
    [step] = corpus.sources[0].manifest["steps"]
    assert step["counts"] == {"pairs.txt/documents": 1}
    assert "one two three" not in [*lines_of(corpus.sources[0], "train")]
    # What a document is compared with decides, too: another text beside it is another corpus.
    before = key(EXACT)
    (tmp_path / "b.txt").write_text("one two three\nnine ten eleven\n")
    assert key(EXACT) != before


def test_some_of_what_each_filter_left_out_is_kept_to_be_looked_at(tmp_path: Path):
    short = [f"s{number}" for number in range(50)]
    (tmp_path / "a.txt").write_text("\n".join([*short, *(f"long enough {n}" for n in range(50))]) + "\n")
    (tmp_path / "b.txt").write_text("s1\ns2\nlong enough too\nlong enough as well\n")
    many = prepared(tmp_path, tmp_path / "one", LENGTH)
    divided = prepared(tmp_path, tmp_path / "two", LENGTH, section_bytes=60, workers=1)

    [kept] = json.loads((many.sources[0].folder / "removed.json").read_text())

    assert kept["filter"]["type"] == "length"
    assert len(kept["removed"]) == 20 == len({item["text"] for item in kept["removed"]})
    assert {item["text"] for item in kept["removed"]} < set(short)
    assert kept["removed"][0] == {"text": kept["removed"][0]["text"], "words": 1, "words_left": 0}
    assert json.loads((divided.sources[0].folder / "removed.json").read_text()) == [kept]


def test_a_comparison_that_is_stopped_goes_on_and_counts_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_lines(tmp_path)
    expected = content_of(prepared(tmp_path, tmp_path / "whole", LENGTH, EXACT))
    monkeypatch.setattr("model_foundry.corpus.progress._TELL_CHARACTERS", 1)
    monkeypatch.setattr("model_foundry.corpus.filtering._TOLD_CHARACTERS", 1)
    arguments: dict[str, Any] = {"workers": 1, "section_bytes": 1000}
    with pytest.raises(Stopped):
        prepared(tmp_path, tmp_path / "cache", LENGTH, EXACT,
                 progress=stop_after("comparing text_files-1", 3), **arguments)  # fmt: skip
    with pytest.raises(Stopped):
        prepared(tmp_path, tmp_path / "cache", LENGTH, EXACT,
                 progress=stop_after("tokenizing text_files-1", 3), **arguments)  # fmt: skip
    done: list[dict[str, Any]] = []
    perform = workers.perform

    def noted(job: Any, *rest: Any) -> Iterator[Any]:
        done.append(job)
        return perform(job, *rest)

    monkeypatch.setattr(workers, "perform", noted)

    corpus = prepared(tmp_path, tmp_path / "cache", LENGTH, EXACT, **arguments)

    assert content_of(corpus) == expected
    assert {job["kind"] for job in done} == {"encode"}
    assert all("b.txt" in str(job["inputs"]) for job in done)
    assert not list((tmp_path / "cache").rglob("signed"))


def test_a_cut_beside_a_parse_is_refused(tmp_path: Path):
    (tmp_path / "a.txt").write_text("one two\n")
    step = FilterStep(
        filter=made("decontaminate", path="a.txt", ngram=2, action="cut", margin=0, shortest=1),
        number=1,
        files=[str(tmp_path / "a.txt")],
    )
    text = "zero one two three"

    assert step.apply(Reading(text), Counter()) == Reading("zero\n\nthree")
    with pytest.raises(RecipeError, match=r"decontaminate cuts a document .*action: remove"):
        step.apply(Reading(text, Document(text, ())), Counter())
