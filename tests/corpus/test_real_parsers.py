"""spaCy at work: a pipeline that is trained here, on a treebank's sentences, parses text that has no parse.

Nothing is downloaded. In an environment of its own:

    python -m venv parsers && parsers/bin/pip install -e '.[dev,parse]'
    parsers/bin/python -m pytest -m nightly tests/corpus/test_real_parsers.py
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from model_foundry.corpus import Exposure, Validation
from model_foundry.corpus.conditions import Condition
from model_foundry.corpus.editing import revise
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.intervention.identity import Identity
from model_foundry.corpus.intervention.remove_subject_pronouns import RemoveSubjectPronouns
from model_foundry.corpus.parser.spacy import Spacy
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.tokenizer.byte import Byte
from tests.corpus.preparing import documents
from tests.corpus.treebank import ewt

spacy: Any = pytest.importorskip("spacy", reason="spaCy is not installed (extra [parse])")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.nightly,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # of spaCy and what it brings
]

SENTENCES, PASSES = 120, 20


@pytest.fixture(scope="module")
def gold(test_data: Path) -> list[Any]:
    """The first sentences of a treebank as spaCy has them."""
    from spacy.training.converters import conllu_to_docs

    blocks = ewt(test_data, "dev").read_text(encoding="utf-8").split("\n\n")[:SENTENCES]
    return list(conllu_to_docs("\n\n".join(blocks) + "\n\n", n_sents=1, no_print=True))


@pytest.fixture(scope="module")
def pipeline(gold: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline that has learned these sentences: words, tags, features, heads, lemmas."""
    from spacy.training import Example

    spacy.util.fix_random_seed(1)
    language = spacy.blank("en")
    for name in ("morphologizer", "parser", "trainable_lemmatizer"):
        language.add_pipe(name)
    examples = [Example(language.make_doc(sentence.text), sentence) for sentence in gold]
    optimizer = language.initialize(lambda: examples)
    draw = random.Random(1)
    for _ in range(PASSES):
        draw.shuffle(examples)
        for start in range(0, len(examples), 30):
            language.update(examples[start : start + 30], sgd=optimizer)
    folder = tmp_path_factory.mktemp("pipeline") / "tiny"
    language.to_disk(folder)
    return folder


def subjects(words: Any, kind: str, relation: str, place: str) -> set[int]:
    """Return where subject pronouns begin."""
    return {
        getattr(word, place)
        for word in words
        if (getattr(word, kind), getattr(word, relation)) == ("PRON", "nsubj")
    }


def test_a_pipeline_from_a_folder_finds_what_it_has_learned(gold: list[Any], pipeline: Path):
    texts = [sentence.text for sentence in gold]

    parsed = list(Spacy(model=str(pipeline), batch_size=7).parse(texts))

    found = missed = wrong = 0
    for sentence, document in zip(gold, parsed, strict=True):
        words = [word for part in document.sentences for word in part.tokens]
        assert all(document.text[word.start : word.end] == word.form for word in words)
        expected, seen = subjects(sentence, "pos_", "dep_", "idx"), subjects(words, "upos", "deprel", "start")
        found, missed, wrong = (
            found + len(expected & seen),
            missed + len(expected - seen),
            wrong + len(seen - expected),
        )
    print(f"subject pronouns: {found} found, {missed} missed, {wrong} wrong")
    assert found > 0.8 * (found + missed)
    assert wrong < 0.2 * (found + wrong)


def test_text_of_any_shape_comes_back_to_the_byte(gold: list[Any], pipeline: Path):
    words = [sentence.text for sentence in gold[:20]]
    texts = [
        "  ".join(words[:5]),
        "\n\n".join(words[5:12]) + "\n",
        "\t" + words[13],
        "\u00a0" + words[14] + " \u2003x",
    ]

    parsed = list(Spacy(model=str(pipeline)).parse(texts))

    assert [document.text for document in parsed] == texts
    assert [revise(document, [Identity()]).text for document in parsed] == texts


def test_a_corpus_without_a_parse_is_parsed_once_and_changed(
    gold: list[Any], pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a.txt").write_text("".join(sentence.text + "\n" for sentence in gold), encoding="utf-8")
    parser = Spacy(model=str(pipeline))

    def prepared(*interventions: Any) -> Any:
        return prepare_corpus(
            sources=[TextFiles(path="a.txt", document="line")],
            validation=Validation(fraction=0),
            tokenizer=Byte(),
            seed=1,
            folders=[tmp_path],
            cache=tmp_path / "cache",
            condition=Condition(list(interventions), Exposure(), parser, edits_held_out=False, seed=1),
            workers=1,
        )

    changed = prepared(RemoveSubjectPronouns(relations=["nsubj"]))
    monkeypatch.setattr(Spacy, "parse", lambda *_: pytest.fail("parsed again"))
    same = prepared(Identity())

    parsed = [sentence.text for sentence in gold]
    encoder = TextEncoder(same.tokenizer_folder)
    assert documents(same.sources[0], "train", encoder) == parsed
    [step] = changed.sources[0].manifest["steps"]
    assert step["words"]["lost"] > 20
    monkeypatch.undo()
    expected = sum(
        len(
            subjects((word for part in document.sentences for word in part.tokens), "upos", "deprel", "start")
        )
        for document in parser.parse(parsed)
    )
    assert step["counts"]["0/remove_subject_pronouns/candidates"] == expected
