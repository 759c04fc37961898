from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import DataError
from model_foundry.evaluation import Subject, run_suite
from model_foundry.evaluation.surprisal import Surprisal
from model_foundry.model.ngram.counting import count_ngrams
from model_foundry.model.ngram.folder import smooth
from model_foundry.tokenizer.byte_bpe import ByteBpe

TEXTS = ["The cat saw the cats and the dog saw the dogs.", "A cat and a dog saw the other dog."] * 4
TABLE = """\
item,condition,region,text
1,plain,subject,The cat
1,plain,verb,saw the dog.
1,odd,subject,The the
1,odd,verb,saw cat.
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    folder = tmp_path_factory.mktemp("tokenizer")
    ByteBpe(vocab_size=272).write(folder, iter(TEXTS), [])
    return TextEncoder(folder)


@pytest.fixture(scope="module")
def subject(encoder: TextEncoder) -> Subject:
    torch.manual_seed(0)
    sizes = {"n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 40, "vocab_size": encoder.vocab_size}
    config = GPT2Config(**sizes, initializer_range=0.5, bos_token_id=0, eos_token_id=0)
    return Subject(GPT2LMHeadModel(config).train(False), torch.device("cpu"), encoder, {}, 40)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "items.csv").write_text(TABLE)
    return tmp_path


def test_words_have_the_surprisal_that_transformers_gives(subject, table):
    outcome = run_suite(Surprisal(path="items.csv").open(subject, [table]), subject)

    for condition, text in [("plain", "The cat saw the dog."), ("odd", "The the saw cat.")]:
        ids = [subject.encoder.eos_id, *subject.encoder.encode_batch([text])[0].tolist()]
        whole = torch.tensor([ids])
        with torch.no_grad():
            loss = subject.model(whole, labels=whole).loss.item()
        rows = [row for row, name in enumerate(outcome.items["condition"]) if name == condition]
        bits = sum(outcome.items["surprisal_bits"][row] for row in rows)
        assert [outcome.items["word"][row] for row in rows] == text.split()
        assert bits == pytest.approx(loss * (len(ids) - 1) / math.log(2), rel=1e-5)


def test_means_are_by_condition_and_region(subject, table):
    outcome = run_suite(Surprisal(path="items.csv", unit="region").open(subject, [table]), subject)

    bits = outcome.items["surprisal_bits"]
    found = {(one.level, one.group, one.name): one for one in outcome.measures}
    assert outcome.items["region"] == ["subject", "verb"] * 2
    assert found["all", "", "surprisal_bits"].value == pytest.approx(np.mean(bits))
    assert found["condition", "odd", "surprisal_bits"].value == pytest.approx(np.mean(bits[2:]))
    assert found["region", "plain/verb", "surprisal_bits"].value == bits[1]
    spread = 1.96 * np.std(bits, ddof=1) / 2
    assert found["all", "", "surprisal_bits"].high == pytest.approx(np.mean(bits) + spread)
    assert found["all", "", "corrected_bits"].items == 4


def test_what_was_done_is_said(subject, tmp_path):
    (tmp_path / "items.txt").write_text("The cat.\n\n" + " ".join(TEXTS[:4]) + "\n")

    outcome = run_suite(Surprisal(path="items.txt", stride=7, begin="eos").open(subject, [tmp_path]), subject)

    assert outcome.facts["sentences"] == 2
    assert outcome.facts["empty_lines_left_out"] == [2]
    assert outcome.facts["sentences_in_windows"] == 1
    assert outcome.facts["first_id"] == subject.encoder.eos_id
    assert outcome.facts["stride"] == 7
    assert outcome.facts["method"] == "causal"
    assert outcome.facts["vocabulary_size"] == subject.encoder.vocab_size
    assert outcome.facts["items_without_value"] == 0


def test_without_a_beginning_the_first_words_have_no_value_and_are_counted(subject, table):
    outcome = run_suite(Surprisal(path="items.csv", begin="none").open(subject, [table]), subject)

    assert outcome.facts["items_without_value"] == 2
    assert outcome.facts["first_id"] is None


def test_many_sentences_in_parts_are_the_same_as_each_alone(subject, tmp_path):
    lines = [f"The cat saw {number} dogs." for number in range(140)]
    (tmp_path / "many.txt").write_text("\n".join(lines))
    (tmp_path / "last.txt").write_text(lines[-1])

    many = run_suite(Surprisal(path="many.txt").open(subject, [tmp_path]), subject)
    last = run_suite(Surprisal(path="last.txt").open(subject, [tmp_path]), subject)

    assert len(many.items["word"]) == 5 * 140
    assert many.items["surprisal_bits"][-5:] == pytest.approx(last.items["surprisal_bits"], abs=1e-4)


def test_an_ngram_model_is_measured_like_any(subject, table):
    class Stream(list):
        def tokens(self, start: int, stop: int) -> np.ndarray:
            return np.array(self[start:stop])

    encoder = subject.encoder
    stream = Stream(id_ for ids in encoder.encode_batch(TEXTS) for id_ in [*ids.tolist(), encoder.eos_id])
    counts = count_ngrams([stream], order=2, vocabulary_size=encoder.vocab_size, eos_id=encoder.eos_id)
    model = smooth(counts, order=2, smoothing="witten_bell")

    outcome = run_suite(Surprisal(path="items.csv").open(subject, [table]), replace(subject, model=model))

    ids = [encoder.eos_id, *encoder.encode_batch(["The cat saw the dog."])[0].tolist()]
    expected = -sum(math.log2(model.distribution(ids[:at])[ids[at]]) for at in range(1, len(ids)))
    assert sum(outcome.items["surprisal_bits"][:5]) == pytest.approx(expected)


def test_a_masked_model_is_measured_by_pseudo_log_likelihood(subject, table, tmp_path, encoder):
    sizes = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForMaskedLM(BertConfig(vocab_size=encoder.vocab_size, **sizes)).train(False)
    masked = TextEncoder(encoder.folder)
    masked.mask_id = 7

    both = replace(subject, model=model, encoder=masked, direction="bidirectional")
    outcome = run_suite(Surprisal(path="items.csv").open(both, [table]), both)

    assert outcome.facts["method"] == "pll"
    assert outcome.items["corrected_bits"] == [None] * 9
    assert all(one.name == "surprisal_bits" for one in outcome.measures)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "none.csv"}, r"evaluation surprisal: there is no file none\.csv\. Looked for"),
        ({"path": "plain.txt", "unit": "region"}, r"plain\.txt: unit: region, and the file marks none"),
    ],
)
def test_what_cannot_be_measured_is_said(subject, tmp_path, settings, message):
    (tmp_path / "plain.txt").write_text("The cat.\n")

    with pytest.raises(DataError, match=message):
        Surprisal(**settings).open(subject, [tmp_path])


def test_a_stride_that_does_not_fit_is_said_with_the_file(subject, tmp_path):
    (tmp_path / "long.txt").write_text(" ".join(TEXTS[:4]))
    suite = Surprisal(path="long.txt", stride=39).open(subject, [tmp_path])

    with pytest.raises(DataError, match=r"long\.txt: stride 39: windows hold 39 tokens"):
        run_suite(suite, subject)
