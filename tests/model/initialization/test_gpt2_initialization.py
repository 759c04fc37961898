"""GPT-2's initialisation: deviations by class, neutral norms, one generator, no parameter forgotten."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from model_foundry.errors import RecipeError
from model_foundry.model import Vocabulary
from model_foundry.model.gpt2 import GPT2
from model_foundry.model.initialization import Drawing
from model_foundry.model.initialization._distributions import Normal
from model_foundry.model.initialization.gpt2 import GPT2Initialization
from model_foundry.model.llama import Llama
from model_foundry.model.transformers import Transformers

VOCABULARY = Vocabulary(512, eos_id=0, pad_id=1)
SIZES: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 96,
}
MODELS = {
    "gpt2": GPT2(layers=2, width=64, heads=4),
    "llama": Llama(layers=2, width=64, heads=4, kv_heads=2),
    "neox": Transformers(config="GPTNeoXConfig", **SIZES),
    "gemma": Transformers(config="Gemma3TextConfig", **SIZES, head_dim=16, num_key_value_heads=2),
    "mixtral": Transformers(config="MixtralConfig", **SIZES, num_local_experts=4, num_key_value_heads=2),
    "bert": Transformers(config="BertConfig", **SIZES),
}
RESIDUAL = {
    "gpt2": ("attn.c_proj.weight", "mlp.c_proj.weight"),
    "llama": ("o_proj.weight", "down_proj.weight"),
    "neox": ("attention.dense.weight", "dense_4h_to_h.weight"),
    "gemma": ("o_proj.weight", "down_proj.weight"),
    "mixtral": ("o_proj.weight", "experts.down_proj"),
    "bert": ("attention.output.dense.weight", "output.dense.weight"),
}

each_model = pytest.mark.parametrize("name", MODELS)


def initialized(name: str, seed: int = 1) -> PreTrainedModel:
    model = MODELS[name].build(VOCABULARY, 64)
    with torch.no_grad():  # what was there must not matter
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    GPT2Initialization().initialize(model, torch.Generator().manual_seed(seed))
    return model


@each_model
def test_each_matrix_has_its_standard_deviation_within_three_standard_errors(name: str) -> None:
    matrices = [(key, value) for key, value in initialized(name).named_parameters() if value.ndim >= 2]
    residual = [key for key, _ in matrices if key.endswith(RESIDUAL[name])]

    assert len(residual) == 4
    for key, matrix in matrices:
        std = 0.02 / math.sqrt(2 * 2) if key in residual else 0.02
        values = matrix.detach().flatten()
        values = values[values != 0]  # a padding row is zero
        assert values.std().item() == pytest.approx(std, abs=3 * std / math.sqrt(2 * len(values))), key
        assert values.mean().item() == pytest.approx(0, abs=3.5 * std / math.sqrt(len(values))), key


@each_model
def test_biases_are_zero_and_norms_scale_by_one(name: str) -> None:
    model = initialized(name)

    neutral = 0.0 if name == "gemma" else 1.0  # Gemma's norms multiply by (1 + weight)
    for key, vector in model.named_parameters():
        if vector.ndim == 1:
            assert set(vector.tolist()) == {0.0 if key.endswith("bias") else neutral}, key


def test_gpt2_124m_has_the_published_standard_deviation_of_its_projections() -> None:
    model = GPT2(layers=12, width=64, heads=4).build(Vocabulary(64), 8)

    GPT2Initialization().initialize(model, torch.Generator().manual_seed(1))

    projections = [value for key, value in model.named_parameters() if key.endswith("c_proj.weight")]
    assert torch.cat([value.flatten() for value in projections]).std().item() == pytest.approx(
        0.0040825, rel=0.01
    )


@each_model
def test_equal_seeds_give_equal_weights_and_others_do_not(name: str) -> None:
    first, second, other = (initialized(name, seed).state_dict() for seed in (4, 4, 5))

    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_draws_from_the_given_generator_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)

    torch.manual_seed(11)
    initialized("llama")

    assert torch.equal(torch.rand(3), expected)


def test_a_tied_weight_is_drawn_once() -> None:
    tied = initialized("gpt2")
    generator = torch.Generator().manual_seed(1)

    embedding = torch.empty(512, 64).normal_(0.0, 0.02, generator=generator)
    positions = torch.empty(64, 64).normal_(0.0, 0.02, generator=generator)

    assert tied.get_output_embeddings().weight is tied.get_input_embeddings().weight
    assert torch.equal(tied.get_parameter("transformer.wte.weight"), embedding)
    assert torch.equal(tied.get_parameter("transformer.wpe.weight"), positions)


def test_the_padding_row_is_zero_where_the_model_has_one() -> None:
    llama, gpt2 = (initialized(name).get_input_embeddings() for name in ("llama", "gpt2"))

    assert llama.padding_idx == 1
    assert not llama.weight[1].any()
    assert gpt2.padding_idx is None
    assert gpt2.weight[1].any()


@each_model
def test_an_untrained_model_knows_nothing(name: str) -> None:
    model = initialized(name).eval()
    ids_BT = torch.randint(2, 512, (16, 64), generator=torch.Generator().manual_seed(2))

    with torch.no_grad():
        logits_BTV = model(input_ids=ids_BT[:, :-1]).logits
    loss = nn.functional.cross_entropy(logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten())

    assert loss.item() == pytest.approx(math.log(512), abs=0.05)


def test_a_parameter_elsewhere_takes_as_much_from_the_generator_as_one_here() -> None:
    here, elsewhere = nn.Parameter(torch.empty(5, 7)), nn.Parameter(torch.empty(5, 7, device="meta"))
    first, second = (torch.Generator().manual_seed(1) for _ in range(2))

    with torch.no_grad():
        Drawing("here", "matrix", here, Normal(0.02)).draw(first)
        Drawing("elsewhere", "matrix", elsewhere, Normal(0.02)).draw(second)

    assert torch.equal(first.get_state(), second.get_state())


def test_the_standard_deviation_can_be_another() -> None:
    model = MODELS["gpt2"].build(VOCABULARY, 64)

    GPT2Initialization(std=0.05).initialize(model, torch.Generator().manual_seed(1))

    embedding, projection = model.transformer.wte.weight, model.transformer.h[0].mlp.c_proj.weight
    assert embedding.std().item() == pytest.approx(0.05, rel=0.02)
    assert projection.std().item() == pytest.approx(0.05 / 2, rel=0.02)


def test_a_parameter_without_a_rule_is_named() -> None:
    model = GPT2(layers=1, width=8, heads=2).build(Vocabulary(12), 4)
    model.get_submodule("transformer.h.0").register_parameter("gate", nn.Parameter(torch.zeros(3)))

    with pytest.raises(
        RecipeError, match=r"no rule for the parameter transformer\.h\.0\.gate of a GPT2Block .*\(3,\)"
    ):
        GPT2Initialization().initialize(model, torch.Generator())


def test_residual_projections_under_unknown_names_are_not_passed_over() -> None:
    model = Llama(layers=2, width=8, heads=2).build(Vocabulary(12), 4)
    block = model.get_submodule("model.layers.0.self_attn")
    block.register_module("to_out", block.get_submodule("o_proj"))
    del block.o_proj

    with pytest.raises(
        RecipeError, match=r"2 layers should have 4 projections .* and 3 of LlamaForCausalLM are known"
    ):
        GPT2Initialization().initialize(model, torch.Generator())


def test_a_model_that_does_not_count_its_layers_is_refused() -> None:
    model = Llama(layers=1, width=8, heads=2).build(Vocabulary(12), 4)
    model.config = PreTrainedConfig()

    with pytest.raises(RecipeError, match="LlamaForCausalLM does not say how many layers it has"):
        GPT2Initialization().initialize(model, torch.Generator())
