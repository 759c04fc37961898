from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from model_foundry.corpus import Validation
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import PreparedSource
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.corpus.steps import DocumentStep, Reading, StepTally, check_chain
from model_foundry.errors import DataError
from model_foundry.tokenizer.byte import Byte


class Shorten(DocumentStep):
    """Keeps the first words; a document of one word is left out."""

    keep: int = 2

    def apply(self, document: Reading, counts: Counter[str]) -> Reading | None:
        words = document.text.split()
        counts["shortened"] += len(words) > self.keep
        return Reading(" ".join(words[: self.keep])) if len(words) > 1 else None


class ShortenTraining(Shorten):
    only_training: ClassVar[bool] = True


class Blank(DocumentStep):
    def apply(self, document: Reading, counts: Counter[str]) -> Reading | None:
        return Reading(" \n")


LINES = "a b c d\ne\nf g\nh i j\n"


def prepared(folder: Path, *steps: DocumentStep, **validation: object) -> PreparedSource:
    (folder / "a.txt").write_text(LINES)
    corpus = prepare_corpus(
        sources=[TextFiles(path="a.txt", document="line")],
        validation=Validation.model_validate({"fraction": 0, **validation}),
        tokenizer=Byte(),
        seed=1,
        folders=[folder],
        cache=folder / "cache",
        steps=steps,
    )
    return corpus.sources[0]


def text_of(source: PreparedSource, side: str) -> str:
    tokens = np.load(source.folder / side / "tokens-00000.npy")
    return bytes(token if token < 256 else 10 for token in tokens).decode()


def test_documents_are_written_as_the_steps_leave_them_and_what_is_lost_is_counted(tmp_path: Path):
    source = prepared(tmp_path, Shorten())

    assert text_of(source, "train") == "a b\nf g\nh i\n"
    assert np.load(source.folder / "train" / "document_ids.npy").tolist() == [0, 2, 3]
    [step] = source.manifest["steps"]
    assert step["keep"] == 2
    assert step["documents"] == {"in": 4, "out": 3, "lost": 1}
    assert step["words"] == {"in": 10, "out": 6, "lost": 4}
    assert step["bytes"] == {"in": 16, "out": 9, "lost": 7}
    assert step["counts"] == {"shortened": 2}


def test_every_step_is_given_what_the_one_before_it_left(tmp_path: Path):
    source = prepared(tmp_path, Shorten(keep=3), Shorten(keep=1))

    assert text_of(source, "train") == "a\nf\nh\n"
    assert [step["words"]["lost"] for step in source.manifest["steps"]] == [2, 5]


def test_a_step_for_training_leaves_held_out_documents_as_they_are(tmp_path: Path):
    plain = prepared(tmp_path, fraction=0.25, split="document")
    source = prepared(tmp_path, ShortenTraining(keep=1), fraction=0.25, split="document")

    assert text_of(source, "validation") == text_of(plain, "validation")
    assert set(text_of(source, "train").split()) < {"a", "f", "h"} | {"e"}


def test_another_step_is_another_corpus_and_none_is_the_old_one(tmp_path: Path):
    keys = [prepared(tmp_path, *steps).folder.name for steps in ((), (Shorten(),), (Shorten(keep=3),))]

    assert len(set(keys)) == 3


def test_with_steps_the_tail_begins_with_a_whole_document(tmp_path: Path):
    assert text_of(prepared(tmp_path, fraction=0.4, split="tail"), "validation") == " g\nh i j\n"

    source = prepared(tmp_path, Shorten(keep=9), fraction=0.4, split="tail")

    assert text_of(source, "train") == "a b c d\nf g\n"
    assert text_of(source, "validation") == "h i j\n"


def test_a_document_that_a_step_leaves_blank_is_lost(tmp_path: Path):
    with pytest.raises(DataError, match="holds no text"):
        prepared(tmp_path, Blank())


def test_steps_that_do_not_fit_together_are_our_own_mistake():
    read, left = {"documents": 2, "words": 5, "bytes": 9}, {"documents": 1, "words": 2, "bytes": 4}

    with pytest.raises(AssertionError, match=r"step 0 was given .*'words': 4.*, expected .*'words': 5"):
        check_chain([StepTally(documents_in=2, words_in=4, bytes_in=9)], read, left)
    with pytest.raises(AssertionError, match=r"the steps left .*'bytes': 3.*, wrote .*'bytes': 4"):
        check_chain([StepTally(2, 1, 5, 2, 9, 3)], read, left)
