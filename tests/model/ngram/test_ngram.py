from __future__ import annotations

import json
import math
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from model_foundry.errors import CheckpointError
from model_foundry.model.ngram.counting import Counts, count_ngrams
from model_foundry.model.ngram.folder import load_ngram, save_ngram, smooth
from model_foundry.model.ngram.held_out import measure_held_out
from model_foundry.model.ngram.model import NgramModel
from model_foundry.model.ngram.smoothing import FALLBACK_DISCOUNTS, Smoothing, discounts_of

A, B, C, END = 0, 1, 2, 3
SMOOTHINGS: tuple[Smoothing, ...] = ("witten_bell", "modified_kneser_ney")
BY_HAND = [A, B, A, C, A, B, END]


@dataclass
class Stream:
    """Tokens of one byte each, but the ends of documents."""

    ids: list[int]
    end: int = END

    def __len__(self) -> int:
        return len(self.ids)

    def tokens(self, start: int, stop: int) -> np.ndarray:
        return np.array(self.ids[start:stop], dtype=np.int64)

    def bytes(self, start: int, stop: int) -> int:
        return sum(id_ != self.end for id_ in self.ids[start:stop])

    @property
    def document_offsets(self) -> np.ndarray:
        ends = {at + 1 for at, id_ in enumerate(self.ids) if id_ == self.end}
        return np.array(sorted({0, len(self.ids), *ends}))


def counted(*streams: list[int], order: int, size: int = 4, end: int = END) -> Counts:
    return count_ngrams([Stream(ids, end) for ids in streams], order=order, vocabulary_size=size, eos_id=end)


def invented(size: int, *, documents: int, seed: int) -> list[int]:
    """Documents in which the next token often follows from the last ones, ended by the last id."""
    draw = random.Random(seed)
    ids: list[int] = []
    for _ in range(documents):
        state = draw.randrange(size - 1)
        for _ in range(draw.randrange(1, 40)):
            ids.append(state)
            state = (state * 3 + 1) % (size - 1) if draw.random() < 0.6 else draw.randrange(size - 1)
        ids.append(size - 1)
    return ids


class Plain:
    """The same models from the formulas alone: counts in dictionaries, one recursion a probability."""

    def __init__(self, smoothing: Smoothing, ids: list[int], *, order: int, size: int, end: int) -> None:
        self.smoothing, self.size = smoothing, size
        raw: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
        before: list[dict[tuple[int, ...], set[int]]] = [defaultdict(set) for _ in range(order + 1)]
        history: list[int] = [end]
        for token in ids:
            for length in range(1, order + 1):
                if length - 1 <= len(history):
                    gram = (*history[len(history) - length + 1 :], token)
                    raw[length][gram] += 1
                    before[length - 1][gram[1:]].add(gram[0])
            history = [end] if token == end else [*history, token]
        self.counts = raw
        if smoothing == "modified_kneser_ney":
            for length in range(1, order):
                self.counts[length] = Counter(
                    {
                        gram: count if length > 1 and gram[0] == end else len(before[length][gram])
                        for gram, count in raw[length].items()
                    }
                )
        self.discounts = [self._discounts(counts) for counts in self.counts]
        self.after: dict[tuple[int, ...], list[tuple[int, ...]]] = defaultdict(list)
        for counts in self.counts:
            for gram in counts:
                self.after[gram[:-1]].append(gram)

    def _discounts(self, counts: Counter[tuple[int, ...]]) -> tuple[float, ...]:
        if self.smoothing == "witten_bell":
            return (0, 0, 0, 0)
        n = Counter(counts.values())
        if not (n[1] and n[2] and n[3]):
            return FALLBACK_DISCOUNTS
        y = n[1] / (n[1] + 2 * n[2])
        found = tuple(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
        return (0, *found) if all(0 <= d <= k for k, d in enumerate(found, 1)) else FALLBACK_DISCOUNTS

    def probability(self, context: tuple[int, ...], token: int) -> float:
        length = len(context) + 1
        shorter = self.probability(context[1:], token) if context else 1 / self.size
        if length >= len(self.counts) or not self.after[context]:
            return shorter
        counts, discounts = self.counts[length], self.discounts[length]
        total = sum(counts[gram] for gram in self.after[context])
        count = counts[(*context, token)]
        if self.smoothing == "witten_bell":
            types = len(self.after[context])
            return (count + types * shorter) / (total + types)
        left = sum(discounts[min(counts[gram], 3)] for gram in self.after[context])
        return (count - discounts[min(count, 3)] + left * shorter) / total


def test_witten_bell_by_hand():
    # Seen 7 times, 4 of them different: a 3, b 2, c 1, end 1. After a: b 2, c 1. After ba: c 1.
    counts = counted(BY_HAND, order=3)

    chances = [
        smooth(counts, order=order, smoothing="witten_bell").distribution([B, A]) for order in (1, 2, 3)
    ]

    unigram = (2 + 4 / 4) / (7 + 4)
    bigram = (2 + 2 * unigram) / (3 + 2)
    assert chances[0][B] == pytest.approx(3 / 11, rel=1e-15)
    assert chances[1][B] == pytest.approx(bigram, rel=1e-15)
    assert bigram == pytest.approx(28 / 55)
    assert chances[2][B] == pytest.approx((0 + 1 * bigram) / (1 + 1), rel=1e-15)


def test_modified_kneser_ney_by_hand():
    # Before a stood end, b and c; before b, c and end one token each. No count is seen 3 times among so few,
    # so the discounts are 0.5, 1 and 1.5. Bigrams after a: b twice, c once.
    counts = counted(BY_HAND, order=2)

    model = smooth(counts, order=2, smoothing="modified_kneser_ney")

    unigram = (1 - 0.5 + (1.5 + 3 * 0.5) / 4) / 6
    assert unigram == pytest.approx(5 / 24)
    assert model.distribution([])[B] == pytest.approx(5 / 24, rel=1e-15)
    assert model.distribution([A])[B] == pytest.approx((2 - 1 + (1 + 0.5) * 5 / 24) / 3, rel=1e-15)
    assert not model.tables[1].has_estimated_discounts


def test_discounts_are_chen_and_goodmans():
    counts = np.repeat([1, 2, 3, 4, 9], [4, 2, 1, 1, 5])  # n1 = 4, n2 = 2, n3 = 1, n4 = 1, so Y is 1/2

    assert discounts_of("modified_kneser_ney", counts) == ((0.0, 0.5, 1.25, 1.0), True)


@pytest.mark.parametrize("times", [[1, 2, 3, 3, 4, 4, 4, 4, 4, 4, 4], [5, 6]])
def test_discounts_that_cannot_be_estimated_are_fixed_and_said_to_be(times):
    assert discounts_of("modified_kneser_ney", np.array(times)) == (FALLBACK_DISCOUNTS, False)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_scores_are_those_of_the_formulas(smoothing, order):
    size, end = 12, 11
    ids = invented(size, documents=60, seed=order)
    model = smooth(counted(ids, order=5, size=size, end=end), order=order, smoothing=smoothing)
    plain = Plain(smoothing, ids, order=order, size=size, end=end)
    draw = random.Random(0)
    sequences = [[draw.randrange(size) for _ in range(draw.randrange(8))] for _ in range(40)]
    sequences += [ids[at : at + 9] for at in range(0, 90, 9)]

    scored = model.score(sequences, first=end)

    for sequence, found in zip(sequences, scored, strict=True):
        row = [end, *sequence]
        expected = [
            math.log(plain.probability(tuple(row[max(0, at - order + 1) : at]), row[at]))
            for at in range(1, len(row))
        ]
        assert found.log_probabilities_T == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [1, 2, 4, 5])
def test_probabilities_sum_to_one_after_any_context_and_are_those_of_the_scores(smoothing, order):
    size = 12
    ids = invented(size, documents=50, seed=1)
    model = smooth(counted(ids, order=order, size=size, end=11), order=order, smoothing=smoothing)
    draw = random.Random(2)
    contexts = [ids[at : at + draw.randrange(7)] for at in draw.sample(range(len(ids)), 40)]
    contexts += [[draw.randrange(size) for _ in range(draw.randrange(7))] for _ in range(40)]

    for context in contexts:
        chances_V = model.distribution(context)
        assert chances_V.sum() == pytest.approx(1, abs=1e-12)
        scored = model.score([[*context, token] for token in range(size)], first=11)
        assert [item.log_probabilities_T[-1] for item in scored] == pytest.approx(
            np.log(model.distribution([11, *context])), abs=1e-12
        )


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_masses_are_sums_of_the_distribution(smoothing):
    size = 12
    ids = invented(size, documents=50, seed=3)
    model = smooth(counted(ids, order=4, size=size, end=11), order=4, smoothing=smoothing)
    asked = np.zeros(size, dtype=np.bool_)
    asked[[0, 4, 5, 11]] = True
    sequences = [ids[:9], [], [3], ids[20:24]]

    for sequence, found in zip(sequences, model.score(sequences, first=11, mass_of_V=asked), strict=True):
        expected = [
            math.log(model.distribution([11, *sequence[:at]])[asked].sum()) for at in range(len(sequence) + 1)
        ]
        assert found.log_masses == pytest.approx(expected, abs=1e-12)


def test_nothing_before_a_sequence_leaves_its_first_token_unscored():
    model = smooth(counted(BY_HAND, order=3), order=3, smoothing="witten_bell")

    scored, empty = model.score([[B, A, C], []], first=None, mass_of_V=np.array([True, False, False, True]))

    assert math.isnan(scored.log_probabilities_T[0])
    assert math.exp(scored.log_probabilities_T[1]) == pytest.approx(model.distribution([B])[A])
    assert math.exp(scored.log_probabilities_T[2]) == pytest.approx(model.distribution([B, A])[C])
    assert math.isnan(scored.log_masses[0])
    assert math.exp(scored.log_masses[3]) == pytest.approx(model.distribution([B, A, C])[[A, END]].sum())
    assert len(empty.log_probabilities_T) == 0
    assert len(empty.log_masses) == 1


def test_no_context_reaches_into_the_document_before():
    apart = counted([A, B, END, C, A, END], order=3)
    swapped = counted([C, A, END, A, B, END], order=3)

    assert [keys.tolist() for keys in apart.keys] == [keys.tolist() for keys in swapped.keys]
    assert [counts.tolist() for counts in apart.counts] == [counts.tolist() for counts in swapped.counts]
    assert apart.counts[1].tolist() == counted([A, B, END], [C, A, END], order=3).counts[1].tolist()
    # (END, A) and (END, C) stand for the beginnings; nothing else contains an end before its last token.
    assert sum(key // 4 == END for key in apart.keys[1].tolist()) == 2


@pytest.mark.parametrize("documents", ["concatenate", "isolate"])
def test_held_out_loss_counts_the_targets_and_bytes_of_the_run(documents):
    model = smooth(counted(BY_HAND, order=2), order=2, smoothing="witten_bell")
    streams = {"one": Stream([A, B, END, C, A]), "two": Stream([B, B])}

    found = measure_held_out(model, streams, eos_id=END, documents=documents)

    def nats(context: int, token: int) -> float:
        return -math.log(model.distribution([context])[token])

    text = [nats(A, B), nats(C, A)] + ([nats(END, C)] if documents == "concatenate" else [])
    one = [*text, nats(B, END)]
    assert found["one/loss"] == pytest.approx(sum(one) / len(one))
    assert found["one/bits_per_byte"] == pytest.approx(sum(text) / len(text) / math.log(2))
    assert found["loss"] == pytest.approx((sum(one) + nats(B, B)) / (len(one) + 1))
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))


def test_held_out_text_in_pieces_is_measured_as_in_one(monkeypatch):
    ids = invented(12, documents=30, seed=5)
    model = smooth(counted(ids, order=4, size=12, end=11), order=4, smoothing="witten_bell")
    streams = {"one": Stream(invented(12, documents=9, seed=6), end=11)}
    whole = measure_held_out(model, streams, eos_id=11)

    monkeypatch.setattr("model_foundry.model.ngram.held_out._TOKENS_AT_ONCE", 7)

    assert measure_held_out(model, streams, eos_id=11) == pytest.approx(whole, rel=1e-12)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_a_saved_model_scores_as_the_one_in_memory(tmp_path, tokenizer, smoothing):
    ids = invented(12, documents=30, seed=7)
    counts = counted(ids, order=3, size=12, end=11)
    model = smooth(counts, order=3, smoothing=smoothing)

    for _ in range(2):  # the second replaces the first
        save_ngram(counts, tmp_path / "a" / "model", smoothing=smoothing, tokenizer=tokenizer, facts={"x": 1})
    loaded = load_ngram(tmp_path / "a" / "model")

    ours, theirs = model.score([ids[:50]], first=11)[0], loaded.score([ids[:50]], first=11)[0]
    assert isinstance(loaded, NgramModel)
    assert ours.log_probabilities_T.tolist() == theirs.log_probabilities_T.tolist()
    assert sorted(path.name for path in (tmp_path / "a").rglob("*")) == [
        "model", "ngram.json", "ngram.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


def test_folders_that_hold_no_model_say_so(tmp_path, tokenizer):
    with pytest.raises(CheckpointError, match=r"no ngram\.json there.*model-foundry ngram RUN"):
        load_ngram(tmp_path)
    folder = tmp_path / "model"
    save_ngram(counted(BY_HAND, order=2), folder, smoothing="witten_bell", tokenizer=tokenizer, facts={})
    description = json.loads((folder / "ngram.json").read_text())
    arrays = (folder / "ngram.safetensors").read_bytes()

    (folder / "ngram.safetensors").write_bytes(arrays[:-9])
    with pytest.raises(CheckpointError, match=r"cannot be read as an n-gram model: .*Make it again"):
        load_ngram(folder)

    (folder / "ngram.json").write_text(json.dumps({**description, "format": 9}))
    with pytest.raises(CheckpointError, match="it is of format 9, expected 1"):
        load_ngram(folder)
