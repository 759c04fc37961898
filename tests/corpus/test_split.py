from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_foundry.corpus.fingerprint import fingerprint
from model_foundry.corpus.reading import Part, Tally
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.corpus.split import SplitRule, SplitSource, choose_held_out
from model_foundry.errors import DataError


def split(folder: Path, rule: SplitRule, text: str, document: str = "line") -> SplitSource:
    (folder / "a.txt").write_bytes(text.encode())
    source = TextFiles(path="a.txt", document=document)
    return SplitSource("text_files-0", source, fingerprint(source.inputs([folder]), folder / "cache"), rule)


def sides(parts: list[Part]) -> dict[str, list[str]]:
    return {side: [part.text for part in parts if part.side == side] for side in ("train", "validation")}


LINES = "".join(f"line {number}\n" for number in range(1000))
ONE_PERCENT = SplitRule("document", Fraction(1, 100), seed=5)


def test_one_in_a_hundred_documents_is_held_out_whatever_their_order(tmp_path: Path):
    backwards = "".join(reversed(LINES.splitlines(keepends=True)))

    first = sides(list(split(tmp_path, ONE_PERCENT, LINES).parts()))
    second = sides(list(split(tmp_path, ONE_PERCENT, backwards).parts()))

    assert len(first["validation"]) == 10
    assert set(first["validation"]) == set(second["validation"])
    assert sorted([*first["train"], *first["validation"]]) == sorted(LINES.splitlines())


def test_another_seed_holds_out_others(tmp_path: Path):
    first = sides(list(split(tmp_path, ONE_PERCENT, LINES).parts()))
    second = sides(list(split(tmp_path, SplitRule("document", Fraction(1, 100), seed=6), LINES).parts()))

    assert set(first["validation"]) != set(second["validation"])


def test_reading_again_gives_the_same_parts(tmp_path: Path):
    source = split(tmp_path, ONE_PERCENT, LINES)

    assert list(source.parts()) == list(source.parts())


def test_a_document_in_a_few_is_held_out_even_when_the_share_is_less_than_one(tmp_path: Path):
    assert len(sides(list(split(tmp_path, ONE_PERCENT, "a\nb\nc\n").parts()))["validation"]) == 1


def test_blank_documents_are_counted_and_left_out_but_keep_their_numbers(tmp_path: Path):
    tally = Tally()

    parts = list(split(tmp_path, SplitRule("train"), "one\n\n \t\nfour\n").parts(tally))

    assert [(part.ordinal, part.text) for part in parts] == [(0, "one"), (3, "four")]
    assert (tally.documents_by_input, tally.blank_documents, tally.blank_bytes) == ([4], 2, 2)


@pytest.mark.parametrize("text", ["only one\n", "same\nsame\nsame\n", "\n\nonly\n"])
def test_when_all_documents_would_be_held_out_the_ways_out_are_named(tmp_path: Path, text: str):
    with pytest.raises(
        DataError,
        match=r"source text_files-0: has .*split: tail.*document: blank_line.*lower validation\.fraction",
    ):
        list(split(tmp_path, SplitRule("document", Fraction(1, 2)), text).parts())


def test_a_tail_that_takes_everything_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"holding out 1 of 4 characters leaves nothing to train on"):
        list(split(tmp_path, SplitRule("tail", Fraction(1)), "a\nbcd").parts())


@given(
    lines=st.lists(
        st.text("ab é", min_size=1, max_size=6).filter(lambda text: not text.isspace()), min_size=2
    ),
    percent=st.integers(1, 49),
)
def test_the_tail_is_cut_at_exactly_its_share_of_the_characters(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], percent: int
):
    source = split(
        tmp_path_factory.mktemp("tail"), SplitRule("tail", Fraction(percent, 100)), "\n".join(lines)
    )
    tally = Tally()

    parts = list(source.parts(tally))

    text, found = "".join(lines), sides(parts)
    at = len(text) * (100 - percent) // 100
    assert ("".join(found["train"]), "".join(found["validation"])) == (text[:at], text[at:])
    assert sum(not part.is_complete for part in parts) == tally.cut_documents <= 1
    assert sum(len(part.text.split()) for part in parts) == len(" ".join(lines).split()) + tally.cut_words
    assert all(part.text in lines[part.ordinal] for part in parts)


def test_tiny_shakespeare_is_divided_as_in_nanogpt(test_data: Path):
    source = TextFiles(path="input.txt")
    inputs = fingerprint(source.inputs([test_data / "tinyshakespeare"]), Path("unused"))

    parts = list(SplitSource("shakespeare", source, inputs, SplitRule("tail", Fraction(1, 10))).parts())

    assert [len(part.text) for part in parts] == [1_003_854, 111_540]


@given(hashes=st.lists(st.integers(0, 12), min_size=1, max_size=60), percent=st.integers(0, 100))
def test_equal_documents_stay_together_and_never_take_more_than_their_share(hashes: list[int], percent: int):
    chosen = choose_held_out(np.array(hashes, dtype=np.uint64), Fraction(percent, 100)).tolist()

    wanted = math.ceil(Fraction(percent, 100) * len(hashes))
    by_hash = {
        value: {side for other, side in zip(hashes, chosen, strict=True) if other == value}
        for value in hashes
    }
    smallest = min(hashes.count(value) for value in hashes)
    assert all(len(found) == 1 for found in by_hash.values())
    assert sum(chosen) <= max(wanted, smallest if wanted else 0)
    assert bool(sum(chosen)) == bool(wanted)


def test_of_different_documents_those_with_the_smallest_hashes_are_held_out():
    hashes = np.array([9, 3, 2**63 + 5, 1, 7], dtype=np.uint64)

    assert choose_held_out(hashes, Fraction(2, 5)).tolist() == [False, True, False, True, False]
