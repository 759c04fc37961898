from __future__ import annotations

from pathlib import Path

import conllu as peer
import pytest

from model_foundry.corpus.parsed import Document
from model_foundry.corpus.parsed.conllu import read_conllu
from model_foundry.corpus.source.conllu import Conllu
from model_foundry.errors import DataError
from tests.corpus.treebank import ewt, ewt_documents, sentence

TWO_DOCUMENTS = (
    sentence("He|he|PRON|nsubj", "left|leave|VERB|root_", ".", comments="# newdoc id = a\n# text = He left.")
    + sentence("She", "stayed_", ".", comments="# text = She stayed.")
    + sentence("Then_", ".", comments="# newpar")
    + sentence("More_", "!", comments="# newdoc")
)


def read(text: str, boundary: str = "newdoc") -> list[Document]:
    return list(read_conllu(text.splitlines(), "here.conllu", boundary))


@pytest.mark.parametrize(
    ("boundary", "texts"),
    [
        ("newdoc", ["He left. She stayed.\nThen.", "More!"]),
        ("newpar", ["He left. She stayed.", "Then.", "More!"]),
        ("sentence", ["He left.", "She stayed.", "Then.", "More!"]),
    ],
)
def test_sentences_are_separated_by_a_space_and_paragraphs_by_a_line_break(boundary: str, texts: list[str]):
    assert [document.text for document in read(TWO_DOCUMENTS, boundary)] == texts


def test_every_word_has_its_columns_and_its_place():
    [document, _] = read(TWO_DOCUMENTS)

    word = document.sentences[0].tokens[1]

    assert (word.form, word.lemma, word.upos, word.head, word.deprel) == ("left", "leave", "VERB", 1, "root")
    assert document.text[word.start : word.end] == "left"
    last = document.sentences[2].tokens[0]
    assert document.text[last.start : last.end] == "Then"


def test_white_space_within_a_sentence_is_that_of_its_text():
    [document] = read(sentence("a", "b_", ".", comments="# text = a\u00a0 b."))

    assert document.text == "a\u00a0 b."


def test_words_that_spell_their_multiword_token_have_places_of_their_own():
    [document] = read(sentence("I", "2-3 Don't", "Do|do", "n't|not", "know"))

    [found] = document.sentences

    assert document.text == "I Don't know"
    assert found.multiword == (range(1, 3),)
    assert [document.text[token.start : token.end] for token in found.tokens] == ["I", "Do", "n't", "know"]
    assert found.units == (range(0, 1), range(1, 3), range(3, 4))


def test_words_that_do_not_spell_it_have_the_place_of_the_whole():
    [document] = read(sentence("casa", "2-3 del", "de", "el", "rey"))

    places = [(token.start, token.end) for token in document.sentences[0].tokens]

    assert document.text == "casa del rey"
    assert places == [(0, 4), (5, 8), (5, 8), (9, 12)]


def test_empty_nodes_are_passed_over():
    text = sentence("a", "b").replace("2\tb", "1.1\tgone\t_\t_\t_\t_\t_\t_\t1:dep\t_\n2\tb")

    [document] = read(text)

    assert document.text == "a b"


def test_a_feature_gives_its_values():
    [document] = read(sentence("the|the|DET|det|Definite=Def|PronType=Art,Dem".replace("Def|P", "Def¦P")))
    token = document.sentences[0].tokens[0]

    assert token.feature("Number") == ()
    assert token.feature("Definite") == ("Def¦PronType=Art", "Dem")  # one pair: the bar in it is another sign


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\ta\tb\n", r"here\.conllu:1: has 3 columns between tabs, expected 10.*Repair the line"),
        (sentence("a", "b").replace("2\tb", "3\tb"), r"here\.conllu:2: the word has number '3', expected 2"),
        (
            sentence("a", "b").replace("\t1\t", "\tx\t"),
            r"here\.conllu:2: the head is 'x', expected a number or _",
        ),
        (sentence("1-3 ab", "a", "b"), r"here\.conllu:1: a multiword token names more words than"),
        (sentence("2-3 ab", "a", "b"), r"here\.conllu:1: the multiword token '2-3' stands before word 1"),
        (sentence("a", "c", comments="# text = a b"), r"here\.conllu:3: the word 'c' does not follow.*'b'"),
        (sentence("a", comments="# text = a b"), r"here\.conllu:1: '# text' goes on with 'b'"),
    ],
    ids=["columns", "number", "head", "open group", "early group", "other word", "more text"],
)
def test_a_broken_file_is_refused_with_its_line(text: str, message: str):
    with pytest.raises(DataError, match=message):
        read(text)


def test_the_source_reads_its_texts_from_compressed_files_too(tmp_path: Path):
    import gzip

    (tmp_path / "a.conllu.gz").write_bytes(gzip.compress(TWO_DOCUMENTS.encode()))
    source = Conllu(path="a.conllu.gz", document="sentence")
    [item] = source.inputs([tmp_path])

    assert list(source.documents(item)) == ["He left.", "She stayed.", "Then.", "More!"]
    assert [document.text for document in source.parsed(item)] == list(source.documents(item))


def test_the_words_of_a_treebank_are_those_that_another_reader_finds(test_data: Path):
    sentences = [found for document in ewt_documents(test_data, "dev") for found in document.sentences]
    theirs = peer.parse(ewt(test_data, "dev").read_text(encoding="utf-8"))

    assert len(sentences) == len(theirs) == 2001
    for mine, other in zip(sentences, theirs, strict=True):
        words = [token for token in other if isinstance(token["id"], int)]
        assert [(t.form, t.lemma or "_", t.upos, t.head, t.deprel) for t in mine.tokens] == [
            (t["form"], t["lemma"], t["upos"], t["head"], t["deprel"]) for t in words
        ]


def test_the_sentences_of_a_treebank_are_the_texts_that_it_states(test_data: Path):
    stated = [
        found.metadata["text"] for found in peer.parse(ewt(test_data, "dev").read_text(encoding="utf-8"))
    ]

    assert [document.text for document in ewt_documents(test_data, "dev", "sentence")] == stated
