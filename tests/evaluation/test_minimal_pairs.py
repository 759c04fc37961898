from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import DataError
from model_foundry.evaluation import Outcome, Subject, run_suite
from model_foundry.evaluation._proportions import mean, wilson
from model_foundry.evaluation.minimal_pairs import MinimalPairs
from model_foundry.evaluation.scoring import Scored
from model_foundry.tokenizer.byte import Byte

CPU = torch.device("cpu")


class Stub:
    """Scores each token by a rule of the test's own; fulfils ``Scorer``."""

    positions = None

    def __init__(self, log_p=lambda place, token: -math.log(256)) -> None:
        self.log_p = log_p
        self.seen: list[list[int]] = []

    def score(self, sequences, *, first, mass_of_V=None, words=None):
        self.seen.extend(map(list, sequences))
        return [
            Scored(np.array([self.log_p(place, token) for place, token in enumerate(ids)], dtype=np.float64))
            for ids in sequences
        ]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> TextEncoder:
    folder = tmp_path_factory.mktemp("byte")
    Byte().write(folder, iter(()), [])
    return TextEncoder(folder)


def subject_of(encoder: TextEncoder, model: object, **facts: object) -> Subject:
    return Subject(model, CPU, encoder, {}, context=64, **facts)


def write(folder: Path, *rows: tuple[str, ...], header=("good", "bad")) -> Path:
    path = folder / "pairs.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in (header, *rows)), encoding="utf-8")
    return path


def outcome(path: Path, subject: Subject, **settings: object) -> Outcome:
    return run_suite(MinimalPairs(path=str(path), **settings).open(subject, [path.parent]), subject)


def value(found: Outcome, name: str = "accuracy", level: str = "all", group: str = "") -> float:
    [measure] = [one for one in found.measures if (one.name, one.level, one.group) == (name, level, group)]
    return measure.value


@pytest.mark.parametrize(("ties", "tied"), [("wrong", 0.0), ("half", 0.5), ("right", 1.0)])
def test_blimp_under_a_uniform_model_over_bytes_is_a_matter_of_length_and_ties(
    test_data, encoder, ties, tied
):
    # The score is -ln 256 a byte: the shorter sentence wins, and equal lengths are ties.
    names = [
        "anaphor_gender_agreement",
        "irregular_past_participle_verbs",
        "left_branch_island_echo_question",
    ]
    paths = [f"eval-blimp/data/{name}.jsonl" for name in names]
    subject = subject_of(encoder, Stub())
    settings = MinimalPairs(path=paths, format="blimp", ties=ties, limit=100)

    found = run_suite(settings.open(subject, [test_data]), subject)

    expected, num_tied = {}, 0
    for path in paths:
        records = [json.loads(line) for line in (test_data / path).read_text().splitlines()[:100]]
        sizes = [(len(one["sentence_good"].encode()), len(one["sentence_bad"].encode())) for one in records]
        expected[records[0]["UID"]] = sum(1 if a < b else tied if a == b else 0 for a, b in sizes) / 100
        num_tied += sum(a == b for a, b in sizes)
    assert num_tied > 50
    assert {one.group: one.value for one in found.measures if one.level == "paradigm"} == expected
    assert value(found) == pytest.approx(sum(expected.values()) / 3, abs=1e-15)
    assert found.facts["ties"] == ties
    assert found.facts["tied_items"] == num_tied


def test_equal_bags_of_tokens_tie_exactly_whatever_their_order(tmp_path, encoder):
    rng = np.random.default_rng(0)
    log_p = dict(enumerate(rng.normal(-5, 3, size=300)))
    path = write(tmp_path, ("the quick brown fox", "fox brown quick the"))

    found = outcome(path, subject_of(encoder, Stub(lambda place, token: log_p[token])))

    assert found.facts["tied_items"] == 1


def test_each_normalisation_is_what_arithmetic_says(tmp_path, encoder):
    # Bytes of good: c3 a4 62 (two characters); of bad: 62.
    [a1, a2, b], [b_alone] = encoder.encode_batch(["äb", "b"])
    log_p = {int(a1): -1.0, int(a2): -2.0, int(b): -6.0}
    counts = np.zeros(encoder.vocab_size, dtype=np.int64)
    counts[a1], counts[b] = 9, 4
    subject = subject_of(
        encoder, Stub(lambda place, token: log_p[token]), token_counts=lambda: counts, corpus="x"
    )
    path = write(tmp_path, ("äb", "b"))
    whole = 13 + encoder.vocab_size

    def scores(rule: str) -> tuple[float, float]:
        items = outcome(path, subject, normalise=rule).items
        return items["good"][0], items["bad"][0]

    assert b_alone == b
    assert scores("sum") == (-9.0, -6.0)
    assert scores("mean") == (-3.0, -6.0)
    assert scores("bytes") == (-3.0, -6.0)
    good = (-9.0 - math.log(10 / whole) - math.log(1 / whole) - math.log(5 / whole)) / 3
    assert scores("slor") == (pytest.approx(good, abs=1e-12), pytest.approx(-6.0 - math.log(5 / whole)))


def test_bytes_and_tokens_differ_where_a_token_has_several_bytes(tmp_path, tmp_path_factory):
    from model_foundry.tokenizer.character import Character

    folder = tmp_path_factory.mktemp("character")
    Character().write(folder, iter(["äb"]), [])
    path = write(tmp_path, ("äb", "b"))
    subject = subject_of(TextEncoder(folder), Stub(lambda place, token: -6.0))

    assert outcome(path, subject, normalise="bytes").items["good"] == [-4.0]
    assert outcome(path, subject, normalise="mean").items["good"] == [-6.0]


def test_only_what_follows_the_context_counts_and_spans_narrow_it(tmp_path, encoder):
    header = ("context", "good", "bad", "good_span", "bad_span")
    path = write(tmp_path, ("abc", "de", "fg", "", ""), ("abc", "de", "fg", "1:2", "0:1"), header=header)
    stub = Stub(lambda place, token: -float(place + 1))

    items = outcome(path, subject_of(encoder, stub)).items

    # "abc de": a b c are -1 to -3, the space -4, d -5, e -6.
    assert items["good"] == [-15.0, -6.0]
    assert items["bad"] == [-15.0, -5.0]
    assert [encoder.decode(ids) for ids in stub.seen] == ["abc de", "abc fg"]


def test_the_first_of_several_texts_must_beat_every_other_one(tmp_path, encoder):
    path = tmp_path / "e.jsonl"
    options = [[" a", " bb", " ccc"], [" aaa", " bb", " cccc"], [" aa", " bb", " ccc"]]
    path.write_text("".join(json.dumps({"input_prefix": "x", "options": one}) + "\n" for one in options))

    found = outcome(path, subject_of(encoder, Stub()), format="babylm", ties="half")

    assert found.items["correct"] == [1.0, 0.0, 0.5]


def test_formulas_are_over_surprisals_of_regions_in_bits(tmp_path, encoder):
    regions = {"short": ["a", "bc"], "long": ["a", "bcd"]}
    conditions = [
        {
            "condition_name": name,
            "regions": [{"region_number": n, "content": one} for n, one in enumerate(contents, start=1)],
        }
        for name, contents in regions.items()
    ]
    formulas = ["(2;%short%) < (2;%long%)", "(2;%long%) = 32", "(1;%short%) < (1;%long%)"]
    for chosen, correct in ((formulas[:1], 1.0), (formulas[:2], 1.0), (formulas, 0.5)):
        path = tmp_path / "s.json"
        suite = {
            "meta": {"name": "n", "metric": "sum"},
            "predictions": [{"type": "formula", "formula": one} for one in chosen],
            "items": [{"item_number": 1, "conditions": conditions}],
        }
        path.write_text(json.dumps(suite))

        found = outcome(path, subject_of(encoder, Stub()), format="syntaxgym", ties="half")

        assert found.items["correct"] == [correct]
        assert found.items["tied"] == [correct == 0.5]
    with pytest.raises(DataError, match=r"formulas are over sums, and normalise is mean\. Use sum"):
        outcome(path, subject_of(encoder, Stub()), format="syntaxgym", normalise="mean")


def test_what_cannot_be_scored_is_left_out_and_counted(tmp_path, encoder):
    torch.manual_seed(0)
    config = GPT2Config(n_layer=1, n_embd=8, n_head=2, n_positions=8, vocab_size=encoder.vocab_size)
    model = GPT2LMHeadModel(config).train(False)
    rows = [("12345678", "x"), ("123456789", "x"), ("", "x"), ("x", "  "), ("ab", "ba")]
    path = write(tmp_path, *rows)

    found = outcome(path, subject_of(encoder, model))

    assert found.items["skipped"] == [
        None,
        "longer than the model's positions",
        "empty text",
        "empty text",
        None,
    ]
    assert found.facts["skipped_items"] == {"longer than the model's positions": 1, "empty text": 2}
    assert [one.items for one in found.measures if one.level == "paradigm"] == [2]


def test_items_with_tokens_that_the_tokenizer_does_not_know_are_counted(tmp_path, tmp_path_factory):
    from model_foundry.tokenizer.character import Character

    folder = tmp_path_factory.mktemp("character")
    Character().write(folder, iter(["abc"]), [])
    path = write(tmp_path, ("ab", "cb"), ("\u0436a", "\u0436b"))

    found = outcome(path, subject_of(TextEncoder(folder), Stub()))

    assert found.facts["items_with_unknown_tokens"] == 1


def test_items_of_a_script_that_the_vocabulary_spells_in_bytes_are_counted(tmp_path, encoder):
    path = write(tmp_path, ("ab", "ba"), ("\u0436\u0443\u043a", "\u0436\u0443\u043a\u0438"), ("ab", "\u0436"))

    found = outcome(path, subject_of(encoder, Stub()))

    assert found.items["spelled"] == [False, True, True]
    assert found.facts["items_with_more_tokens_than_characters"] == 2
    assert found.facts["items_with_unknown_tokens"] == 0


def test_slor_without_training_text_says_what_to_do(tmp_path, encoder):
    with pytest.raises(DataError, match=r"this model comes without a run\. Use sum, mean or bytes"):
        outcome(write(tmp_path, ("a", "b")), subject_of(encoder, Stub()), normalise="slor")


def test_groups_are_means_of_their_paradigms_and_all_items_are_told_apart(tmp_path, encoder):
    header = ("good", "bad", "paradigm", "phenomenon")
    rows = [("a", "bb", "p", "x"), ("a", "bb", "p", "x"), ("a", "bb", "p", "x"), ("aa", "b", "q", "x")]
    path = write(tmp_path, *rows, ("a", "bb", "r", "y"), header=header)

    found = outcome(path, subject_of(encoder, Stub()))

    assert value(found, level="phenomenon", group="x") == 0.5
    assert value(found, level="phenomenon", group="y") == 1.0
    assert value(found) == pytest.approx(2 / 3)
    assert value(found, "item_accuracy") == 0.8
    assert {one.key for one in found.measures if one.level == "phenomenon"} == {"x/accuracy", "y/accuracy"}


def test_wilson_limits_are_the_roots_of_the_score_test():
    z = 1.959963984540054
    for correct, items in ((0, 5), (3, 10), (57.5, 100), (10, 10)):
        found = wilson(correct, items)

        for limit in (found.low, found.high):  # where the test statistic is just z
            if 1e-9 < limit < 1 - 1e-9:
                statistic = abs(found.value - limit) / math.sqrt(limit * (1 - limit) / items)
                assert statistic == pytest.approx(z, rel=1e-9)
    assert wilson(81, 263).low == pytest.approx(0.2553, abs=5e-5)  # the example of Newcombe (1998)
    assert wilson(81, 263).high == pytest.approx(0.3662, abs=5e-5)


def test_limits_of_a_mean_combine_those_of_its_parts_by_squares():
    parts = [wilson(8, 10), wilson(3, 10)]

    found = mean(parts)

    assert found.value == pytest.approx(0.55)
    below = math.hypot(0.8 - parts[0].low, 0.3 - parts[1].low) / 2
    assert found.low == pytest.approx(0.55 - below)
    assert mean(parts[:1]).high == pytest.approx(parts[0].high)


def test_batches_of_a_real_model_give_the_scores_of_each_text_alone(tmp_path, encoder):
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=1, n_embd=8, n_head=2, n_positions=64, vocab_size=encoder.vocab_size, initializer_range=0.5
    )
    model = GPT2LMHeadModel(config).train(False)
    path = write(tmp_path, ("a longer one", "x"), ("yes", "no way"))

    items = outcome(path, subject_of(encoder, model)).items

    for name, texts in (("good", ["a longer one", "yes"]), ("bad", ["x", "no way"])):
        for score, text in zip(items[name], texts, strict=True):
            ids = torch.tensor([[encoder.eos_id, *encoder.encode_batch([text])[0].tolist()]])
            with torch.no_grad():
                mean_nats = model(ids, labels=ids).loss
            assert score == pytest.approx(-float(mean_nats) * (ids.shape[1] - 1), abs=1e-4)


def test_what_a_method_needs_of_the_model_is_said(tmp_path, encoder):
    path = write(tmp_path, ("a", "b"))

    with pytest.raises(DataError, match="pll needs a model that sees both sides"):
        outcome(path, subject_of(encoder, Stub()), method="pll")
    with pytest.raises(DataError, match="causal needs a model that sees only what is before"):
        outcome(path, replace(subject_of(encoder, Stub()), direction="bidirectional"), method="causal")
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=300)).train(False)
    with pytest.raises(DataError, match="the tokenizer has no mask token"):
        outcome(path, replace(subject_of(encoder, model), direction="bidirectional"))
    with pytest.raises(DataError, match="begin: bos, and the tokenizer has no BOS token"):
        outcome(path, subject_of(encoder, Stub()), begin="bos")


def test_a_prefix_is_scored_with_a_whole_text_and_moves_spans(encoder, tmp_path):
    subject = subject_of(encoder, Stub(lambda place, token: -float(place * 300 + token)))
    header = ("good", "bad", "good_span", "bad_span")
    plain = write(tmp_path, ("ab", "ba", "", ""), ("ab", "ba", "1:2", "1:2"), header=header)

    found = outcome(plain, subject, prefix="> ").items

    def total(text: str, first: int = 0) -> float:
        ids = encoder.encode_batch([text])[0].tolist()
        return -float(sum(place * 300 + token for place, token in enumerate(ids) if place >= first))

    assert found["good_log_probability"] == [total("> ab"), total("> ab", first=3)]
    assert found["bad_log_probability"] == [total("> ba"), total("> ba", first=3)]
