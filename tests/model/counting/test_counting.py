"""Counts: published integers, and torch's own counter of operations as the oracle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from model_foundry.model import Vocabulary
from model_foundry.model.counting import ParameterCount, count_parameters, flops_per_token
from model_foundry.model.presets import all_presets
from tests.model.small import ATTENDING, OWN, SMALL, architecture, build, initialized, looking, random_ids

PUBLISHED = {
    "gpt2-124m": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "pythia-14m": 14_067_712,
    "pythia-31m": 30_494_720,
    "pythia-70m": 70_426_624,
    "pythia-160m": 162_322_944,
    "pythia-410m": 405_334_016,
    "pythia-1b": 1_011_781_632,
    "pythia-1.4b": 1_414_647_808,
    "smollm-135m": 134_515_008,
    "smollm-360m": 361_821_120,
    "smollm-1.7b": 1_711_376_384,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "tinyllama-1.1b": 1_100_048_384,
    "stories260k": 260_032,
    "stories15m": 15_191_712,
    "stories42m": 41_689_600,
    "stories110m": 109_529_856,
    "qwen3-0.6b": 596_049_920,
    "olmo2-1b": 1_484_916_736,
    "olmo-1b": 1_176_764_416,
    "mamba-130m": 129_135_360,
    "mamba-370m": 371_516_416,
    "mamba2-130m": 128_989_632,
    "bert-base": 109_514_298,
    "bert-large": 335_174_458,
    "roberta-base": 124_697_433,
    "modernbert-base": 149_655_232,
    "modernbert-large": 395_881_664,
    "deberta-v3-base": 184_551_780,
    "olmoe-1b-7b": 6_919_161_856,
    "qwen3-30b-a3b": 30_532_122_624,
    "smollm3-3b": 3_075_098_624,
}
PYTHIA_WITHOUT_EMBEDDINGS = {  # table of EleutherAI/pythia, and of Biderman et al. 2023, table 1
    "pythia-14m": 1_189_888,
    "pythia-31m": 4_739_072,
    "pythia-70m": 18_915_328,
    "pythia-160m": 85_056_000,
    "pythia-410m": 302_311_424,
    "pythia-1b": 805_736_448,
    "pythia-1.4b": 1_208_602_624,
}
LADDER = {30: "olmo2-30m", 60: "olmo2-60m", 100: "olmo2-100m", 190: "olmo2-190m", 370: "olmo2-370m"}
LADDER |= {600: "olmo2-600m", 760: "olmo2-760m"}
STATE_SPACE = ("mamba", "mamba2")
CONTEXT = 24


def of_preset(name: str, **fields: Any) -> PreTrainedModel:
    preset = all_presets()[name]
    with torch.device("meta"):
        return build(
            {"type": preset.type, "preset": name, **fields},
            Vocabulary(preset.vocabulary, pad_id=preset.pad_id),
            preset.context,
        )


def counts(name: str, **fields: Any) -> ParameterCount:
    return count_parameters(of_preset(name, **fields))


def counted_by_torch(model: PreTrainedModel) -> dict[str, float]:
    """Return the operations a token, by kind, of a forward and backward pass of two windows."""
    with FlopCounterMode(display=False) as counter:
        model(input_ids=random_ids(2, CONTEXT), use_cache=False).logits.sum().backward()
    by_kind = counter.get_flop_counts()["Global"]
    return {str(kind).removeprefix("aten."): flops / (2 * CONTEXT) for kind, flops in by_kind.items()}


def added(model: PreTrainedModel) -> int:
    """Return how many parameters are only added, or multiplied number by number: biases and norms."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.ndim == 1)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_has_the_published_number_of_parameters(name: str):
    assert counts(name)["total"] == PUBLISHED[name]


def test_mamba2_without_its_tied_output_is_as_large_as_is_said():
    assert counts("mamba2-130m", tie_embeddings=False)["total"] == 167_610_816


@pytest.mark.parametrize("name", PYTHIA_WITHOUT_EMBEDDINGS)
def test_pythia_without_embeddings_is_counted_as_in_its_table(name: str):
    assert counts(name)["non_embedding"] == PYTHIA_WITHOUT_EMBEDDINGS[name]


@pytest.mark.parametrize(("millions", "name"), LADDER.items(), ids=LADDER.values())
def test_a_rung_of_the_ladder_is_named_by_its_size_without_the_input_embedding(millions: int, name: str):
    count = counts(name)

    assert (count["total"] - count["embedding"]) / 1e6 == pytest.approx(millions, rel=0.05)


def test_babyberta_has_about_eight_and_a_half_million_parameters():
    assert counts("babyberta")["total"] == pytest.approx(8.5e6, rel=0.01)


@pytest.mark.parametrize(("name", "billions"), [("qwen3-30b-a3b", 3.3), ("olmoe-1b-7b", 1.3)])
def test_a_mixture_counts_the_experts_that_a_token_is_sent_to(name: str, billions: float):
    count = counts(name)  # the papers say 3.3 and 1.3 billion active parameters

    assert count["active"] / 1e9 == pytest.approx(billions, abs=0.06)
    assert count["active"] < count["total"]


def test_parameters_are_counted_once_and_by_kind():
    tied, untied = (
        build({"type": "llama", "layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "tie_embeddings": tie})
        for tie in (True, False)
    )

    inner = 2 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 96 + 2 * 32) + 32
    assert count_parameters(tied) == {
        "total": 50 * 32 + inner,
        "embedding": 50 * 32,
        "output": 0,
        "non_embedding": inner,
        "active": 50 * 32 + inner,
    }
    assert count_parameters(untied) == {
        "total": 2 * 50 * 32 + inner,
        "embedding": 50 * 32,
        "output": 50 * 32,
        "non_embedding": inner,
        "active": 2 * 50 * 32 + inner,
    }


def test_operations_of_gpt2_are_the_published_number():
    assert flops_per_token(of_preset("gpt2-124m"), 1024) == 855_166_464


@pytest.mark.parametrize("name", [name for name in ATTENDING if name in looking("any")])
def test_operations_of_attention_are_those_that_torch_counts(name: str):
    model = initialized({**SMALL[name], "attention": "eager"}, context=CONTEXT)
    if hasattr(model.config, "num_experts_per_tok"):
        model.set_experts_implementation("eager")

    assert flops_per_token(model, CONTEXT) - 6 * added(model) == sum(counted_by_torch(model).values())


@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert"])
def test_operations_of_encoders_are_those_that_torch_counts(name: str):
    section = {**SMALL[name], "attention": "eager"}
    if name == "modernbert":
        section["local_attention"] = CONTEXT  # plain attention computes what lies outside of a window, too
    model = initialized(section, context=CONTEXT)

    assert flops_per_token(model, CONTEXT) - 6 * added(model) == sum(counted_by_torch(model).values())


def test_a_local_layer_counts_its_window():
    model = build({**SMALL["modernbert"], "local_attention": 8}, context=CONTEXT)
    wide = build({**SMALL["modernbert"], "local_attention": 16}, context=CONTEXT)

    assert [kind == "sliding_attention" for kind in model.config.layer_types] == [False, True, True]
    assert flops_per_token(wide, CONTEXT) - flops_per_token(model, CONTEXT) == 2 * 12 * 32 * 8


def test_operations_of_deberta_are_those_that_torch_counts():
    model = initialized({**SMALL["deberta_v2"], "position_buckets": 8}, context=CONTEXT)

    positions = 2 * 2 * (3 * 2 * (16 * 32 * 32))  # keys and queries of 16 positions, 2 layers: once a batch
    ours = flops_per_token(model, CONTEXT) - 6 * added(model)
    assert ours + positions / (2 * CONTEXT) == sum(counted_by_torch(model).values())


@pytest.mark.parametrize("name", ["ltg_bert", "gpt_bert"])
def test_operations_of_our_own_encoders_are_those_that_torch_counts(name: str):
    model = initialized({**SMALL[name], "position_buckets": 4}, context=CONTEXT)

    positions = 2 * 2 * (3 * 2 * (7 * 32 * 32))  # keys and queries of 7 positions, 2 layers: once a batch
    ours = flops_per_token(model, CONTEXT) - 6 * added(model)
    assert ours + positions / (2 * CONTEXT) == sum(counted_by_torch(model).values())


def test_operations_of_a_recurrent_layer_are_those_that_torch_counts():
    model = initialized(SMALL["gru"], context=CONTEXT)  # torch does not look into its LSTM's kernel

    first = 2 * 2 * (96 * 32)  # no gradient goes to the state before the first token: of 2 layers
    ours = flops_per_token(model, CONTEXT) - 6 * added(model)
    assert ours - first / CONTEXT == sum(counted_by_torch(model).values())


@pytest.mark.parametrize("name", STATE_SPACE)
def test_operations_of_mamba_are_those_that_torch_counts_of_its_linear_layers(name: str):
    model = initialized(SMALL[name], context=CONTEXT)
    state = 64 * SMALL[name]["state"] * 2  # channels, entries of each one's state, layers
    convolutions = sum(
        module.weight.numel() for module in model.modules() if isinstance(module, nn.Conv1d)
    )  # whose operations torch miscounts where they are grouped

    by_torch = counted_by_torch(model)

    ours = flops_per_token(model, CONTEXT) - 6 * (added(model) + convolutions)
    decays = sum(parameter.numel() for key, parameter in model.named_parameters() if key.endswith("A_log"))
    ours += 6 * decays if name == "mamba2" else 0  # vectors there, and so in what is added already
    assert ours == by_torch["mm"] + 18 * state
    if name == "mamba":  # one of the three multiply-adds of a state is a product of matrices
        assert by_torch["bmm"] == 6 * state


def test_an_input_embedding_of_its_own_is_looked_up_and_costs_nothing():
    tied, untied = (build({**SMALL["llama"], "tie_embeddings": tie}) for tie in (True, False))

    assert flops_per_token(tied, CONTEXT) == flops_per_token(untied, CONTEXT)


def test_what_is_counted_is_of_the_model_and_not_of_the_device():
    for name in OWN:
        with torch.device("meta"):
            meta = architecture(SMALL[name]).build(Vocabulary(50, eos_id=0, pad_id=1), CONTEXT)
        model = build(SMALL[name], Vocabulary(50, eos_id=0, pad_id=1), CONTEXT)

        assert count_parameters(meta) == count_parameters(model), name
        assert flops_per_token(meta, CONTEXT) == flops_per_token(model, CONTEXT), name
