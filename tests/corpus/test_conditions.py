"""Interventions on their way to the shards: sides, pools, exposure, keys and counts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_foundry.corpus import Exposure, Validation
from model_foundry.corpus.conditions import Condition
from model_foundry.corpus.intervention import Intervention
from model_foundry.corpus.matching import Pool, _take, lot
from model_foundry.corpus.parsed import Document
from model_foundry.corpus.parsed.plain import plain_document
from model_foundry.corpus.parser import Parser
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import PreparedCorpus, PreparedSource, corpus_manifest
from model_foundry.corpus.source import Source
from model_foundry.corpus.source.conllu import Conllu
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.errors import DataError
from model_foundry.parts import find_part
from model_foundry.tokenizer.byte import Byte
from tests.corpus.treebank import ewt, sentence

POOL = Exposure(match="words", pool=0.3)
NO_MATCH = Exposure()


@pytest.fixture
def treebank(tmp_path: Path) -> Path:
    """A folder with ``a.conllu``: 80 documents of one to five sentences, some of them equal."""
    documents = []
    for number in range(80):
        length = 1 + number % 5
        name = f"w{number % 60}"
        found = [
            sentence("he|he|PRON|nsubj", "saw|see|VERB", "the|the|DET|det|PronType=Art", f"{name}_", ".")
            for _ in range(length)
        ]
        documents.append("# newdoc\n" + "".join(found))
    (tmp_path / "a.conllu").write_text("".join(documents))
    return tmp_path


def part(name: str, **settings: Any) -> Intervention:
    return find_part(Intervention, name).model_validate(settings)


PRONOUNS = part("remove_subject_pronouns")
IDENTITY = part("identity")


def prepared(
    folder: Path,
    *interventions: Intervention,
    source: Source | None = None,
    exposure: Exposure = NO_MATCH,
    validation: Validation | None = None,
    parser: Parser | None = None,
    seed: int = 1,
    tokenizer: Any = None,
) -> PreparedCorpus:
    validation = validation or Validation(fraction=0.1)
    condition = Condition(list(interventions), exposure, parser, validation.edited, seed)
    return prepare_corpus(
        sources=[source or Conllu(path="a.conllu")],
        validation=validation,
        tokenizer=tokenizer or Byte(),
        seed=seed,
        folders=[folder],
        cache=folder / "cache",
        condition=condition if interventions else None,
    )


def lines_of(source: PreparedSource, side: str) -> list[str]:
    """Return the documents of a side, which hold no line break."""
    tokens = np.load(source.folder / side / "tokens-00000.npy")
    return bytes(token if token < 256 else 10 for token in tokens).decode().splitlines()


def words_of(documents: list[str]) -> int:
    return sum(len(document.split()) for document in documents)


def step(source: PreparedSource, name: str) -> dict[str, Any]:
    [found] = [step for step in source.manifest["steps"] if step["type"] == name]
    return found


def test_the_baseline_has_the_tokens_of_a_corpus_without_interventions_under_another_key(treebank: Path):
    [plain] = prepared(treebank).sources
    [identity] = prepared(treebank, IDENTITY).sources

    for side in ("train", "validation"):
        assert lines_of(identity, side) == lines_of(plain, side)
    assert identity.folder != plain.folder


def test_training_text_is_edited_and_held_out_text_is_the_same_in_every_condition(treebank: Path):
    [plain] = prepared(treebank).sources
    [edited] = prepared(treebank, PRONOUNS).sources

    assert lines_of(edited, "validation") == lines_of(plain, "validation")
    assert lines_of(edited, "train") == [line.replace("he saw", "saw") for line in lines_of(plain, "train")]


def test_held_out_text_is_edited_where_asked(treebank: Path):
    [edited] = prepared(treebank, PRONOUNS, validation=Validation(fraction=0.1, edited=True)).sources

    assert not any("he saw" in line for line in lines_of(edited, "validation"))


def test_the_manifest_counts_what_each_intervention_did(treebank: Path):
    corpus = prepared(treebank, PRONOUNS, part("remove_articles", intensity=0))

    [source] = corpus.sources
    train = lines_of(prepared(treebank).sources[0], "train")
    sentences = sum(line.count(".") for line in train)
    counts = step(source, "interventions")["counts"]
    assert counts["0/remove_subject_pronouns/candidates"] == sentences
    assert counts["0/remove_subject_pronouns/words_removed"] == sentences
    assert counts["0/remove_subject_pronouns/bytes_removed"] == 2 * sentences
    assert counts["0/remove_subject_pronouns/documents"] == len(train)
    assert counts["1/remove_articles/candidates"] == sentences
    assert counts["1/remove_articles/chosen"] == counts["1/remove_articles/words_removed"] == 0
    assert step(source, "interventions")["words"]["lost"] == sentences
    assert corpus_manifest(corpus)["sources"][0]["steps"] == source.manifest["steps"]


def test_every_setting_of_a_condition_is_another_corpus(treebank: Path):
    conditions: list[dict[str, Any]] = [
        {"interventions": [IDENTITY]},
        {"interventions": [PRONOUNS]},
        {"interventions": [part("remove_subject_pronouns", intensity=0.5)]},
        {"interventions": [part("remove_subject_pronouns", intensity=0.5, seed=1)]},
        {"interventions": [PRONOUNS, IDENTITY]},
        {"interventions": [PRONOUNS], "exposure": POOL},
        {"interventions": [PRONOUNS], "exposure": Exposure(match="words", pool=0.31)},
        {"interventions": [PRONOUNS], "exposure": Exposure(match="documents", pool=0.3)},
    ]

    corpora = [prepared(treebank, *condition.pop("interventions"), **condition) for condition in conditions]

    assert len({corpus_manifest(corpus)["digest"] for corpus in corpora}) == len(conditions)


@pytest.mark.parametrize("unit", ["words", "tokens", "documents"])
def test_exposure_is_matched_to_within_one_document(unit: str, treebank: Path):
    count = {
        "words": lambda text: len(text.split()),
        "tokens": lambda text: 1 + len(text),
        "documents": lambda _: 1,
    }
    drop = [PRONOUNS] if unit != "documents" else [part("remove_sentences_matching", pattern="w[0-9]\\.")]
    exposure = Exposure(match=unit, pool=0.45)
    [baseline] = prepared(treebank, IDENTITY, exposure=exposure).sources
    [edited] = prepared(treebank, *drop, exposure=exposure).sources

    target = sum(map(count[unit], lines_of(baseline, "train")))
    found = sum(map(count[unit], lines_of(edited, "train")))

    assert step(edited, "pool")["target"] == step(baseline, "pool")["target"] == target
    assert step(baseline, "pool")["refilled"] == 0
    assert step(edited, "pool")["refilled"] > 0
    longest = max(map(count[unit], lines_of(edited, "train")))
    assert target <= found < target + longest
    assert found == step(edited, "pool")["kept"] + step(edited, "pool")["refilled"]


def test_what_refills_was_set_aside_in_every_condition_and_is_edited_too(treebank: Path):
    [baseline] = prepared(treebank, IDENTITY, exposure=POOL).sources
    [edited] = prepared(treebank, PRONOUNS, exposure=POOL).sources
    everything = lines_of(prepared(treebank).sources[0], "train")

    shown, held_out = lines_of(edited, "train"), lines_of(baseline, "validation")
    outside = {text for text in everything if lot(1, text) >= Fraction("0.3") * 2**64}
    assert set(lines_of(baseline, "train")) == outside
    assert not any(line.startswith("he ") for line in shown)
    back = {f"he {line}".replace(". ", ". he ") for line in shown} - outside
    assert back
    assert back <= set(everything) - outside
    assert not back & set(held_out)


def test_of_equal_documents_no_more_come_back_than_one_too_many():
    pool = Pool(seed=1, share="1/2", unit="words")
    candidates = [(5, 10)] * 4 + [(7, 10)] * 3 + [(9, 4)] * 3

    taken = _take(pool, candidates, target=100, kept=70, never=set())

    assert taken.refilled == 30  # three of the four of lot 5 would do, and equal documents go together
    assert taken.without == [5]
    assert _take(pool, candidates, target=100, kept=69, never=set()).refilled == 40


def test_held_out_text_of_its_own_is_prepared_once_for_all_conditions(treebank: Path):
    (treebank / "b.conllu").write_text(sentence("something", "else"))
    validation = Validation(sources=[Conllu(path="b.conllu")])

    folders = {
        prepared(treebank, *stack, validation=validation).held_out[0].folder
        for stack in ([], [IDENTITY], [PRONOUNS])
    }

    assert len(folders) == 1


def test_a_document_that_is_held_out_never_refills(treebank: Path):
    exposure = Exposure(match="words", pool=0.5)
    alone = prepared(treebank, PRONOUNS, exposure=exposure, validation=Validation(fraction=0)).sources[0]
    back = step(alone, "pool")["counts"]["refilled"]
    text = (treebank / "a.conllu").read_text().split("# newdoc\n")[1:]
    # every document whose lot is low is held out, too
    source = Conllu(path="a.conllu")
    [item] = source.inputs([treebank])
    low = [
        written
        for document, written in zip(source.documents(item), text, strict=True)
        if lot(1, document) < step(alone, "pool")["refilled_to"]
    ]
    (treebank / "b.conllu").write_text("".join(f"# newdoc\n{document}" for document in low))
    validation = Validation(sources=[Conllu(path="b.conllu")])

    corpus = prepared(treebank, PRONOUNS, exposure=exposure, validation=validation)

    [other], [held_out] = corpus.sources, corpus.held_out
    assert len(low) >= back > 0
    assert step(other, "pool")["refilled_to"] > step(alone, "pool")["refilled_to"]
    never = {line.replace("he saw", "saw") for line in lines_of(held_out, "validation")}
    assert never.isdisjoint(lines_of(other, "train"))


def test_training_documents_that_are_held_out_are_warned_of(treebank: Path, caplog: pytest.LogCaptureFixture):
    (treebank / "b.conllu").write_text((treebank / "a.conllu").read_text() + sentence("more"))
    validation = Validation(sources=[Conllu(path="b.conllu")])

    with caplog.at_level(logging.WARNING):
        prepared(treebank, IDENTITY, exposure=POOL, validation=validation)

    assert "of its training documents are held out, too" in caplog.text


def test_a_pool_that_is_too_small_is_refused(treebank: Path):
    with pytest.raises(
        DataError, match=r"pool of \d+ documents is used up at \d+ of \d+ words. Raise corpus.exp"
    ):
        prepared(treebank, PRONOUNS, exposure=Exposure(match="words", pool=0.02))


def test_interventions_that_add_words_cannot_be_matched(treebank: Path):
    add = part("replace_words", words={"saw": "caught sight of"})

    with pytest.raises(
        DataError, match=r"add to the text \(\d+ words, \d+ before\).*Set corpus.exposure.match to"
    ):
        prepared(treebank, add, exposure=POOL)


def test_the_plan_of_a_refill_is_read_from_the_cache(treebank: Path, monkeypatch: pytest.MonkeyPatch):
    first = prepared(treebank, PRONOUNS, exposure=POOL)
    monkeypatch.setattr("model_foundry.corpus.conditions.refilled", lambda *_: pytest.fail("planned again"))

    assert prepared(treebank, PRONOUNS, exposure=POOL) == first


def test_plain_text_takes_interventions_that_need_no_parse(treebank: Path):
    (treebank / "a.txt").write_text("The dog barks.\nA cat sleeps, too.\n")

    [source] = prepared(
        treebank,
        part("reverse"),
        source=TextFiles(path="a.txt", document="line"),
        validation=Validation(fraction=0),
    ).sources

    assert lines_of(source, "train") == ["Barks dog The.", "Too sleeps cat, A."]


class Guess(Parser):
    """Calls every word that begins with h a subject pronoun; counts how often it is asked."""

    fails: bool = False

    def identity(self) -> dict[str, str]:
        return {"version": "1"}

    def parse(self, texts: Iterable[str]) -> Iterator[Document]:
        from dataclasses import replace

        for text in texts:
            ASKED.append(text)
            plain = plain_document(text + "!" * self.fails)
            sentences = tuple(
                replace(
                    found,
                    tokens=tuple(
                        replace(word, upos="PRON", deprel="nsubj") if word.form.startswith("h") else word
                        for word in found.tokens
                    ),
                )
                for found in plain.sentences
            )
            yield Document(plain.text, sentences)


ASKED: list[str] = []


def test_plain_text_is_parsed_once_and_the_parse_is_kept(treebank: Path):
    (treebank / "a.txt").write_text("So he left.\nNo, he stayed\u2026 \u00e9!\n")
    source = TextFiles(path="a.txt", document="line")
    ASKED.clear()

    conditions = [
        prepared(treebank, *stack, source=source, parser=Guess(), validation=Validation(fraction=0))
        for stack in ([IDENTITY], [PRONOUNS], [PRONOUNS, part("reverse")])
    ]

    assert len(ASKED) == 2
    texts = [lines_of(corpus.sources[0], "train") for corpus in conditions]
    assert texts[0] == ["So he left.", "No, he stayed\u2026 \u00e9!"]
    assert texts[1] == ["So left.", "No, stayed\u2026 \u00e9!"]
    assert conditions[0].sources[0].manifest["source"]["parser"]["version"] == "1"


def test_a_parser_that_changes_the_text_is_refused(treebank: Path):
    (treebank / "a.txt").write_text("So he left.")

    with pytest.raises(
        DataError, match=r"gives the document 'So he left.' back as 'So he left.!', expected its"
    ):
        prepared(treebank, PRONOUNS, source=TextFiles(path="a.txt"), parser=Guess(fails=True))


def test_word_matched_treebank_is_within_a_document_of_its_target(test_data: Path, tmp_path: Path):
    (tmp_path / "a.conllu").symlink_to(ewt(test_data, "dev"))
    exposure = Exposure(match="words", pool=0.3)

    [baseline] = prepared(tmp_path, IDENTITY, exposure=exposure).sources
    [edited] = prepared(tmp_path, PRONOUNS, exposure=exposure).sources

    target = baseline.manifest["splits"]["train"]["words"]
    found = edited.manifest["splits"]["train"]["words"]
    sizes = np.load(edited.folder / "train" / "document_words.npy")
    assert step(edited, "pool")["target"] == target
    assert target <= found < target + int(sizes.max())
    assert baseline.manifest["splits"]["validation"] == edited.manifest["splits"]["validation"]


def test_conditions_are_the_same_for_every_number_of_processes(treebank: Path):
    text = (treebank / "a.conllu").read_text().split("# newdoc\n")[1:]
    for number in range(4):
        part_of_it = "".join(f"# newdoc\n{document}" for document in text[20 * number : 20 * number + 20])
        (treebank / f"b{number}.conllu").write_text(part_of_it)
    condition = Condition([PRONOUNS, part("shuffle_words", intensity=0.5)], POOL, None, False, 1)

    one, two = (
        prepare_corpus(
            sources=[Conllu(path="b*.conllu")],
            validation=Validation(fraction=0.1),
            tokenizer=Byte(),
            seed=1,
            folders=[treebank],
            cache=treebank / f"cache-{workers}",
            condition=condition,
            workers=workers,
            section_bytes=1000,
        ).sources[0]
        for workers in (1, 2)
    )

    assert one.manifest["digest"] == two.manifest["digest"]
    assert step(one, "pool")["refilled"] > 0


def test_what_did_not_decode_is_counted_when_the_parse_comes_from_the_cache_too(treebank: Path):
    (treebank / "a.txt").write_bytes(b"he saw \xff it\n")
    source = TextFiles(path="a.txt", errors="replace")
    manifests = [
        prepared(treebank, part(name), source=source, parser=Guess(), validation=Validation(fraction=0))
        .sources[0]
        .manifest
        for name in ("identity", "reverse")
    ]

    assert [manifest["dropped"]["undecodable_bytes"] for manifest in manifests] == [1, 1]
    assert [manifest["dropped"]["replacement_characters"] for manifest in manifests] == [1, 1]
