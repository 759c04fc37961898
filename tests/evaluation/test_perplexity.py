from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from model_foundry.corpus import Validation
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.errors import DataError
from model_foundry.evaluation import Subject, _held_out
from model_foundry.evaluation.perplexity import Perplexity
from model_foundry.running.courses import open_held_out
from model_foundry.tokenizer.byte import Byte

SubjectOf = Callable[..., Subject]


class Fixed(torch.nn.Module):
    """A model that expects the same of every next token, whatever came before."""

    def __init__(self, probabilities: dict[int, float], size: int) -> None:
        super().__init__()
        rest = (1 - sum(probabilities.values())) / (size - len(probabilities))
        chances = [probabilities.get(token, rest) for token in range(size)]
        self.logits = torch.tensor(chances, dtype=torch.float64).log().float()

    def forward(
        self, input_ids: torch.Tensor, use_cache: bool, position_ids: torch.Tensor | None = None
    ) -> object:
        logits_BTV = self.logits.expand(*input_ids.shape, -1)
        return type("Output", (), {"logits": logits_BTV})


@pytest.fixture
def subject_of(tmp_path: Path) -> SubjectOf:
    """A function that holds texts out, a list a source, in bytes; the model is to be put in."""

    def make(*sources: list[str], context: int = 16) -> Subject:
        (tmp_path / "train.txt").write_text("anything")
        for number, texts in enumerate(sources):
            for index, text in enumerate(texts):
                (tmp_path / f"{number}-{index}.txt").write_text(text, encoding="utf-8")
        corpus = prepare_corpus(
            sources=[TextFiles(path="train.txt")],
            validation=Validation(
                sources=[TextFiles(path=f"{number}-*.txt") for number in range(len(sources))]
            ),
            tokenizer=Byte(),
            seed=1,
            folders=[tmp_path],
            cache=tmp_path / "cache",
        )
        encoder = TextEncoder(corpus.tokenizer_folder)
        nothing = torch.nn.Identity()
        return Subject(nothing, torch.device("cpu"), encoder, open_held_out(corpus, encoder), context)

    return make


def measure(subject: Subject, model: torch.nn.Module) -> dict[str, float]:
    with torch.no_grad():
        return Perplexity().evaluate(replace(subject, model=model), [])


def test_a_case_that_can_be_done_by_hand(subject_of):
    # a b END b END: the targets are b, END, b, END, with 1, 2, 1 and 2 bits. Of these, two are text: 2 bytes.
    subject = subject_of(["ab", "b"])
    b, end = subject.encoder.encode_batch(["b"])[0][0], subject.encoder.eos_id

    result = measure(subject, Fixed({b: 1 / 2, end: 1 / 4}, subject.encoder.vocab_size))

    assert result == {
        "loss": pytest.approx(6 * math.log(2) / 4, rel=1e-6),
        "perplexity": pytest.approx(2**1.5, rel=1e-6),
        # No word begins in a target, but the second document's b: 2 bits of text for one word.
        "word_perplexity": pytest.approx(4.0, rel=1e-6),
        "bits_per_byte": pytest.approx(1.0, rel=1e-6),
    }


def test_bits_per_byte_counts_bytes_and_not_characters(subject_of):
    subject = subject_of(["aüü"])  # after the a: four bytes

    result = measure(subject, Fixed({}, subject.encoder.vocab_size))

    assert result["bits_per_byte"] == pytest.approx(math.log2(subject.encoder.vocab_size), rel=1e-6)
    assert result["perplexity"] == pytest.approx(subject.encoder.vocab_size, rel=1e-5)


@pytest.mark.parametrize("context", [4, 7, 16, 64])
def test_the_loss_is_that_of_transformers_over_the_same_windows(subject_of, context):
    texts = ["The end of a document is a target.", "So is its beginning.", "x"]
    subject = subject_of(texts, context=context)
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=1,
        n_embd=16,
        n_head=2,
        n_positions=64,
        vocab_size=subject.encoder.vocab_size,
        initializer_range=0.5,
    )
    model = GPT2LMHeadModel(config).train(False)
    ids = [
        id_ for text in texts for id_ in [*subject.encoder.encode_batch([text])[0], subject.encoder.eos_id]
    ]

    result = measure(subject, model)

    nats = targets = 0.0
    for start in range(0, len(ids) - 1, context):
        window = torch.tensor([ids[start : start + context + 1]])
        count = window.shape[1] - 1
        # A window of `context` inputs has a target for each: they are given as they are, not shifted again.
        labels = torch.empty(0)
        with torch.no_grad():
            loss = model(window[:, :-1], labels=labels, shift_labels=window[:, 1:].contiguous()).loss
        nats, targets = nats + loss.item() * count, targets + count
    assert targets == len(ids) - 1
    assert result["loss"] == pytest.approx(nats / targets, rel=1e-6)


def test_a_single_window_has_transformers_own_loss(subject_of):
    subject = subject_of(["One window holds it all."], context=64)
    torch.manual_seed(0)
    size = subject.encoder.vocab_size
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=16, n_head=2, n_positions=64, vocab_size=size))
    model.train(False)
    ids = torch.tensor(
        [[*subject.encoder.encode_batch(["One window holds it all."])[0], subject.encoder.eos_id]]
    )

    result = measure(subject, model)

    assert result["loss"] == pytest.approx(model(ids, labels=ids).loss.item(), rel=1e-6)


def test_sources_are_weighted_by_their_targets_and_told_apart(subject_of):
    subject = subject_of(["aaaaaaa"], ["b"])
    a, end = subject.encoder.encode_batch(["a"])[0][0], subject.encoder.eos_id

    result = measure(subject, Fixed({a: 1 / 2, end: 1 / 4}, subject.encoder.vocab_size))

    first, second = subject.held_out
    assert result[f"{first}/loss"] == pytest.approx((6 * 1 + 2) / 7 * math.log(2), rel=1e-6)
    assert result[f"{second}/loss"] == pytest.approx(2 * math.log(2), rel=1e-6)
    assert f"{second}/bits_per_byte" not in result  # its one target is the end, which stands for no text
    assert result["loss"] == pytest.approx((6 * 1 + 2 + 2) / 8 * math.log(2), rel=1e-6)


def test_processes_share_the_windows_and_tell_the_same(subject_of, monkeypatch):
    subject = subject_of(["A few windows for two processes, an odd number of them."], context=8)
    torch.manual_seed(0)
    size = subject.encoder.vocab_size
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=16, n_head=2, n_positions=8, vocab_size=size)).train(
        False
    )
    shares: list[list[object]] = []

    def keep(mine: list[object]) -> list[object]:
        shares.append(mine)
        return mine

    monkeypatch.setattr(_held_out, "TOKENS_A_BATCH", 8)
    for rank in (0, 1):
        measure(replace(subject, rank=rank, processes=2, gather=keep), model)

    together = measure(replace(subject, gather=lambda _: [*shares[1], *shares[0]]), model)
    assert shares[0]
    assert shares[1]
    assert together == measure(subject, model)


def test_an_endless_loss_is_an_endless_perplexity(subject_of):
    subject = subject_of(["ab"])
    never = Fixed({}, subject.encoder.vocab_size)
    never.logits = torch.full_like(never.logits, 0.0)
    never.logits[subject.encoder.encode_batch(["a"])[0][0]] = 5000.0

    assert measure(subject, never)["perplexity"] == math.inf


def test_it_is_refused_where_nothing_is_held_out(subject_of):
    subject = replace(subject_of(["ab"]), held_out={})

    with pytest.raises(DataError, match=r"nothing is held out\. Set corpus\.validation\.fraction above 0"):
        Perplexity().evaluate(subject, [])


@pytest.mark.parametrize("documents", ["isolate", "pad"])
def test_isolated_documents_are_measured_as_if_each_stood_alone(subject_of, documents):
    texts = ["The end of a document is a target.", "So is its beginning.", "xy"]
    subject = subject_of(texts, context=64)
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=1, n_embd=16, n_head=2, n_positions=64, vocab_size=subject.encoder.vocab_size, use_cache=False
    )
    model = GPT2LMHeadModel(config).train(False)

    result = measure(replace(subject, documents=documents), model)

    nats, targets = 0.0, 0
    for ids in subject.encoder.encode_batch(texts):
        whole = torch.tensor([[*ids.tolist(), subject.encoder.eos_id]])
        with torch.no_grad():
            nats += float(model(whole, labels=whole).loss) * (whole.shape[1] - 1)
        targets += whole.shape[1] - 1
    assert result["loss"] == pytest.approx(nats / targets, rel=1e-5)


@pytest.mark.parametrize("documents", ["isolate", "pad"])
def test_first_tokens_of_isolated_documents_are_in_neither_sum_of_bits_per_byte(subject_of, documents):
    # "a b END" and "c d e END" apart: the text that is a target is b, d and e.
    subject = replace(subject_of(["ab", "cde"]), documents=documents)

    result = measure(subject, Fixed({}, subject.encoder.vocab_size))

    assert result["bits_per_byte"] == pytest.approx(math.log2(subject.encoder.vocab_size), rel=1e-6)
