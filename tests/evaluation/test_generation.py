from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from model_foundry.evaluation._generation import continue_ids

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 32, "vocab_size": 50}
    # Large weights and an output layer of its own: else a model like this says one token over and over.
    config = GPT2Config(**sizes, initializer_range=0.9, tie_word_embeddings=False, eos_token_id=None)
    return GPT2LMHeadModel(config).train(False)


class Fixed(torch.nn.Module):
    """A model that gives the next token these chances, whatever came before, and notes what it was shown."""

    def __init__(self, *chances: float) -> None:
        super().__init__()
        self.logits = torch.tensor(chances).log()
        self.seen: list[list[int]] = []

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> object:
        self.seen.append(input_ids[0].tolist())
        return type("Output", (), {"logits": self.logits.expand(*input_ids.shape, -1)})


def draws(model: torch.nn.Module, *, temperature: float, top_p: float, count: int = 4000) -> Counter[int]:
    """How often each token is drawn, in one long text."""
    ids = continue_ids(
        model, [0], tokens=count, context=4, temperature=temperature, top_p=top_p, seed=1, device=CPU
    )
    return Counter(ids)


@pytest.mark.parametrize("prompt", [[1], [3, 1, 4, 1, 5]])
def test_greedy_text_is_that_of_transformers(model, prompt):
    theirs = model.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False, pad_token_id=0)

    ours = continue_ids(model, prompt, tokens=20, context=32, temperature=0, top_p=1.0, seed=1, device=CPU)

    assert len(set(ours)) > 2
    assert ours == theirs[0, len(prompt) :].tolist()


def test_no_ambient_generator_is_touched(model):
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())

    continue_ids(model, [1], tokens=5, context=32, temperature=1.0, top_p=0.9, seed=1, device=CPU)

    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_no_ambient_generator_has_a_say(model):
    texts = []
    for ambient in (1, 2):
        torch.manual_seed(ambient)
        texts.append(
            continue_ids(model, [1], tokens=9, context=32, temperature=1.0, top_p=1.0, seed=3, device=CPU)
        )

    assert texts[0] == texts[1]


def test_seeds_differ(model):
    texts = {
        tuple(
            continue_ids(model, [1], tokens=9, context=32, temperature=1.0, top_p=1.0, seed=seed, device=CPU)
        )
        for seed in range(5)
    }

    assert len(texts) == 5


@pytest.mark.parametrize(
    ("top_p", "expected"),
    [
        (0.4, {1: 1.0}),  # the most probable one holds 0.5 alone
        (0.5, {1: 1.0}),  # and that is all of the share
        (0.6, {1: 0.625, 2: 0.375}),
        (0.85, {1: 0.5 / 0.9, 2: 0.3 / 0.9, 0: 0.1 / 0.9}),
        (1.0, {0: 0.1, 1: 0.5, 2: 0.3, 3: 0.1}),
    ],
)
def test_top_p_keeps_the_smallest_set_that_holds_the_share(top_p, expected):
    counts = draws(Fixed(0.1, 0.5, 0.3, 0.1), temperature=1.0, top_p=top_p)

    assert set(counts) == set(expected)
    for token, share in expected.items():
        # Four standard deviations of a share of 4,000 draws are at most 0.032.
        assert counts[token] / 4000 == pytest.approx(share, abs=0.032)


def test_temperature_sharpens():
    counts = draws(Fixed(0.2, 0.8), temperature=0.5, top_p=1.0)

    assert counts[1] / 4000 == pytest.approx(0.8**2 / (0.8**2 + 0.2**2), abs=0.032)


def test_the_model_is_never_shown_more_than_its_context():
    model = Fixed(0.5, 0.5)

    continue_ids(model, [0] * 6, tokens=3, context=4, temperature=0, top_p=1.0, seed=1, device=CPU)

    assert [len(seen) for seen in model.seen] == [4, 4, 4]


def test_text_ends_where_the_document_does_and_without_its_end():
    model = Fixed(0.1, 0.9)

    ids = continue_ids(
        model, [0], tokens=9, context=4, temperature=0, top_p=1.0, seed=1, device=CPU, stop_id=1
    )

    assert ids == []


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_beyond_the_tokenizer_are_never_written(temperature: float):
    model = Fixed(0.1, 0.2, 0.7)

    ids = continue_ids(
        model, [0], tokens=50, context=4, temperature=temperature, top_p=1.0, seed=1, device=CPU, vocabulary=2
    )

    assert len(ids) == 50
    assert set(ids) <= {0, 1}
