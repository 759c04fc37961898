from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    GPT2Config,
    GPT2LMHeadModel,
    ModernBertConfig,
    PreTrainedModel,
    RobertaConfig,
)

from model_foundry.errors import DataError
from model_foundry.evaluation.scoring.masked import MaskedScorer

CPU = torch.device("cpu")
MASK, FIRST, LAST = 39, 38, 37
SEQUENCES = [[5, 6, 7], [], [8], [9, 10, 11, 12, 13, 14, 15], [3, 1, 4, 1]]
WORDS = [[0, 0, 1], [], [0], [0, 1, 1, 1, 2, 3, 3], [0, 1, 1, 2]]
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 40,
    "max_position_embeddings": 16,
    "initializer_range": 0.5,
}
CONFIGS = {
    "bert": BertConfig(**SMALL),
    "roberta": RobertaConfig(**{**SMALL, "max_position_embeddings": 18}, pad_token_id=1),
    "modernbert": ModernBertConfig(
        **SMALL, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2
    ),
}


def build(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(CONFIGS[name]).train(False)


def by_hand(model: PreTrainedModel, sequence: list[int], words: list[int] | None) -> list[float]:
    """Each token's log-probability with it (and the rest of its word) hidden, one forward pass a token."""
    scores = []
    for token, target in enumerate(sequence):
        hidden = [
            MASK if place == token or (words and place > token and words[place] == words[token]) else id_
            for place, id_ in enumerate(sequence)
        ]
        with torch.no_grad():
            logits = model(torch.tensor([[FIRST, *hidden, LAST]])).logits[0, token + 1]
        scores.append(float(logits.double().log_softmax(-1)[target]))
    return scores


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("tokens_per_batch", [1, 30, 8192])
def test_pseudo_log_likelihoods_are_those_of_one_forward_pass_a_token(name, tokens_per_batch):
    model = build(name)
    scorer = MaskedScorer(model, CPU, mask_id=MASK, last=LAST, tokens_per_batch=tokens_per_batch)

    found = scorer.score(SEQUENCES, first=FIRST)

    for sequence, scored in zip(SEQUENCES, found, strict=True):
        assert scored.log_probabilities_T == pytest.approx(by_hand(model, sequence, None), abs=1e-5)


def test_word_by_word_the_rest_of_the_word_is_hidden_too():
    model = build("bert")
    scorer = MaskedScorer(model, CPU, mask_id=MASK, last=LAST, metric="word_l2r")

    found = scorer.score(SEQUENCES, first=FIRST, words=WORDS)

    plain = MaskedScorer(model, CPU, mask_id=MASK, last=LAST).score(SEQUENCES, first=FIRST)
    for number, (sequence, words) in enumerate(zip(SEQUENCES, WORDS, strict=True)):
        assert found[number].log_probabilities_T == pytest.approx(by_hand(model, sequence, words), abs=1e-5)
        last_of_word = [t for t in range(len(words)) if t + 1 == len(words) or words[t + 1] != words[t]]
        same = np.isclose(found[number].log_probabilities_T, plain[number].log_probabilities_T, atol=1e-5)
        assert np.flatnonzero(same).tolist() == last_of_word


def test_word_by_word_needs_the_words():
    scorer = MaskedScorer(build("bert"), CPU, mask_id=MASK, metric="word_l2r")

    with pytest.raises(DataError, match="which word each token belongs to must be given"):
        scorer.score([[1, 2]], first=FIRST)


def test_masses_are_those_of_the_hidden_place():
    model = build("bert")
    asked = np.arange(40) < 7
    with torch.no_grad():
        chances = model(torch.tensor([[FIRST, 5, MASK, LAST]])).logits[0, 2].double().softmax(-1)

    [scored] = MaskedScorer(model, CPU, mask_id=MASK, last=LAST).score([[5, 6]], first=FIRST, mass_of_V=asked)

    assert np.exp(scored.log_masses[1]) == pytest.approx(float(chances[:7].sum()), abs=1e-5)
    assert np.isnan(scored.log_masses).tolist() == [False, False, True]


class Both(nn.Module):
    """A GPT-2 that looks where its mask says, as models of direction ``any`` do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes = {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 16, "vocab_size": 40}
        config = GPT2Config(**sizes, initializer_range=0.5, attn_implementation="eager")
        self.inner = GPT2LMHeadModel(config)
        self.config = config

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, use_cache: bool = False
    ) -> object:
        if attention_mask is None:
            return self.inner(input_ids)
        bias = torch.zeros(attention_mask.shape).masked_fill(~attention_mask, float("-inf"))
        return self.inner(input_ids, attention_mask=bias)


def test_shifted_scores_are_read_one_place_to_the_left_under_a_mask_that_lets_all_see_all():
    model = Both().train(False)
    scorer = MaskedScorer(model, CPU, mask_id=MASK, last=LAST, shifted=True, tokens_per_batch=30)

    found = scorer.score(SEQUENCES, first=FIRST)

    for sequence, scored in zip(SEQUENCES, found, strict=True):
        for token, target in enumerate(sequence):
            row = [FIRST, *sequence, LAST]
            row[token + 1] = MASK
            everywhere = torch.zeros(1, 1, len(row), len(row))
            with torch.no_grad():
                logits = model.inner(torch.tensor([row]), attention_mask=everywhere).logits[0, token]
            expected = float(logits.double().log_softmax(-1)[target])
            assert scored.log_probabilities_T[token] == pytest.approx(expected, abs=1e-5)


def test_shifted_scores_without_a_context_leave_the_first_token_out():
    [scored] = MaskedScorer(Both().train(False), CPU, mask_id=MASK, shifted=True).score([[5, 6]], first=None)

    assert np.isnan(scored.log_probabilities_T).tolist() == [True, False]


def test_positions_that_a_padding_id_takes_away_are_not_counted():
    scorer = MaskedScorer(build("roberta"), CPU, mask_id=MASK, last=LAST)

    assert scorer.positions == 16
    assert len(scorer.score([[3] * 14], first=FIRST)[0].log_probabilities_T) == 14
    with pytest.raises(DataError, match=r"sequence 0: 17 tokens .* the model has 16 positions"):
        scorer.score([[3] * 15], first=FIRST)
