from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, normalizers
from transformers import GPT2Config, GPT2LMHeadModel

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import DataError
from model_foundry.evaluation import Evaluator, Outcome, Subject, run_suite
from model_foundry.evaluation.perplexity import Perplexity
from model_foundry.evaluation.text_perplexity import TextPerplexity
from model_foundry.parts import find_part
from model_foundry.tokenizer.byte import Byte

TEXTS = {"a.txt": "Long enough for a few windows.", "b.txt": "Shört."}


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "tokenizer").mkdir()
    Byte().write(tmp_path / "tokenizer", iter(()), [])
    encoder = TextEncoder(tmp_path / "tokenizer")
    torch.manual_seed(0)
    sizes = {"n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 8, "vocab_size": encoder.vocab_size}
    model = GPT2LMHeadModel(GPT2Config(**sizes, initializer_range=0.5)).train(False)
    return Subject(model, torch.device("cpu"), encoder, {}, context=8)


def measure(subject: Subject, folder: Path, **settings: object) -> Outcome:
    return run_suite(TextPerplexity(path="*.txt", **settings).open(subject, [folder]), subject)


def by_hand(subject: Subject, text: str, stride: int) -> float:
    """Nats of a text, one forward pass a token: it sees the rest of the window that brings it in."""
    ids, nats = [subject.encoder.eos_id, *subject.encoder.encode_batch([text])[0].tolist()], 0.0
    for place in range(1, len(ids)):
        if place <= 8:
            begin = 0
        else:
            end = min(8 + stride * -(-(place - 8) // stride), len(ids) - 1)
            begin = end - 7
        with torch.no_grad():
            logits = subject.model(torch.tensor([ids[begin:place]])).logits[0, -1]
        nats -= float(logits.double().log_softmax(-1)[ids[place]])
    return nats


@pytest.mark.parametrize("stride", [1, 3, 4, 7])
def test_every_token_is_scored_once_after_the_context_that_the_stride_leaves(subject, tmp_path, stride):
    found = measure(subject, tmp_path, stride=stride)

    nats = [by_hand(subject, text, stride) for text in TEXTS.values()]
    assert found.items["nats"] == pytest.approx(nats, abs=1e-4)
    assert found.items["targets"] == [30, 7]
    assert found.items["words"] == [6, 1]
    values = {one.key: one.value for one in found.measures}
    assert values["loss"] == pytest.approx(sum(nats) / 37, abs=1e-5)
    assert values["word_perplexity"] == pytest.approx(math.exp(sum(nats) / 7), rel=1e-4)
    assert values["bits_per_byte"] == pytest.approx(sum(nats) / math.log(2) / 37, abs=1e-5)
    assert values["b.txt/loss"] == pytest.approx(nats[1] / 7, abs=1e-5)
    assert found.facts["stride"] == stride
    assert found.facts["normalisation"] == "lossless"


def test_lines_may_be_documents_and_no_context_leaves_first_tokens_out(subject, tmp_path):
    (tmp_path / "b.txt").write_text("ab\n\nüc\n", encoding="utf-8")

    found = measure(subject, tmp_path, document="line", begin="none")

    assert found.items["document"] == [0, 0, 2]
    assert found.items["targets"] == [29, 1, 2]
    assert found.items["bytes"][1] == 1


def test_a_tokenizer_that_changes_the_text_is_called_lossy(subject, tmp_path):
    path = tmp_path / "tokenizer" / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save(str(path))

    changed = Subject(subject.model, subject.device, TextEncoder(tmp_path / "tokenizer"), {}, context=8)

    assert measure(changed, tmp_path).facts["normalisation"] == "lossy"
    assert changed.encoder.normalisation == "lossy"
    assert subject.encoder.normalisation == "lossless"


def test_a_stride_without_context_another_encoding_and_no_text_are_refused(subject, tmp_path):
    with pytest.raises(
        DataError, match=r"a stride of 8 leaves no context in windows of 8 tokens\. Lower it to 7"
    ):
        measure(subject, tmp_path, stride=8)
    (tmp_path / "b.txt").write_bytes("x\nä".encode("latin-1"))
    with pytest.raises(DataError, match=r"b.txt:2: not UTF-8"):
        measure(subject, tmp_path)
    for name in TEXTS:
        (tmp_path / name).write_text(" \n")
    with pytest.raises(DataError, match="there is no text in it"):
        measure(subject, tmp_path)


def test_perplexity_with_files_means_their_text():
    found = find_part(Evaluator, "perplexity").from_argument("x/*.txt")

    assert type(found) is TextPerplexity
    assert found.path == "x/*.txt"
    assert Perplexity().needs_held_out
