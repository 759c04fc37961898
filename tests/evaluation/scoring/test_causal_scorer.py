from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import (
    Gemma2Config,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    LlamaConfig,
    Mamba2Config,
    PreTrainedModel,
    Qwen3MoeConfig,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from model_foundry.errors import DataError
from model_foundry.evaluation.scoring._log_probabilities import _log_sums
from model_foundry.evaluation.scoring._tries import forest_of
from model_foundry.evaluation.scoring.causal import CausalScorer

CPU = torch.device("cpu")
SEQUENCES = [[5, 6, 7], [], [8], [9, 10, 11, 12, 13, 14, 15], [5, 6, 7], [3, 1, 4, 1, 5, 9, 2, 6]]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 40}
ATTENTION = {**SMALL, "intermediate_size": 32, "max_position_embeddings": 16}
CONFIGS = {
    "gpt2": GPT2Config(n_layer=2, n_embd=16, n_head=2, n_positions=16, vocab_size=40, initializer_range=0.5),
    "llama": LlamaConfig(**ATTENTION, num_key_value_heads=1, initializer_range=0.5),
    "neox": GPTNeoXConfig(**ATTENTION, initializer_range=0.5),
    "moe": Qwen3MoeConfig(
        **ATTENTION,
        num_key_value_heads=1,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=8,
    ),
    # Its logits are capped after the output layer.
    "gemma2": Gemma2Config(**ATTENTION, num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.1),
    "mamba2": Mamba2Config(
        hidden_size=16, num_hidden_layers=2, num_heads=4, head_dim=8, state_size=8, vocab_size=40, n_groups=1
    ),
}


def build(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name]).train(False)


@pytest.fixture(scope="module")
def gpt2() -> GPT2LMHeadModel:
    return build("gpt2")


def by_hand(model: PreTrainedModel, sequence: list[int], first: int) -> list[float]:
    """Log-probabilities of a sequence that stands alone, out of the model's own logits."""
    row = [first, *sequence]
    with torch.no_grad():
        log_p_TV = model(torch.tensor([row])).logits[0].double().log_softmax(-1)
    return [float(log_p_TV[place, row[place + 1]]) for place in range(len(sequence))]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("tokens_per_batch", [1, 10, 8192])
def test_batched_scores_are_those_of_each_sequence_alone(name, tokens_per_batch):
    model = build(name)

    found = CausalScorer(model, CPU, tokens_per_batch=tokens_per_batch).score(SEQUENCES, first=0)

    for sequence, scored in zip(SEQUENCES, found, strict=True):
        assert scored.log_probabilities_T == pytest.approx(by_hand(model, sequence, 0), abs=1e-5)
        assert scored.log_masses is None


@pytest.mark.parametrize("side", ["left", "right"])
def test_scores_are_those_of_a_batch_that_transformers_pads(gpt2, side):
    rows = [[0, *sequence] for sequence in SEQUENCES if sequence]
    width = max(map(len, rows))
    pads = [[0] * (width - len(row)) for row in rows]
    padded = [pad + row if side == "left" else row + pad for row, pad in zip(rows, pads, strict=True)]
    mask = [
        [0] * len(pad) + [1] * len(row) if side == "left" else [1] * len(row) + [0] * len(pad)
        for row, pad in zip(rows, pads, strict=True)
    ]
    mask_BT = torch.tensor(mask)
    with torch.no_grad():
        logits = gpt2(
            torch.tensor(padded),
            attention_mask=mask_BT,
            position_ids=(mask_BT.cumsum(1) - 1).clamp(min=0),
        ).logits.log_softmax(-1)

    found = CausalScorer(gpt2, CPU).score([row[1:] for row in rows], first=0)

    for number, row in enumerate(rows):
        start = width - len(row) if side == "left" else 0
        theirs = [float(logits[number, start + t, row[t + 1]]) for t in range(len(row) - 1)]
        assert found[number].log_probabilities_T == pytest.approx(theirs, abs=1e-5)


def test_without_a_context_the_first_token_is_unscored(gpt2):
    [scored, alone, nothing] = CausalScorer(gpt2, CPU).score([[5, 6, 7], [5], []], first=None)

    assert math.isnan(scored.log_probabilities_T[0])
    assert scored.log_probabilities_T[1:] == pytest.approx(by_hand(gpt2, [6, 7], 5), abs=1e-5)
    assert np.isnan(alone.log_probabilities_T).tolist() == [True]
    assert len(nothing.log_probabilities_T) == 0


@pytest.mark.parametrize("first", [0, None])
def test_masses_are_sums_of_probabilities_before_each_token_and_after_the_last(gpt2, first):
    asked = np.zeros(40, dtype=bool)
    asked[[3, 17, 39]] = True
    row = [5, 6, 7] if first is None else [0, 5, 6, 7]
    with torch.no_grad():
        chances_TV = gpt2(torch.tensor([row])).logits[0].double().softmax(-1)

    [scored] = CausalScorer(gpt2, CPU).score([[5, 6, 7]], first=first, mass_of_V=asked)

    expected = chances_TV[:, [3, 17, 39]].sum(1).tolist()
    assert np.exp(scored.log_masses[-len(row) :]) == pytest.approx(expected, abs=1e-5)
    assert len(scored.log_masses) == 4
    assert math.isnan(scored.log_masses[0]) == (first is None)
    assert len(scored.log_probabilities_T) == 3


def test_masses_are_the_same_where_sequences_share_a_tree(gpt2):
    asked = np.arange(40) % 3 == 0
    sequences = [[1, 2, 3, 4, 5, end] for end in range(20, 30)] + [[], [1]]

    for first in (0, None):
        together = CausalScorer(gpt2, CPU).score(sequences, first=first, mass_of_V=asked)
        for sequence, scored in zip(sequences, together, strict=True):
            [alone] = CausalScorer(gpt2, CPU).score([sequence], first=first, mass_of_V=asked)
            assert scored.log_masses == pytest.approx(alone.log_masses, abs=1e-5, nan_ok=True)
            assert scored.log_probabilities_T == pytest.approx(
                alone.log_probabilities_T, abs=1e-5, nan_ok=True
            )


def test_a_mass_too_small_for_a_float_still_has_a_logarithm():
    log_p_NV = torch.tensor([[0.0, -200.0, -201.0], [-1.0, -2.0, -3.0]])

    totals, found = _log_sums(log_p_NV + 7, torch.tensor([1, 2]))

    assert totals.tolist() == pytest.approx([7, 7 + math.log(sum(map(math.exp, [-1, -2, -3])))], abs=1e-6)
    assert found.tolist() == pytest.approx(
        [
            -200 + math.log1p(math.exp(-1)),
            math.log(math.exp(-2) + math.exp(-3)) - math.log(sum(map(math.exp, [-1, -2, -3]))),
        ],
        abs=1e-4,
    )


def test_the_masses_of_nothing_are_those_after_its_context(gpt2):
    [scored] = CausalScorer(gpt2, CPU).score([[]], first=0, mass_of_V=np.ones(40, dtype=bool))

    assert scored.log_masses == pytest.approx([0.0], abs=1e-6)
    assert len(scored.log_probabilities_T) == 0


def test_probabilities_of_all_tokens_sum_to_one(gpt2):
    found = CausalScorer(gpt2, CPU).score([[7, token] for token in range(40)], first=0)

    assert sum(math.exp(scored.log_probabilities_T[1]) for scored in found) == pytest.approx(1, abs=1e-5)


def test_a_sequence_that_fits_just_so_is_scored_and_a_longer_one_refused(gpt2):
    scorer = CausalScorer(gpt2, CPU)

    assert scorer.positions == 16
    assert len(scorer.score([[1] * 16], first=0)[0].log_probabilities_T) == 16
    with pytest.raises(DataError, match=r"sequence 1: 17 tokens .* the model has 16 positions"):
        scorer.score([[1], [1] * 17], first=0)


def test_equal_sequences_cost_one_row_and_short_rows_share_a_batch(gpt2):
    shapes = []

    def look(_: object, ids: tuple[torch.Tensor, ...], given: dict[str, torch.Tensor]) -> None:
        shapes.append(tuple((ids or (given["input_ids"],))[0].shape))

    handle = gpt2.transformer.register_forward_pre_hook(look, with_kwargs=True)
    sequences = [[1, 2, 3, 4], [5, 6], [5, 6], [7], [8], [9, 9]]
    CausalScorer(gpt2, CPU, tokens_per_batch=4).score(sequences, first=None)
    handle.remove()

    assert shapes[2:] == [(1, 3), (2, 1)]  # the first two find out that the output layer can stand apart


@pytest.mark.parametrize("name", CONFIGS)
def test_what_sequences_begin_with_alike_is_computed_once_where_a_model_allows_it(name):
    model = build(name)
    stems = [[1, 2, 3, 4, 5], [1, 2, 3, 6], [7, 8, 9, 10]]
    sequences = [[*stem, end] for stem in stems for end in range(20, 32)] + [[1, 2], [7]]
    tokens = 0

    def count(_: object, ids: tuple[torch.Tensor, ...], given: dict[str, torch.Tensor]) -> None:
        nonlocal tokens
        tokens += (ids or (given["input_ids"],))[0].numel()

    handle = model.base_model.register_forward_pre_hook(count, with_kwargs=True)
    scorer = CausalScorer(model, CPU)
    scorer.score([sequences[0]], first=0)
    tokens = 0
    found = scorer.score([*sequences, *sequences[:3]], first=0)
    handle.remove()

    for sequence, scored in zip([*sequences, *sequences[:3]], found, strict=True):
        assert scored.log_probabilities_T == pytest.approx(by_hand(model, sequence, 0), abs=1e-5)
    by_themselves = sum(map(len, sequences))
    # Trees are checked against some sequences alone; after that they hold 13 nodes where 202 tokens were.
    scorer_again = tokens
    tokens = 0
    model.base_model.register_forward_pre_hook(count, with_kwargs=True)
    scorer.score(sequences, first=0)
    if name in ("gpt2", "llama", "neox", "moe"):
        assert tokens < by_themselves / 4
        assert scorer_again > tokens
    if name == "mamba2":
        assert tokens >= by_themselves


def test_a_row_is_a_tree_whose_nodes_see_their_ancestors():
    leaves = forest_of([(1, 2, 3), (), (1, 2), (1, 4)]).leaves(np.array([0]))

    assert leaves.ids_BT.tolist() == [[1, 2, 3, 4]]
    assert leaves.positions_BT.tolist() == [[0, 1, 2, 1]]
    sees = leaves.sees_BTT[0, 0].astype(int).tolist()
    assert sees == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]
    paths = dict(zip(leaves.numbers, np.split(leaves.places, np.cumsum(leaves.lengths)), strict=False))
    assert {number: path.tolist() for number, path in paths.items()} == {0: [0, 1, 2], 2: [0, 1], 3: [0, 3]}


def test_rows_hold_up_to_96_nodes():
    forest = forest_of([(1, number) for number in range(100)])

    assert forest.widths_R.tolist() == [96, 6]


def test_rows_of_a_forest_stand_beside_each_other_in_a_batch():
    sequences = [(1, number, 7) for number in range(60)]
    forest = forest_of(sequences)

    leaves = forest.leaves(forest.by_width())

    width = leaves.ids_BT.shape[1]
    assert leaves.ids_BT.shape == (2, 95)
    for number, path in zip(leaves.numbers, leaves.places.reshape(-1, 3).tolist(), strict=True):
        row, nodes = path[0] // width, [place % width for place in path]
        assert tuple(leaves.ids_BT[row][nodes].tolist()) == sequences[number]
        assert np.flatnonzero(leaves.sees_BTT[row, 0, nodes[-1]]).tolist() == sorted(nodes)
