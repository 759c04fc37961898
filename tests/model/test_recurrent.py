"""Recurrent language models: their arithmetic, documents, padding, state, generation and truncation."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from model_foundry.model import Architecture, Vocabulary
from model_foundry.model._modeling_recurrent import RecurrentForCausalLM
from model_foundry.model.counting import count_parameters
from model_foundry.model.initialization.recurrent import RecurrentInitialization
from model_foundry.model.presets import all_presets
from model_foundry.objective.causal_lm import CausalLM
from model_foundry.parts import PartOf

CELLS = ["lstm", "gru", "rnn"]
VOCABULARY = Vocabulary(size=40, bos_id=2, eos_id=0, pad_id=1)
each_cell = pytest.mark.parametrize("cell", CELLS)


def section(**fields: Any) -> Architecture:
    return TypeAdapter(PartOf[Architecture]).validate_python(fields)


def make(cell: str, *, vocabulary: Vocabulary = VOCABULARY, **fields: Any) -> RecurrentForCausalLM:
    model = section(type=cell, **{"layers": 2, "hidden": 12, **fields}).build(vocabulary, 16)
    RecurrentInitialization(embedding_range=1.0).initialize(model, torch.Generator().manual_seed(1))
    assert isinstance(model, RecurrentForCausalLM)
    return model.train(False)


def ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(3, 40, shape, generator=torch.Generator().manual_seed(seed))


def logits(model: nn.Module, ids_BT: torch.Tensor, **more: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(input_ids=ids_BT, **more).logits
    return result


def by_hand(model: RecurrentForCausalLM, ids_T: torch.Tensor) -> torch.Tensor:
    """Token by token, from the equations of each cell (in torch's documentation of it)."""
    cell, layers, weights = model.config.cell, model.model.layers, dict(model.model.layers.named_parameters())
    rows = []
    hidden = [torch.zeros(layers.hidden_size) for _ in range(layers.num_layers)]
    memory = [torch.zeros(layers.hidden_size) for _ in range(layers.num_layers)]
    for token in ids_T:
        x = model.model.embedding.weight[token]
        for k in range(layers.num_layers):
            from_x = weights[f"weight_ih_l{k}"] @ x + weights[f"bias_ih_l{k}"]
            from_h = weights[f"weight_hh_l{k}"] @ hidden[k] + weights[f"bias_hh_l{k}"]
            if cell == "rnn":
                hidden[k] = (from_x + from_h).tanh()
            elif cell == "gru":
                (rx, zx, nx), (rh, zh, nh) = from_x.chunk(3), from_h.chunk(3)
                z = (zx + zh).sigmoid()
                hidden[k] = (1 - z) * (nx + (rx + rh).sigmoid() * nh).tanh() + z * hidden[k]
            else:
                i, f, g, o = (from_x + from_h).chunk(4)
                memory[k] = f.sigmoid() * memory[k] + i.sigmoid() * g.tanh()
                hidden[k] = o.sigmoid() * memory[k].tanh()
            x = hidden[k]
        if model.model.projection is not None:
            x = model.model.projection.weight @ x + model.model.projection.bias
        rows.append(model.lm_head.weight @ x + model.lm_head.bias)
    return torch.stack(rows)


@each_cell
@pytest.mark.parametrize(
    "fields", [{}, {"embedding": 8}, {"embedding": 8, "tie_embeddings": False}, {"layers": 1}]
)
def test_logits_are_those_of_the_equations(cell: str, fields: dict[str, Any]) -> None:
    model, ids_BT = make(cell, **fields), ids(2, 7)

    found_BTV = logits(model, ids_BT)

    with torch.no_grad():
        expected = torch.stack([by_hand(model, row) for row in ids_BT])
    assert torch.allclose(found_BTV, expected, atol=1e-5)


def test_tied_embeddings_are_one_tensor_and_a_layer_leads_there_only_where_sizes_differ() -> None:
    same, other, untied = (
        make("lstm"),
        make("lstm", embedding=8),
        make("lstm", embedding=8, tie_embeddings=False),
    )

    assert same.lm_head.weight is same.model.embedding.weight
    assert same.model.projection is None
    assert other.lm_head.weight is other.model.embedding.weight
    assert other.model.projection is not None
    assert untied.lm_head.weight.shape == (40, 12)
    assert untied.model.projection is None


@each_cell
def test_documents_of_a_row_are_run_as_if_each_were_alone(cell: str) -> None:
    model, ids_BT = make(cell), ids(3, 10)
    lengths = [[4, 1, 5], [10], [3, 7]]
    positions_BT = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in lengths])

    output = model(input_ids=ids_BT, position_ids=positions_BT, use_cache=True)

    last = []
    for row, row_lengths in enumerate(lengths):
        ends = torch.tensor([0, *row_lengths]).cumsum(0).tolist()
        for begin, end in pairwise(ends):
            alone = model(input_ids=ids_BT[row : row + 1, begin:end], use_cache=True)
            assert torch.allclose(output.logits[row, begin:end], alone.logits[0], atol=1e-6)
        last.append(alone.past_key_values.states)
    for index, state in enumerate(output.past_key_values.states):
        assert torch.allclose(state, torch.cat([states[index] for states in last], dim=1), atol=1e-6)


@each_cell
def test_padding_on_the_left_has_no_effect(cell: str) -> None:
    model, ids_BT = make(cell), ids(2, 9)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[0, :4] = 0

    padded_BTV = logits(model, ids_BT, attention_mask=mask_BT)

    assert torch.allclose(padded_BTV[0, 4:], logits(model, ids_BT[:1, 4:])[0], atol=1e-6)
    assert torch.allclose(padded_BTV[1], logits(model, ids_BT[1:])[0], atol=1e-6)


@each_cell
def test_a_state_goes_on_where_it_stopped(cell: str) -> None:
    model, ids_BT = make(cell), ids(2, 9)

    before = model(input_ids=ids_BT[:, :5], use_cache=True)
    after_BTV = logits(model, ids_BT[:, 5:], past_key_values=before.past_key_values)

    assert torch.allclose(after_BTV, logits(model, ids_BT)[:, 5:], atol=1e-6)


@each_cell
def test_the_first_document_of_a_row_goes_on_from_a_state_and_the_others_begin_anew(cell: str) -> None:
    model, ids_BT = make(cell), ids(2, 12)
    before = model(input_ids=ids_BT[:, :5], use_cache=True).past_key_values
    positions_BT = torch.tensor([[0, 1, 2, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6]])

    after = model(input_ids=ids_BT[:, 5:], position_ids=positions_BT, past_key_values=before, use_cache=True)

    assert torch.allclose(after.logits[1], logits(model, ids_BT[1:])[0, 5:], atol=1e-6)
    assert torch.allclose(after.logits[0, :3], logits(model, ids_BT[:1])[0, 5:8], atol=1e-6)
    alone = model(input_ids=ids_BT[:1, 8:], use_cache=True)
    assert torch.allclose(after.logits[0, 3:], alone.logits[0], atol=1e-6)
    for state, of_last in zip(after.past_key_values.states, alone.past_key_values.states, strict=True):
        assert torch.allclose(state[:, :1], of_last, atol=1e-6)


@each_cell
@pytest.mark.parametrize("ways", [{}, {"num_beams": 3}])
def test_generation_from_the_state_is_that_from_all_tokens(cell: str, ways: dict[str, Any]) -> None:
    model, ids_BT = make(cell), ids(2, 6)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[0, :2] = 0
    more = {"attention_mask": mask_BT, "max_new_tokens": 8, "do_sample": False, "eos_token_id": None, **ways}

    cached = model.generate(ids_BT, use_cache=True, **more)
    anew = model.generate(ids_BT, use_cache=False, **more)
    alone = model.generate(ids_BT[:1, 2:], **{**more, "attention_mask": mask_BT[:1, 2:]})

    assert cached.shape == (2, 14)
    assert torch.equal(cached, anew)
    assert torch.equal(cached[:1, 2:], alone)


def test_only_the_asked_places_get_logits() -> None:
    model, ids_BT = make("gru"), ids(2, 9)
    whole_BTV = logits(model, ids_BT)

    assert torch.allclose(logits(model, ids_BT, logits_to_keep=2), whole_BTV[:, -2:], atol=1e-6)
    places = torch.tensor([0, 4])
    assert torch.allclose(logits(model, ids_BT, logits_to_keep=places), whole_BTV[:, places], atol=1e-6)


@each_cell
def test_truncation_stops_the_gradient_and_not_the_state(cell: str) -> None:
    plain = make(cell, vocabulary=Vocabulary(40)).train()
    cut = copy.deepcopy(plain)
    cut.model.truncation = 4
    ids_BT = torch.arange(3, 13)[None]  # pieces of 4, 4 and 2 tokens

    def gradient(model: RecurrentForCausalLM) -> torch.Tensor:
        model(input_ids=ids_BT).logits[0, -1].sum().backward()
        found = model.model.embedding.weight.grad
        assert found is not None
        return found - found[30]  # the output layer, which is tied, gives every row the same

    assert torch.allclose(cut(input_ids=ids_BT).logits, plain(input_ids=ids_BT).logits, atol=1e-6)
    of_plain, of_cut = gradient(plain), gradient(cut)
    assert (of_plain[ids_BT[0]].abs().amax(dim=1) > 1e-9).all()
    assert not of_cut[ids_BT[0, :8]].any()
    assert torch.allclose(of_cut[ids_BT[0, 8:]], of_plain[ids_BT[0, 8:]], atol=1e-6)


def test_truncation_counts_from_the_beginning_of_each_document() -> None:
    plain = make("lstm", vocabulary=Vocabulary(40), tie_embeddings=False).train()
    cut = copy.deepcopy(plain)
    cut.model.truncation = 4
    ids_BT = torch.arange(3, 13)[None]
    positions_BT = torch.cat([torch.arange(3), torch.arange(7)])[None]  # pieces of 3, 4 and 3 tokens

    output = cut(input_ids=ids_BT, position_ids=positions_BT)
    output.logits[0, -1].sum().backward()

    expected = plain(input_ids=ids_BT, position_ids=positions_BT).logits
    assert torch.allclose(output.logits, expected, atol=1e-6)
    gradient = cut.model.embedding.weight.grad
    assert gradient is not None
    assert gradient[ids_BT[0]].any(dim=1).tolist() == [False] * 7 + [True] * 3


def test_dropout_is_on_embeddings_between_layers_and_on_the_output() -> None:
    model = make("lstm", dropout=0.5, hidden=400)
    model.train()
    seen: dict[str, torch.Tensor] = {}
    model.model.layers.register_forward_pre_hook(lambda _, args: seen.update(embedded=args[0]))
    model.lm_head.register_forward_pre_hook(lambda _, args: seen.update(output=args[0]))

    model(input_ids=ids(2, 9))

    assert model.model.layers.dropout == 0.5
    for dropped in seen.values():
        assert 0.4 < (dropped == 0).float().mean() < 0.6


@each_cell
def test_it_learns_a_batch_by_heart_as_predictions_of_the_next_token(cell: str) -> None:
    model = make(cell, hidden=32).train()
    row = torch.randperm(37, generator=torch.Generator().manual_seed(2))[:13] + 3
    batch: Any = {"ids_BT": row[None, :-1], "targets_BT": row[None, 1:]}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

    for _ in range(80):
        loss = CausalLM().loss(model, batch).total / 12
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss < 0.1
    model.eval()
    assert torch.equal(model.generate(row[None, :1], max_new_tokens=12, eos_token_id=None)[0], row)


def test_labels_are_refused_since_the_loss_is_elsewhere() -> None:
    with pytest.raises(ValueError, match="labels: this model computes no loss"):
        make("rnn")(input_ids=ids(1, 4), labels=ids(1, 4))


def test_a_mask_of_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"attention_mask: found shape \(1, 1, 4, 4\), expected \(rows, tok"):
        make("rnn")(input_ids=ids(1, 4), attention_mask=torch.ones(1, 1, 4, 4, dtype=torch.bool))


@pytest.mark.parametrize(
    ("fields", "vocabulary", "total"),
    [
        (
            {"hidden": 512, "tie_embeddings": False},
            50004,
            1025 * 50004 + 8 * (2 * 512**2 + 1024),
        ),
        ({"hidden": 512}, 50004, 513 * 50004 + 8 * (2 * 512**2 + 1024)),
        ({"preset": "gulordava-lstm"}, 50001, 651 * 50001 + 8 * (2 * 650**2 + 1300)),
    ],
)
def test_parameters_are_those_of_the_sizes(fields: dict[str, Any], vocabulary: int, total: int) -> None:
    sizes = fields if "preset" in fields else {"layers": 2, **fields}
    with torch.device("meta"):
        model = section(type="lstm", **sizes).build(Vocabulary(vocabulary), 35)

    assert count_parameters(model)["total"] == total


def test_the_preset_is_two_layers_of_650_with_dropout() -> None:
    assert all_presets()["gulordava-lstm"].fields == {
        "layers": 2,
        "hidden": 650,
        "embedding": 650,
        "dropout": 0.2,
        "tie_embeddings": True,
    }
