"""Surprisal of tokens and words beside minicons' (Misra 2022)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.evaluation import Subject, run_suite
from model_foundry.evaluation.surprisal import Surprisal
from model_foundry.model.loading import load_model
from model_foundry.tokenizer.byte_bpe import ByteBpe

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

TEXTS = ["The cat saw the cats and the dog saw the dogs.", "A cat and a dog saw the other dog."] * 4
SENTENCES = [
    "The cat saw the other dogs.",
    "A dog and a cat, unlike the others, saw nothing at all",
    "Once upon a time there was a caf\u00e9.",
    "Dogs.",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model with large weights, so that its probabilities are far from even."""
    made = tmp_path / "model"
    made.mkdir()
    ByteBpe(vocab_size=272).write(made, iter(TEXTS), [])
    settings = json.loads((made / "tokenizer_config.json").read_text())
    end = settings["eos_token"]
    settings |= {"bos_token": end, "pad_token": end}
    (made / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 128, "vocab_size": 272}
    config = GPT2Config(**sizes, initializer_range=0.4, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(made)
    return made


def test_tokens_and_words_have_the_surprisal_that_minicons_gives(ask, folder, tmp_path):
    (tmp_path / "sentences.json").write_text(json.dumps(SENTENCES))
    (tmp_path / "sentences.txt").write_text("\n".join(SENTENCES), encoding="utf-8")

    theirs = ask("ask_minicons.py", folder, tmp_path / "sentences.json")

    model = load_model(folder, dtype=torch.float32)
    subject = Subject(model, torch.device("cpu"), TextEncoder(folder), {}, 128)
    words, tokens = (
        run_suite(Surprisal(path="sentences.txt", begin="bos", unit=unit).open(subject, [tmp_path]), subject)
        for unit in ("word", "token")
    )

    flat = [bits for sentence in theirs["tokens"] for _, bits in sentence[1:]]  # the first one is BOS
    assert tokens.items["surprisal_bits"] == pytest.approx(flat, abs=1e-4)
    for name, column in (("plain", "surprisal_bits"), ("corrected", "corrected_bits")):
        flat = [(word, nats / math.log(2)) for sentence in theirs[name] for word, nats in sentence]
        assert words.items["word"] == [word for word, _ in flat]
        assert words.items[column] == pytest.approx([bits for _, bits in flat], abs=1e-4)
