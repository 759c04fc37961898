"""What holds for every intervention: lots, conflicts, counts, white space and capitals."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_foundry.corpus.editing import Change, revise
from model_foundry.corpus.intervention import Candidate, Edit, Intervention
from model_foundry.corpus.intervention.remove_articles import RemoveArticles
from model_foundry.corpus.intervention.remove_sentences_matching import RemoveSentencesMatching
from model_foundry.corpus.intervention.remove_subject_pronouns import RemoveSubjectPronouns
from model_foundry.corpus.intervention.replace_words import ReplaceWords
from model_foundry.corpus.intervention.reverse import Reverse
from model_foundry.corpus.intervention.shuffle_words import ShuffleWords
from model_foundry.corpus.parsed import Document
from model_foundry.corpus.parsed.plain import plain_document
from tests.corpus.treebank import document, ewt_documents, sentence


class Planned(Intervention):
    """Does to the first sentence what it is told."""

    plan: list[tuple[str, int, str]]
    """Kind, word and text."""

    def candidates(self, document: Document) -> list[Candidate]:  # type: ignore[override]
        return [Candidate(0, token, (Edit(kind, token, text),)) for kind, token, text in self.plan]


def deleted(text: Document, *tokens: int) -> str:
    return revise(text, [Planned(plan=[("delete", token, "") for token in tokens])]).text


@pytest.mark.parametrize(
    ("words", "tokens", "expected"),
    [
        (["said", "he_", "."], [1], "said."),
        (["(_", "he", "said_", ")"], [1], "(said)"),
        (["saw", "(_", "him_", ")"], [2], "saw ()"),
        (["as", "he", "he", "said"], [1, 2], "as said"),
        (["he", "said"], [0], "said"),
        (["said", "he"], [1], "said"),
        (["he"], [0], ""),
        (["well_", "-_", "he", "said"], [2], "well-said"),
        (["he_", ",", "however"], [0], ", however"),
        (["I", "2-3 don't", "do_", "n't", "know"], [1], "I n't know"),
        (["I", "2-3 don't", "do_", "n't", "know"], [2], "I do know"),
        (["I", "2-3 don't", "do_", "n't", "know"], [1, 2], "I know"),
    ],
)
def test_one_of_the_gaps_around_what_goes_stays(words: list[str], tokens: list[int], expected: str):
    assert deleted(document(sentence(*words)), *tokens) == expected


def test_a_gap_that_is_kept_is_kept_as_it_was():
    spaced = document(sentence("a", "b", "c", comments="# text = a\u00a0 b   c"))

    assert deleted(spaced, 1) == "a\u00a0 c"


def test_a_line_break_outlives_the_words_around_it():
    text = plain_document("One.\nTwo. Three.\n\nFour.")

    revision = revise(text, [RemoveSentencesMatching(pattern="T")])

    assert revision.text == "One.\n\nFour."
    assert revise(text, [RemoveSentencesMatching(pattern="Three|Four")]).text == "One.\nTwo."
    assert revise(text, [RemoveSentencesMatching(pattern="One")]).text == "Two. Three.\n\nFour."


def test_the_next_word_gets_the_capital_of_a_first_word_that_goes():
    text = document(sentence('"_', "He|he", "left_", '"'))

    assert deleted(text, 1) == '"Left"'
    assert deleted(document(sentence("he|he", "left")), 0) == "left"


def test_what_is_inserted_is_set_off_by_spaces_and_takes_the_capital():
    text = document(sentence("(_", "He|he", "left_", ")"))

    before = revise(text, [Planned(plan=[("insert_before", 1, "so"), ("insert_after", 2, "at once")])])

    assert before.text == "(So he left at once)"
    assert before.counts[0].words_added == 3
    assert before.counts[0].bytes_added == len("so") + len("at once")


def test_changes_say_what_they_are_about_in_the_text_as_it_was():
    text = document(sentence("He|he|PRON|nsubj", "ate", "the|the|DET|det|PronType=Art", "egg"))

    revision = revise(text, [RemoveArticles(), ReplaceWords(words={"egg": "ham"})])

    assert revision.text == "He ate ham"
    assert revision.changes == [Change(0, "delete", 7, 10, ""), Change(1, "replace", 11, 14, "ham")]
    assert (revision.counts[1].bytes_removed, revision.counts[1].bytes_added) == (3, 3)


def test_a_word_that_anyone_deletes_is_deleted_and_the_first_of_two_replacements_stands():
    text = plain_document("one two three")
    delete = RemoveSentencesMatching(pattern="nothing")
    first, second = (
        ReplaceWords(words={"one": "a", "two": "b"}),
        ReplaceWords(words={"two": "c", "three": "d"}),
    )

    revision = revise(text, [delete, first, second, Planned(plan=[("delete", 0, "")])])

    assert revision.text == "b d"
    assert [counts.overruled for counts in revision.counts] == [0, 1, 1, 0]
    assert [counts.chosen for counts in revision.counts] == [0, 2, 2, 1]


def test_the_first_of_two_orders_stands_and_goes_with_deletions():
    text = plain_document("one two three four")

    revision = revise(text, [Reverse(), ShuffleWords(), Planned(plan=[("delete", 1, "")])])

    assert revision.text == "four three one"
    assert [counts.overruled for counts in revision.counts] == [0, 1, 0]
    assert [counts.sentences_reordered for counts in revision.counts] == [1, 0, 0]


def test_what_is_inserted_goes_with_its_sentence():
    text = plain_document("one two. Three.")
    insert = Planned(plan=[("insert_before", 0, "zero")])

    assert revise(text, [insert, RemoveSentencesMatching(pattern="one")]).text == "Three."


WORDS = st.lists(
    st.sampled_from(["he", "it", "the", "dog", "saw", "Ada", ",", "(", "don't"]), min_size=1, max_size=12
)


@st.composite
def treebanks(draw: st.DrawFn) -> Document:
    sentences = []
    for words in draw(st.lists(WORDS, min_size=1, max_size=4)):
        glued = draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words)))
        kinds = {"he": "PRON|nsubj", "it": "PRON|nsubj:pass", "the": "DET|det|PronType=Art"}
        sentences.append(
            sentence(
                *(
                    f"{word}|{word}|{kinds.get(word, 'NOUN|obj')}{'_' if is_glued else ''}"
                    for word, is_glued in zip(words, glued, strict=True)
                )
            )
        )
    return document(*sentences)


@given(treebanks(), st.integers(0, 3), st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted))
@settings(max_examples=60, deadline=None)
def test_what_is_changed_at_a_low_intensity_is_changed_at_a_higher_one(
    text: Document, seed: int, intensities: list[float]
):
    low, high = (
        {(change.start, change.end) for change in revise(text, [part]).changes}
        for part in (RemoveSubjectPronouns(intensity=share, seed=seed) for share in intensities)
    )

    assert low <= high


@given(treebanks(), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_the_order_of_deletions_makes_no_difference(text: Document, first: float, second: float):
    stack = [
        RemoveSubjectPronouns(intensity=first),
        RemoveArticles(intensity=second),
        RemoveSentencesMatching(pattern="Ada"),
        Reverse(),
    ]

    assert revise(text, stack).text == revise(text, stack[::-1]).text


@given(treebanks())
@settings(max_examples=60, deadline=None)
def test_offsets_point_at_the_words_and_words_that_stay_stay_in_order(text: Document):
    revision = revise(text, [RemoveSubjectPronouns(), RemoveArticles()])

    gone = {text.text[change.start : change.end] for change in revision.changes}
    assert gone <= {"he", "it", "the"}
    rest = "".join(
        text.text[token.start : token.end]
        for found, kept in zip(text.sentences, revision.kept(text), strict=True)
        for token in (found.tokens[at] for at in kept)
    )
    assert "".join(revision.text.split()).lower() == rest.lower()
    assert revision.counts[0].candidates == sum(
        word.form in ("he", "it") for s in text.sentences for word in s.tokens
    )


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_places_in_plain_text_are_those_of_the_words(text: str):
    parsed = plain_document(text)

    words = [token for found in parsed.sentences for token in found.tokens]
    assert all(text[word.start : word.end] == word.form for word in words)
    assert "".join(word.form for word in words) == "".join(text.split())
    assert revise(parsed, [RemoveSubjectPronouns(), Planned(plan=[])]).text == text


def test_plain_text_is_cut_after_marks_and_at_line_breaks():
    parsed = plain_document("Don't go! \u201cWhy?\u201d she asked\nat 3.5 well-known places.")

    assert [parsed.text_of(found) for found in parsed.sentences] == [
        "Don't go!",
        "\u201cWhy?\u201d",
        "she asked",
        "at 3.5 well-known places.",
    ]
    assert [word.form for word in parsed.sentences[0].tokens] == ["Don't", "go", "!"]


def test_a_tenth_of_the_candidates_of_a_treebank_is_a_tenth_and_nested(test_data: Path):
    documents = ewt_documents(test_data, "dev", "sentence")

    def changed(intensity: float) -> set[tuple[int, int]]:
        part = RemoveSubjectPronouns(intensity=intensity, seed=3)
        return {
            (number, change.start)
            for number, found in enumerate(documents)
            for change in revise(found, [part]).changes
        }

    sets = [changed(tenths / 10) for tenths in range(11)]

    assert all(small < large for small, large in pairwise(sets))
    assert not sets[0]
    assert len(sets[10]) == 1300
    assert all(
        abs(len(found) - 130 * tenths) < 60 for tenths, found in enumerate(sets)
    )  # 3.3 standard deviations
