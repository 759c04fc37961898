"""LTG-BERT and GPT-BERT: buckets, attention and averages by hand; masks, documents, files, sizes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torch.nn import functional
from transformers import AutoModelForMaskedLM, PreTrainedModel
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from model_foundry.errors import RecipeError
from model_foundry.model import Architecture, Vocabulary
from model_foundry.model._ltg_layers import DepthWeightedAverage, relative_buckets
from model_foundry.model.counting import count_parameters
from model_foundry.model.initialization.ltg import LTGInitialization
from model_foundry.model.loading import direction_of
from model_foundry.model.presets import all_presets
from model_foundry.objective.causal_lm import CausalLM
from model_foundry.parts import PartOf

VOCABULARY = Vocabulary(size=40, bos_id=2, eos_id=0, pad_id=1)
SIZES: dict[str, Any] = {"layers": 2, "width": 16, "heads": 2, "feed_forward": 24}
TYPES = ["ltg_bert", "gpt_bert"]
each_type = pytest.mark.parametrize("kind", TYPES)


def section(**fields: Any) -> Architecture:
    return TypeAdapter(PartOf[Architecture]).validate_python(fields)


def make(kind: str, *, vocabulary: Vocabulary = VOCABULARY, **fields: Any) -> PreTrainedModel:
    model = section(type=kind, **{**SIZES, "positions": 64, "position_buckets": 8, **fields}).build(
        vocabulary, 16
    )
    generator = torch.Generator().manual_seed(1)
    LTGInitialization().initialize(model, generator)
    with torch.no_grad():  # larger weights, and averages that are not the last output alone
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.mul_(3)
            elif name.endswith("average.weights"):
                parameter.add_(torch.randn(parameter.shape, generator=generator) / 4)
    return model.train(False)


def ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(3, 40, shape, generator=torch.Generator().manual_seed(seed))


def logits(model: nn.Module, ids_BT: torch.Tensor, **more: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(input_ids=ids_BT, **more).logits
    return result


def test_near_distances_have_a_bucket_each_and_far_ones_share_them_by_their_logarithm() -> None:
    buckets_TT = relative_buckets(64, 8, 64)  # 4 a side one by one; then 3 log(r / 4) / log(63 / 4)

    def expected(r: int) -> int:
        size = abs(r) if abs(r) <= 4 else 4 + math.ceil(3 * math.log(abs(r) / 4) / math.log(63 / 4) - 1e-9)
        return 7 + size * (1 if r > 0 else -1)

    assert buckets_TT.tolist() == [[expected(row - column) for column in range(64)] for row in range(64)]
    assert (buckets_TT.min(), buckets_TT.max()) == (0, 14)


@pytest.mark.parametrize(("buckets", "positions"), [(32, 512), (32, 128), (16, 512), (32, 600)])
def test_buckets_are_those_of_deberta(buckets: int, positions: int) -> None:
    places = torch.arange(positions)

    theirs = make_log_bucket_position(places[:, None] - places, buckets, positions)

    assert torch.equal(relative_buckets(positions, buckets, positions), theirs.long() + buckets - 1)


def test_distances_beyond_the_positions_are_in_the_last_bucket() -> None:
    assert relative_buckets(80, 8, 64)[79, 0] == relative_buckets(80, 8, 64)[63, 0] == 14


def test_an_average_over_depth_begins_as_the_last_output_and_is_a_weighted_sum() -> None:
    average = DepthWeightedAverage(3)
    outputs = [torch.full((1, 2, 4), value) for value in (1.0, 10.0, 100.0)]
    with torch.no_grad():
        average.weights.copy_(average.fixed_values()["weights"])
    at_first = average(outputs)
    with torch.no_grad():
        average.weights.copy_(torch.tensor([0.5, -1.0, 2.0]))

    assert torch.equal(at_first, outputs[2])
    assert torch.equal(average(outputs), torch.full((1, 2, 4), 0.5 - 10.0 + 200.0))


def norm(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()


def by_hand(model: PreTrainedModel, ids_T: torch.Tensor, may_see_TT: torch.Tensor) -> torch.Tensor:
    """Pair by pair, from the equations of the papers."""
    epsilon, weight = model.config.layer_norm_eps, dict(model.named_parameters())
    is_gpt, heads = "gpt" in model.config.model_type, model.config.num_attention_heads
    buckets = relative_buckets(len(ids_T), model.config.position_bucket_size, 64)
    positions = norm(weight["model.relative_position_embedding.weight"], epsilon)
    positions = positions * weight["model.relative_position_norm.weight"]
    x = norm(weight["model.embedding.weight"][ids_T], epsilon)
    outputs, length, size = [x], len(ids_T), x.shape[1] // heads

    def average(name: str) -> torch.Tensor:
        outputs.append(x)
        factors = weight[f"{name}.weights"]
        return sum((factor * output for factor, output in zip(factors, outputs, strict=True)), x * 0)

    for number in range(model.config.num_hidden_layers):
        path = f"model.layers.{number}"
        normed = norm(x, epsilon)
        qk, qk_bias = weight[f"{path}.attention.query_key.weight"], weight[f"{path}.attention.query_key.bias"]
        queries, keys = (normed @ qk.T + qk_bias).chunk(2, dim=1)
        position_queries, position_keys = (positions @ qk.T + qk_bias).chunk(2, dim=1)
        values = normed @ weight[f"{path}.attention.value.weight"].T + weight[f"{path}.attention.value.bias"]
        values, gates = values.chunk(2, dim=1) if is_gpt else (values, None)
        mixed = torch.zeros_like(x)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = torch.full((length, length), -math.inf)
            for i in range(length):
                for j in range(length):
                    if may_see_TT[i, j]:
                        q, k = queries[i, part], keys[j, part]
                        to, back = position_keys[buckets[i, j], part], position_queries[buckets[i, j], part]
                        scores[i, j] = (q @ k + q @ to + k @ back) / math.sqrt(3 * size)
            mixed[:, part] = scores.softmax(dim=1) @ values[:, part]
        out, bias = weight[f"{path}.attention.out_proj.weight"], weight[f"{path}.attention.out_proj.bias"]
        if gates is not None:
            x = x + norm(mixed * functional.gelu(gates), epsilon) @ out.T + bias
            x = average(f"{path}.attention_average")
        else:
            x = x + norm(mixed @ out.T + bias, epsilon) * weight[f"{path}.attention.post_norm.weight"]
        value, gate = (norm(x, epsilon) @ weight[f"{path}.feed_forward.up_proj.weight"].T).chunk(2, dim=1)
        inner = norm(value * functional.gelu(gate, approximate="tanh"), epsilon)
        x = x + inner @ weight[f"{path}.feed_forward.down_proj.weight"].T
        if is_gpt:
            x = average(f"{path}.feed_forward_average")
    x = functional.gelu(norm(x, epsilon) @ weight["head_dense.weight"].T + weight["head_dense.bias"])
    return norm(x, epsilon) @ weight["model.embedding.weight"].T + weight["lm_head.bias"]


def test_the_logits_of_ltg_bert_are_those_of_the_equations() -> None:
    model, ids_BT = make("ltg_bert"), ids(1, 9)

    with torch.no_grad():
        expected = by_hand(model, ids_BT[0], torch.ones(9, 9, dtype=torch.bool))
    assert torch.allclose(logits(model, ids_BT)[0], expected, atol=1e-4)


@pytest.mark.parametrize("way", ["causal", "both sides", "some"])
def test_the_logits_of_gpt_bert_are_those_of_the_equations(way: str) -> None:
    model, ids_BT = make("gpt_bert"), ids(1, 9)
    both = torch.ones(9, 9, dtype=torch.bool)
    may_see = {"causal": both.tril(), "both sides": both, "some": both.tril(2)}[way]

    mask = {} if way == "causal" else {"attention_mask": may_see[None, None]}
    with torch.no_grad():
        expected = by_hand(model, ids_BT[0], may_see)
    assert torch.allclose(logits(model, ids_BT, **mask)[0], expected, atol=1e-4)


def test_rows_of_both_kinds_go_together_as_each_goes_alone() -> None:
    model, ids_BT = make("gpt_bert"), ids(2, 9)
    both = torch.ones(1, 9, 9, dtype=torch.bool)

    mixed_BTV = logits(model, ids_BT, attention_mask=torch.stack([both.tril(), both]))

    assert torch.allclose(mixed_BTV[0], logits(model, ids_BT[:1])[0], atol=1e-5)
    assert torch.allclose(mixed_BTV[1], logits(model, ids_BT[1:], attention_mask=both[None])[0], atol=1e-5)
    assert not torch.allclose(mixed_BTV[1], logits(model, ids_BT[1:])[0], atol=1e-2)


@each_type
def test_padding_on_either_side_has_no_effect_and_gives_no_nan(kind: str) -> None:
    model, ids_BT = make(kind), ids(2, 9)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[0, :4] = 0
    mask_BT[1, 6:] = 0

    padded_BTV = logits(model, ids_BT, attention_mask=mask_BT)

    assert padded_BTV.isfinite().all()
    assert torch.allclose(padded_BTV[0, 4:], logits(model, ids_BT[:1, 4:])[0], atol=1e-5)
    assert torch.allclose(padded_BTV[1, :6], logits(model, ids_BT[1:, :6])[0], atol=1e-5)


@each_type
def test_gradients_are_finite_where_a_whole_row_is_padding(kind: str) -> None:
    model, ids_BT = make(kind), ids(2, 9)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1] = 0

    model(input_ids=ids_BT, attention_mask=mask_BT).logits[0].sum().backward()

    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


@each_type
def test_a_place_that_may_see_nothing_sees_itself_since_not_every_kernel_can_do_without(kind: str) -> None:
    mask_BT = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]])

    may_see = make(kind).model._may_see(4, mask_BT, None, mask_BT.device)

    assert may_see.any(dim=-1).all()
    assert torch.equal(may_see[1, 0], torch.eye(4, dtype=torch.bool))
    assert not may_see[0, 0, 2:, :2].any()


@each_type
def test_documents_whose_positions_restart_do_not_see_each_other(kind: str) -> None:
    model, ids_BT = make(kind), ids(1, 9)
    positions_BT = torch.cat([torch.arange(4), torch.arange(5)])[None]

    packed_BTV = logits(model, ids_BT, position_ids=positions_BT)

    assert torch.allclose(packed_BTV[:, :4], logits(model, ids_BT[:, :4]), atol=1e-5)
    assert torch.allclose(packed_BTV[:, 4:], logits(model, ids_BT[:, 4:]), atol=1e-5)


def test_ltg_bert_sees_both_sides() -> None:
    model, ids_BT = make("ltg_bert"), ids(1, 9)
    other_BT = ids_BT.clone()
    other_BT[0, 4] = (ids_BT[0, 4] - 3 + 1) % 37 + 3

    change_T = (logits(model, ids_BT) - logits(model, other_BT)).abs().amax(dim=(0, 2))

    assert (change_T > 1e-3).all()
    assert direction_of(model) == section(type="ltg_bert", **SIZES).direction == "bidirectional"


def test_gpt_bert_goes_as_a_mask_says() -> None:
    assert direction_of(make("gpt_bert")) == section(type="gpt_bert", **SIZES).direction == "any"


def test_generation_takes_the_likeliest_next_token_each_time() -> None:
    model, ids_BT = make("gpt_bert"), ids(2, 5)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[0, :2] = 0
    more: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}

    together = model.generate(ids_BT, attention_mask=mask_BT, **more)  # type: ignore[operator]

    for row, begin in [(0, 2), (1, 0)]:
        sequence = ids_BT[row : row + 1, begin:]
        for _ in range(6):
            sequence = torch.cat([sequence, logits(model, sequence)[:, -1:].argmax(-1)], dim=1)
        assert torch.equal(together[row : row + 1, begin:], sequence)


@each_type
def test_only_the_asked_places_get_logits(kind: str) -> None:
    model, ids_BT = make(kind), ids(2, 9)

    assert torch.allclose(logits(model, ids_BT, logits_to_keep=2), logits(model, ids_BT)[:, -2:], atol=1e-5)


@each_type
def test_computing_activations_anew_changes_no_gradient(kind: str) -> None:
    gradients = []
    for is_anew in (False, True):
        model = make(kind).train()
        if is_anew:
            model.activation_checkpointing_enable()
        model(input_ids=ids(2, 9)).logits.square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])

    assert all(torch.equal(plain, anew) for plain, anew in zip(*gradients, strict=True))


def test_ltg_bert_learns_the_hidden_tokens_of_a_batch_by_heart() -> None:
    model = make("ltg_bert", width=32).train()
    row_BT = (torch.randperm(36, generator=torch.Generator().manual_seed(2))[:12] + 4)[None]
    hidden_BT = row_BT.clone()
    hidden_BT[0, ::2] = 3
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    for _ in range(60):
        loss = functional.cross_entropy(model(input_ids=hidden_BT).logits[0, ::2], row_BT[0, ::2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss < 0.05
    assert torch.equal(logits(model.eval(), hidden_BT).argmax(-1)[:, ::2], row_BT[:, ::2])


def test_gpt_bert_learns_a_batch_by_heart_as_predictions_of_the_next_token() -> None:
    model = make("gpt_bert", width=32).train()
    row = torch.randperm(37, generator=torch.Generator().manual_seed(2))[:13] + 3
    batch: Any = {"ids_BT": row[None, :-1], "targets_BT": row[None, 1:]}
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    for _ in range(60):
        loss = CausalLM().loss(model, batch).total / 12
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss < 0.05
    generated = model.eval().generate(row[None, :1], max_new_tokens=12, eos_token_id=None)  # type: ignore[operator]
    assert torch.equal(generated[0], row)


def test_a_saved_ltg_bert_is_found_by_the_auto_class_of_masked_models(tmp_path: Path) -> None:
    model, ids_BT = make("ltg_bert"), ids(2, 9)

    model.save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)

    assert type(loaded) is type(model)
    assert torch.equal(logits(loaded, ids_BT), logits(model, ids_BT))


@pytest.mark.parametrize(
    ("preset", "millions"),  # the first three are of the LTG-BERT and GPT-BERT papers, rounded as there
    [("ltg-bert-base", 98), ("gpt-bert-base", 119), ("gpt-bert-small", 30)],
)
def test_presets_have_the_published_numbers_of_parameters(preset: str, millions: int) -> None:
    published = all_presets()[preset]
    with torch.device("meta"):
        model = section(type=published.type, preset=preset).build(Vocabulary(published.vocabulary), 128)

    assert round(count_parameters(model)["total"] / 1e6) == millions


@each_type
def test_parameters_are_those_of_the_sizes(kind: str) -> None:
    d, f, layers, is_gpt = 16, 24, 2, kind == "gpt_bert"
    attention = 2 * d * d + 2 * d + d * d + d + (2 * d * d + 2 * d if is_gpt else d * d + d)
    norms_or_averages = sum(range(2, 2 * layers + 2)) if is_gpt else layers * 2 * d
    head = d * d + d + 40

    assert count_parameters(make(kind))["total"] == (
        40 * d + 15 * d + 2 * d + layers * (attention + 3 * d * f) + norms_or_averages + head
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 15}, "width 15 is not a multiple of heads 2"),
        ({"positions": 32}, "positions 32 must be more than position_buckets 32"),
        ({"position_buckets": 7}, "multiple of 2"),
    ],
)
@each_type
def test_sizes_that_cannot_be_are_refused(kind: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        section(type=kind, **{**SIZES, **fields})


def test_a_window_longer_than_the_positions_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"model\.positions: 512 positions cannot hold a window of 513"):
        section(type="ltg_bert", **SIZES).build(VOCABULARY, 513)


@each_type
def test_a_mask_of_another_shape_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=r"attention_mask: found shape \(1, 3\), expected \(rows, 4\) or"):
        make(kind)(input_ids=ids(1, 4), attention_mask=torch.ones(1, 3))


@each_type
def test_labels_are_refused_since_the_loss_is_elsewhere(kind: str) -> None:
    with pytest.raises(ValueError, match="labels: this model computes no loss"):
        make(kind)(input_ids=ids(1, 4), labels=ids(1, 4))
