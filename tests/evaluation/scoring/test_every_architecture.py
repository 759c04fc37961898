"""Scores do not depend on the batch: every architecture, found by walking the folder, and n-grams."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model_foundry.evaluation.scoring import Scored, Scorer
from model_foundry.evaluation.scoring.causal import CausalScorer
from model_foundry.evaluation.scoring.masked import MaskedScorer
from model_foundry.model.ngram.folder import smooth
from tests.model.ngram.test_ngram import counted
from tests.model.small import SMALL, architecture, initialized, logits_of, looking

CPU = torch.device("cpu")
FIRST, MASK = 2, 3
SEQUENCES = [[9, 8, 7, 6], [9, 8, 7, 5], [4], [30, 31, 32, 33, 34, 35, 36, 37, 38], [9, 8, 40, 41, 42], []]
RECURRENT = ("mamba", "mamba2", "lstm", "gru", "rnn")
"""They read padding on the left like any other token; ours stands on the right, which nothing reads."""


def require_equal(together: list[Scored], scorer: Scorer, **settings: object) -> None:
    for sequence, scored in zip(SEQUENCES, together, strict=True):
        [alone] = scorer.score([sequence], first=FIRST, **settings)
        assert np.isfinite(scored.log_probabilities_T).all()
        assert scored.log_probabilities_T == pytest.approx(alone.log_probabilities_T, abs=1e-5)
        if scored.log_masses is not None:
            assert scored.log_masses == pytest.approx(alone.log_masses, abs=1e-5)


@pytest.mark.parametrize("name", looking("causal", "any"))
def test_a_batch_scores_left_to_right_what_each_sequence_has_alone_with_padding_on_either_side(name):
    model = initialized(SMALL[name], factor=3.0)
    asked = np.arange(50) % 3 == 0
    scorer = CausalScorer(model, CPU)

    together = scorer.score(SEQUENCES, first=FIRST, mass_of_V=asked)

    require_equal(together, CausalScorer(model, CPU), mass_of_V=asked)
    for sequence, scored in zip(SEQUENCES, together, strict=True):
        row = torch.tensor([[FIRST, *sequence]])
        log_p_TV = logits_of(model, row)[0].log_softmax(-1)
        expected = [float(log_p_TV[place, token]) for place, token in enumerate(sequence)]
        assert scored.log_probabilities_T == pytest.approx(expected, abs=1e-5)
    sides = ["right"] if name in RECURRENT else ["left", "right"]
    for side in sides if architecture(SMALL[name]).direction == "causal" else []:
        require_equal_to_padded(together, model, side)


def require_equal_to_padded(together: list[Scored], model: torch.nn.Module, side: str) -> None:
    """Compare with one batch that is padded on a side, its padding masked as transformers does it."""
    rows = [[FIRST, *sequence] for sequence in SEQUENCES]
    width = max(map(len, rows))
    ids_BT, sees_BT = torch.ones(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width).long()
    begins = [width - len(row) if side == "left" else 0 for row in rows]
    for number, (row, begin) in enumerate(zip(rows, begins, strict=True)):
        ids_BT[number, begin : begin + len(row)] = torch.tensor(row)
        sees_BT[number, begin : begin + len(row)] = 1
    more = {"attention_mask": sees_BT}
    # BLOOM has positions by its mask, RoBERTa by which ids are padding.
    if side == "left" and model.config.model_type not in ("bloom", "roberta"):
        more["position_ids"] = (sees_BT.cumsum(1) - 1).clamp(min=0)
    log_p_BTV = logits_of(model, ids_BT, **more).log_softmax(-1)
    for number, (sequence, begin) in enumerate(zip(SEQUENCES, begins, strict=True)):
        found = [float(log_p_BTV[number, begin + place, token]) for place, token in enumerate(sequence)]
        assert together[number].log_probabilities_T == pytest.approx(found, abs=1e-5), side


@pytest.mark.parametrize("metric", ["token", "word_l2r"])
@pytest.mark.parametrize("name", looking("bidirectional", "any"))
def test_a_batch_has_the_pseudo_log_likelihoods_that_each_sequence_has_alone(name, metric):
    model = initialized(SMALL[name], factor=3.0)
    is_shifted = architecture(SMALL[name]).direction == "any"
    settings = {"mask_id": MASK, "last": 0, "metric": metric, "shifted": is_shifted}
    words = [[number // 2 for number in range(len(sequence))] for sequence in SEQUENCES]

    together = MaskedScorer(model, CPU, **settings).score(SEQUENCES, first=FIRST, words=words)

    alone = MaskedScorer(model, CPU, tokens_per_batch=1, **settings)
    for sequence, of_words, scored in zip(SEQUENCES, words, together, strict=True):
        [one] = alone.score([sequence], first=FIRST, words=[of_words])
        assert np.isfinite(scored.log_probabilities_T).all()
        assert scored.log_probabilities_T == pytest.approx(one.log_probabilities_T, abs=1e-5)


@pytest.mark.parametrize("name", looking("bidirectional"))
def test_pseudo_log_likelihoods_are_those_of_a_batch_with_padding_on_the_left(name):
    model = initialized(SMALL[name], factor=3.0)

    scores = MaskedScorer(model, CPU, mask_id=MASK, last=0).score(SEQUENCES, first=FIRST)

    rows = [[FIRST, *sequence, 0] for sequence in SEQUENCES if sequence]
    width = max(map(len, rows))
    for place in range(1, width - 1):
        ids_BT, sees_BT = torch.ones(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width).long()
        hidden = [min(place, len(row) - 2) for row in rows]
        for number, (row, token) in enumerate(zip(rows, hidden, strict=True)):
            ids_BT[number, -len(row) :] = torch.tensor([*row[:token], MASK, *row[token + 1 :]])
            sees_BT[number, -len(row) :] = 1
        more = {"attention_mask": sees_BT}
        if model.config.model_type in ("bert", "electra"):  # the others have no absolute positions, or by ids
            more["position_ids"] = (sees_BT.cumsum(1) - 1).clamp(min=0)
        log_p_BTV = logits_of(model, ids_BT, **more).log_softmax(-1)
        found = [one.log_probabilities_T for one, sequence in zip(scores, SEQUENCES, strict=True) if sequence]
        for number, (row, token) in enumerate(zip(rows, hidden, strict=True)):
            expected = float(log_p_BTV[number, width - len(row) + token, row[token]])
            assert found[number][token - 1] == pytest.approx(expected, abs=1e-5)


def test_an_n_gram_model_scores_each_sequence_by_itself():
    text = np.random.default_rng(1).integers(3, 50, 400).tolist()
    counts = counted([*text, FIRST], order=3, size=50, end=FIRST)
    model = smooth(counts, order=3, smoothing="witten_bell")
    asked = np.arange(50) % 3 == 0

    require_equal(model.score(SEQUENCES, first=FIRST, mass_of_V=asked), model, mass_of_V=asked)
