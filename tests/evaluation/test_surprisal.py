from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import DataError
from model_foundry.evaluation._alignment import align, words_of
from model_foundry.evaluation._stimuli import Region, Stimulus
from model_foundry.evaluation._surprisal import Measured, measure
from model_foundry.evaluation._surprisal_table import table_of
from model_foundry.evaluation.scoring import Scored
from model_foundry.evaluation.scoring.causal import CausalScorer
from model_foundry.tokenizer.byte_bpe import ByteBpe
from model_foundry.tokenizer.character import Character

TEXTS = [
    "The cat saw the cats and the dog saw the dogs.",
    "A cat and a dog saw the other dog, and the café was naïve.",
    "The dogs sat on the mat.\nThe cats sat on the other mat.",
] * 4


@pytest.fixture(scope="module")
def encoder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TextEncoder]:
    def make(tokenizer: ByteBpe | Character) -> TextEncoder:
        folder = tmp_path_factory.mktemp("tokenizer")
        tokenizer.write(folder, iter(TEXTS), [])
        return TextEncoder(folder)

    return make


@pytest.fixture(scope="module")
def encoder(encoder_of) -> TextEncoder:
    return encoder_of(ByteBpe(vocab_size=290))


class Bigrams:
    """A scorer with a table of its own, one row a context token; the last row stands for none."""

    def __init__(self, size: int, positions: int | None = None) -> None:
        draw = np.random.default_rng(5)
        self.chances = draw.dirichlet(np.full(size, 0.5), size=size)
        self.positions = positions
        self.calls: list[list[int]] = []

    def score(
        self,
        sequences: Sequence[Sequence[int]],
        *,
        first: int | None,
        mass_of_V: np.ndarray | None = None,
        words: Sequence[Sequence[int]] | None = None,
    ) -> list[Scored]:
        results = []
        for sequence in sequences:
            self.calls.append(list(sequence))
            row = [first, *sequence]
            scores = [
                math.nan if context is None else math.log(self.chances[context, token])
                for context, token in zip(row, sequence, strict=False)
            ]
            masses = None
            if mass_of_V is not None:
                masses = np.array(
                    [math.nan if c is None else math.log(self.chances[c][mass_of_V].sum()) for c in row]
                )
            results.append(Scored(np.array(scores), masses))
        return results


def sentence(text: str, *regions: Region) -> Stimulus:
    return Stimulus("1", None, text, regions, 1)


def measured(text: str, encoder: TextEncoder, *regions: Region, **options: object) -> Measured:
    scorer = options.pop("scorer", None) or Bigrams(encoder.vocab_size)
    settings = {"first": encoder.eos_id, "is_causal": True, **options}
    return measure([sentence(text, *regions)], scorer, encoder, **settings)


def aligned(text: str, tokens: list[str], *parts: tuple[int, int]) -> tuple[list[int], list[bool]]:
    stops = np.cumsum([len(token) for token in tokens])
    starts = stops - [len(token) for token in tokens]
    units = align(text, starts, stops, *np.array(parts).reshape(-1, 2).T)
    return units.of_token_T.tolist(), units.is_split_U.tolist()


def test_words_are_those_of_split():
    text = "  The cat,\n\tsat\u00a0there. "

    starts, stops = words_of(text)

    assert [text[start:stop] for start, stop in zip(starts, stops, strict=True)] == text.split()


def test_the_space_before_a_word_is_the_words():
    text = "A cat sat"
    words = np.array(words_of(text)).T.tolist()

    assert aligned(text, ["A", " c", "at", " ", "sat"], *words) == ([0, 1, 1, 2, 2], [False] * 3)


def test_space_at_the_end_is_the_last_words():
    assert aligned("ab  ", ["ab", " ", " "], (0, 2)) == ([0, 0, 0], [False])


def test_a_token_of_two_words_counts_for_the_first_and_both_are_marked():
    text = "of the cat"
    words = np.array(words_of(text)).T.tolist()

    assert aligned(text, ["of the", " cat"], *words) == ([0, 2], [True, True, False])


def test_tokens_outside_all_regions_count_for_none():
    assert aligned("ab cd ef", ["ab", " cd", " ef"], (2, 5)) == ([-1, 0, -1], [False])


def test_a_token_across_the_edge_of_a_region_marks_it():
    assert aligned("unhappy", ["unh", "appy"], (0, 2), (2, 7)) == ([0, 1], [True, True])


def test_spans_are_exact_where_a_token_is_part_of_a_character(encoder):
    text = "naïve 🦊 cat"

    [(ids, starts, stops)] = encoder.encode_with_spans([text])

    table = encoder.bytes_per_token
    data, begin = text.encode(), 0
    for number, start, stop in zip(ids.tolist(), starts.tolist(), stops.tolist(), strict=True):
        piece = data[begin : (begin := begin + int(table[number]))]
        assert piece in text[start:stop].encode()
        assert stop - start <= len(piece)
    assert stops[-1] == len(text)


def test_ids_that_begin_with_a_space_are_those_whose_text_does(encoder, encoder_of):
    for one in (encoder, encoder_of(Character())):
        for number in range(one.vocab_size):
            text = one.decode([number])
            assert bool(one.begins_with_space[number]) == text.startswith(" "), text


def test_surprisal_of_words_is_the_sum_of_their_tokens(encoder):
    one = measured("The cat saw the doggerel.", encoder)

    table = table_of(one, "word")

    assert table["word"] == ["The", "cat", "saw", "the", "doggerel."]
    assert sum(table["tokens"]) == len(one.ids_T)
    assert sum(table["surprisal_bits"]) == pytest.approx(one.bits_T.sum(), rel=1e-12)
    row = [encoder.eos_id, *one.ids_T.tolist()]
    chances = Bigrams(encoder.vocab_size).chances
    expected = [-math.log2(chances[a, b]) for a, b in pairwise(row)]
    assert one.bits_T == pytest.approx(expected, rel=1e-12)


def test_the_correction_moves_the_end_of_a_word_to_its_word(encoder):
    """By hand, from the table: p(word) times p(space next | word), over p(space next | before the word)."""
    one = measured("The cat saw.", encoder)
    chances = Bigrams(encoder.vocab_size).chances
    ids, spaced = one.ids_T.tolist(), encoder.begins_with_space
    last_of = [int(np.flatnonzero(one.words.of_token_T == word)[-1]) for word in range(3)]

    table = table_of(one, "word")

    ends = [math.log2(chances[ids[last]][spaced].sum()) for last in last_of]
    plain = table["surprisal_bits"]
    expected = [plain[0] - ends[0], plain[1] - ends[1] + ends[0], plain[2] - ends[2] + ends[1]]
    assert table["corrected_bits"] == pytest.approx(expected, rel=1e-12)


def test_corrected_words_of_one_place_are_a_distribution(encoder):
    """What the correction is for: over all words of one token, and those that go on, p sums to 1."""
    chances = Bigrams(encoder.vocab_size).chances
    spaced, context = encoder.begins_with_space, 5
    words = chances[context][spaced] * chances[spaced][:, spaced].sum(1) / chances[context][spaced].sum()
    longer = chances[context][spaced] * chances[spaced][:, ~spaced].sum(1) / chances[context][spaced].sum()

    assert words.sum() + longer.sum() == pytest.approx(1)


def test_words_of_characters_are_corrected_for_the_space_on_both_sides(encoder_of):
    characters = encoder_of(Character())
    one = measured("The cat sat", characters)
    chances = Bigrams(characters.vocab_size).chances
    before, *cat = [characters.eos_id, *one.ids_T.tolist()][3:8]  # e, and then: space, c, a, t
    spaced = characters.begins_with_space

    table = table_of(one, "word")

    chance = math.prod(chances[a, b] for a, b in pairwise([before, *cat]))
    corrected = chance * chances[cat[-1]][spaced].sum() / chances[before][spaced].sum()
    assert table["word"][1] == "cat"
    assert table["tokens"][1] == 4
    assert table["corrected_bits"][1] == pytest.approx(-math.log2(corrected), rel=1e-12)


def test_regions_add_up_their_tokens_and_empty_ones_have_no_value(encoder):
    text = "The cat saw the dog."
    regions = (Region("subject", 0, 7), Region("gap", 7, 7), Region("rest", 7, len(text)))

    table = table_of(measured(text, encoder, *regions), "region")
    words = table_of(measured(text, encoder, *regions), "word")

    assert table["text"] == ["The cat", "", "saw the dog."]
    assert words["region"] == ["subject", "subject", "rest", "rest", "rest"]
    for column in ("surprisal_bits", "corrected_bits"):
        assert table[column][0] == pytest.approx(sum(words[column][:2]), rel=1e-12)
        assert table[column][1] is None
        assert table[column][2] == pytest.approx(sum(words[column][2:]), rel=1e-12)
    assert table["is_whole"] == [True, True, True]


def test_a_first_token_without_context_leaves_its_word_without_a_value(encoder):
    table = table_of(measured("The cat saw.", encoder, first=None), "word")

    assert table["surprisal_bits"][0] is None
    assert table["corrected_bits"][0] is None
    assert table["surprisal_bits"][1] is not None


@pytest.mark.parametrize("stride", [None, 1, 3, 6])
def test_windows_of_a_long_text_score_every_token_once_with_the_context_they_have(encoder, stride):
    text = " ".join(TEXTS)
    scorer = Bigrams(encoder.vocab_size, positions=9)

    one = measured(text, encoder, scorer=scorer, stride=stride)

    whole = measured(text, encoder)
    assert max(map(len, scorer.calls)) == 8
    assert one.windows_S == [len(scorer.calls)]
    assert len(scorer.calls) > 10
    assert one.bits_T == pytest.approx(whole.bits_T, rel=1e-12)  # a bigram needs no more than one token
    assert one.corrections_T == pytest.approx(whole.corrections_T, rel=1e-12)


def test_windows_of_a_neural_model_give_what_each_window_alone_gives(encoder):
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 12, "vocab_size": encoder.vocab_size}
    model = GPT2LMHeadModel(GPT2Config(**sizes, initializer_range=0.5, bos_token_id=0, eos_token_id=0)).train(
        False
    )
    scorer = CausalScorer(model, torch.device("cpu"))

    one = measured(" ".join(TEXTS[:2]), encoder, scorer=scorer, stride=4)

    ids, known = one.ids_T.tolist(), 11
    for begin in range(4, len(ids), 4):
        window = torch.tensor([ids[begin : begin + 11]])
        with torch.no_grad():
            scores = torch.log_softmax(model(window[:, :-1]).logits[0].double(), -1)
        for token in range(known, begin + window.shape[1]):
            expected = -float(scores[token - begin - 1, ids[token]]) / math.log(2)
            assert one.bits_T[token] == pytest.approx(expected, abs=1e-4)
        known = max(known, begin + window.shape[1])
    assert known == len(ids) > 20


def test_a_stride_that_leaves_no_context_is_refused(encoder):
    with pytest.raises(DataError, match=r"stride 8: windows hold 8 tokens here\. Name one of at most 7"):
        measured(TEXTS[0], encoder, scorer=Bigrams(encoder.vocab_size, positions=9), stride=8)


def test_models_that_see_both_sides_get_no_windows_and_no_correction(encoder):
    scorer = Bigrams(encoder.vocab_size, positions=30)

    one = measured("The cat.", encoder, scorer=scorer, is_causal=False)

    assert table_of(one, "word")["corrected_bits"] == [None, None]
    with pytest.raises(DataError, match=r"line 1: the sentence has \d+ tokens, and the model takes 28"):
        measured(TEXTS[1] + TEXTS[1], encoder, scorer=scorer, is_causal=False)


def test_tokens_are_placed_in_words_and_regions(encoder):
    text = "The cat saw."

    table = table_of(measured(text, encoder, Region("verb", 7, 12)), "token")

    assert "".join(table["token"]) == text
    assert table["word_number"] == sorted(table["word_number"])
    assert {(word, region) for word, region in zip(table["word_number"], table["region"], strict=True)} == {
        (1, None),
        (2, None),
        (3, "verb"),
    }
    assert [text[start:stop] for start, stop in zip(table["start"], table["stop"], strict=True)] == table[
        "token"
    ]


def test_other_columns_of_the_file_are_kept_apart(encoder):
    stimulus = Stimulus("7", "x", "The cat.", (), 2, (("word", "noun"), ("list", "A")))
    one = measure([stimulus], Bigrams(encoder.vocab_size), encoder, first=encoder.eos_id, is_causal=True)

    table = table_of(one, "word")

    assert list(table)[:5] == ["item", "condition", "line", "file_word", "file_list"]
    assert table["word"] == ["The", "cat."]
    assert table["file_word"] == ["noun", "noun"]


def test_spaces_are_told_in_sentencepiece_vocabularies(tmp_path: Path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = [
        ("<unk>", 0.0),
        ("</s>", 0.0),
        ("\u2581the", -1.0),
        ("cat", -2.0),
        ("<0x0A>", -3.0),
        ("\u0120x", -4.0),
    ]
    pipeline = Tokenizer(models.Unigram(pieces, unk_id=0))
    pipeline.pre_tokenizer = pre_tokenizers.Metaspace()
    pipeline.decoder = decoders.Metaspace()
    pipeline.add_special_tokens(["</s>"])
    pipeline.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')

    assert TextEncoder(tmp_path).begins_with_space.tolist() == [False, False, True, False, False, False]


def test_sentences_measured_together_have_what_each_has_alone(encoder):
    sentences = [
        Stimulus("1", "a", "The cat saw the dog. ", (Region("np", 0, 5), Region("rest", 5, 21)), 1),
        Stimulus("2", "a", "  A café", (), 2),
        Stimulus("3", "b", "dogs\n sat", (Region("one", 0, 3), Region("two", 3, 9)), 3),
        Stimulus("4", "b", "naïve 🦊.  ", (Region("empty", 0, 0), Region("all", 0, 10)), 4),
    ]
    scorer = Bigrams(encoder.vocab_size)

    together = measure(sentences, scorer, encoder, first=encoder.eos_id, is_causal=True)

    alone = [measure([one], scorer, encoder, first=encoder.eos_id, is_causal=True) for one in sentences]
    for unit in ("token", "word", "region"):
        tables = [table_of(one, unit) for one in alone]
        assert table_of(together, unit) == {
            name: [value for table in tables for value in table[name]] for name in tables[0]
        }
    splits = [split for one in alone for split in one.words.is_split_U.tolist()]
    assert together.words.is_split_U.tolist() == splits
    assert together.regions.is_split_U.tolist()[:2] == [True, True]  # the edge is within " cat"
