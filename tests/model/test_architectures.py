"""Every architecture: published sizes, the tokenizer's ids, no look into the future, files that load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from transformers import AutoModelForCausalLM, PreTrainedModel

from model_foundry.errors import RecipeError
from model_foundry.model import Architecture, Vocabulary
from model_foundry.model.counting import count_parameters, flops_per_token
from model_foundry.model.initialization.gpt2 import GPT2Initialization
from model_foundry.parts import PartOf, known_parts

VOCABULARY = Vocabulary(size=50, bos_id=2, eos_id=0, pad_id=1)
CONTEXT = 16
SIZES = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
SMALL: dict[str, dict[str, Any]] = {
    "gpt2": {"type": "gpt2", "layers": 2, "width": 32, "heads": 4},
    "gpt2 without biases": {"type": "gpt2", "layers": 2, "width": 32, "heads": 4, "bias": False},
    "llama": {"type": "llama", "layers": 2, "width": 32, "heads": 4, "kv_heads": 2},
    **{
        config: {"type": "transformers", "config": config, **SIZES, **more}
        for config, more in {
            "LlamaConfig": {},
            "GPTNeoXConfig": {},
            "Qwen3Config": {"head_dim": 8, "num_key_value_heads": 2},
            "OlmoConfig": {},
            "Olmo2Config": {},
            "Gemma3TextConfig": {"head_dim": 8, "num_key_value_heads": 2},
            "ModernBertDecoderConfig": {},
            "OlmoeConfig": {"num_experts": 4, "num_experts_per_tok": 2},
            "MixtralConfig": {"num_local_experts": 4, "num_key_value_heads": 2},
            "NanoChatConfig": {},
            "RobertaConfig": {},
        }.items()
    },
    "BloomConfig": {
        "type": "transformers",
        "config": "BloomConfig",
        "n_layer": 2,
        "hidden_size": 32,
        "n_head": 4,
    },
}
ISOLATING = [name for name in SMALL if name not in ("RobertaConfig", "BloomConfig")]

each_architecture = pytest.mark.parametrize("name", SMALL)


def architecture(section: dict[str, Any]) -> Architecture:
    return TypeAdapter(PartOf[Architecture]).validate_python(section)


def build(
    section: dict[str, Any], vocabulary: Vocabulary = VOCABULARY, context: int = CONTEXT
) -> PreTrainedModel:
    return architecture(section).build(vocabulary, context)


def initialized(name: str) -> PreTrainedModel:
    model = build(SMALL[name])
    GPT2Initialization().initialize(model, torch.Generator().manual_seed(5))
    with torch.no_grad():  # larger weights, so that a leak would show far above rounding
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(10)
    model.eval()
    return model


def logits_of(model: PreTrainedModel, ids_BT: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits_BTV: torch.Tensor = model(input_ids=ids_BT, use_cache=False, **more).logits
    return logits_BTV


def random_ids(*shape: int) -> torch.Tensor:
    return torch.randint(3, 50, shape, generator=torch.Generator().manual_seed(7))


def test_every_architecture_that_ships_is_tested_here() -> None:
    assert {section["type"] for section in SMALL.values()} == set(known_parts(Architecture))


@each_architecture
def test_a_token_changes_nothing_before_it(name: str) -> None:
    model, ids_BT = initialized(name), random_ids(2, CONTEXT)
    before_BTV = logits_of(model, ids_BT)

    for place in (1, 8, CONTEXT - 1):
        changed_BT = ids_BT.clone()
        changed_BT[:, place] = (changed_BT[:, place] - 3 + 1) % 47 + 3
        after_BTV = logits_of(model, changed_BT)

        assert torch.allclose(after_BTV[:, :place], before_BTV[:, :place], atol=1e-5)
        assert (after_BTV[:, place] - before_BTV[:, place]).abs().max() > 1e-2


@pytest.mark.parametrize("name", ISOLATING)
def test_packed_documents_do_not_see_each_other(name: str) -> None:
    model, ids_BT = initialized(name), random_ids(1, CONTEXT)
    positions_BT = torch.cat([torch.arange(9), torch.arange(CONTEXT - 9)])[None]

    packed_BTV = logits_of(model, ids_BT, position_ids=positions_BT)
    alone_BTV = logits_of(model, ids_BT[:, 9:])

    assert torch.allclose(packed_BTV[:, 9:], alone_BTV, atol=1e-5)


@each_architecture
def test_the_config_has_the_special_ids_of_the_tokenizer(name: str) -> None:
    model = build(SMALL[name])

    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == 50
    assert (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id) == (2, 0, 1)
    assert model.generation_config is not None
    assert model.generation_config.eos_token_id == 0


@each_architecture
def test_a_fresh_model_trains_in_float32_without_a_cache_but_generates_with_one(name: str) -> None:
    model = build(SMALL[name])

    assert model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.use_cache is False
    assert model.generation_config is not None
    assert model.generation_config.use_cache is True


@each_architecture
def test_building_draws_nothing_from_the_ambient_generator(name: str) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)

    torch.manual_seed(11)
    build(SMALL[name])

    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_weights_are_not_a_number_until_initialized(name: str) -> None:
    model = build(SMALL[name])

    assert all(parameter.isnan().all() for parameter in model.parameters())


@each_architecture
def test_the_saved_folder_gives_the_same_logits_anywhere(name: str, tmp_path: Path) -> None:
    model, ids_BT = initialized(name), random_ids(2, CONTEXT)

    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)

    assert type(loaded) is type(model)
    assert torch.equal(logits_of(loaded.eval(), ids_BT), logits_of(model, ids_BT))


@each_architecture
def test_can_be_built_without_memory_for_counting(name: str) -> None:
    with torch.device("meta"):
        model = build(SMALL[name])

    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert count_parameters(model) == count_parameters(build(SMALL[name]))


@pytest.mark.parametrize("name", ["gpt2", "llama", "LlamaConfig"])
def test_padding_is_never_the_end_of_a_document(name: str) -> None:
    model = build(SMALL[name], Vocabulary(size=50, eos_id=0, pad_id=0))

    assert model.config.eos_token_id == 0
    assert model.config.pad_token_id is None


@pytest.mark.parametrize("name", [name for name in SMALL if name != "BloomConfig"])  # ALiBi has no limit
def test_a_context_that_does_not_fit_is_refused_with_both_numbers(name: str) -> None:
    section = SMALL[name]
    key = {"gpt2": "positions", "llama": "positions"}.get(section["type"], "max_position_embeddings")

    with pytest.raises(
        RecipeError, match=rf"model\.{key}: .*[86] positions .* window of 16 tokens.*data\.context to"
    ):
        build({**section, key: 8})


def test_positions_beside_those_of_the_context_are_allowed() -> None:
    assert build({**SMALL["gpt2"], "positions": 64}).get_parameter("transformer.wpe.weight").shape == (64, 32)


@pytest.mark.parametrize(
    ("section", "total"),
    [
        ({"type": "gpt2", "layers": 12, "width": 768, "heads": 12}, 124_439_808),
        ({"type": "gpt2", "layers": 24, "width": 1024, "heads": 16}, 354_823_168),
        ({"type": "gpt2", "layers": 48, "width": 1600, "heads": 25}, 1_557_611_200),
    ],
)
def test_gpt2_has_the_published_numbers_of_parameters(section: dict[str, Any], total: int) -> None:
    with torch.device("meta"):
        model = build(section, Vocabulary(50257, 50256, 50256), 1024)

    assert count_parameters(model)["total"] == total


SMOLLM = {"layers": 30, "width": 576, "heads": 9, "kv_heads": 3, "feed_forward": 1536, "tie_embeddings": True}
TINYLLAMA = {"layers": 22, "width": 2048, "heads": 32, "kv_heads": 4, "feed_forward": 5632}
STORIES = {"layers": 6, "width": 288, "heads": 6, "tie_embeddings": True}  # 768 = 8/3 * 288, so the default
PYTHIA = {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 2048}


@pytest.mark.parametrize(
    ("section", "size", "total"),
    [
        ({"type": "llama", **SMOLLM}, 49152, 134_515_008),
        ({"type": "llama", **TINYLLAMA}, 32000, 1_100_048_384),
        ({"type": "llama", **STORIES}, 32000, 15_191_712),
        ({"type": "transformers", "config": "GPTNeoXConfig", **PYTHIA}, 50304, 70_426_624),
    ],
)
def test_others_have_the_published_numbers_of_parameters(
    section: dict[str, Any], size: int, total: int
) -> None:
    with torch.device("meta"):
        model = build(section, Vocabulary(size), 256)

    assert count_parameters(model)["total"] == total


def test_the_feed_forward_of_llama_is_rounded_up_to_a_multiple_of_32() -> None:
    sizes = [
        build({"type": "llama", "layers": 1, "width": width, "heads": 2}).config.intermediate_size
        for width in (12, 32, 96, 100)
    ]

    assert sizes == [32, 96, 256, 288]


def test_parameters_are_counted_once_and_by_kind() -> None:
    tied, untied = (build({**SMALL["llama"], "tie_embeddings": tie}) for tie in (True, False))

    per_layer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 96 + 2 * 32
    assert count_parameters(tied) == {
        "total": 50 * 32 + 2 * per_layer + 32,
        "embedding": 50 * 32,
        "other": 2 * per_layer + 32,
    }
    assert count_parameters(untied)["total"] == count_parameters(tied)["total"] + 50 * 32
    assert count_parameters(untied)["embedding"] == 50 * 32


def test_operations_of_gpt2_are_the_published_number() -> None:
    with torch.device("meta"):
        model = build({"type": "gpt2", "layers": 12, "width": 768, "heads": 12}, Vocabulary(50257), 1024)

    assert flops_per_token(model, 1024) == 855_166_464


def test_operations_without_attention_are_six_a_parameter() -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_heads": 4, "head_dim": 8, "n_groups": 1}
    with torch.device("meta"):
        model = build({"type": "transformers", "config": "Mamba2Config", **sizes})
        model.config.num_attention_heads = 0

    assert flops_per_token(model, 256) == 6 * count_parameters(model)["total"]


def test_frozen_biases_stay_zero_and_leave_the_function_without_them() -> None:
    model = initialized("gpt2 without biases")

    biases = [parameter for name, parameter in model.named_parameters() if name.endswith("bias")]

    assert len(biases) == 2 * 6 + 1
    assert not any(parameter.any() or parameter.requires_grad for parameter in biases)
    assert all(
        parameter.requires_grad for name, parameter in model.named_parameters() if not name.endswith("bias")
    )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"type": "gpt2", "layers": 1, "width": 30, "heads": 4}, "width 30 is not a multiple of heads 4"),
        ({"type": "llama", "layers": 1, "width": 30, "heads": 4}, "width 30 is not a multiple of heads 4"),
        (
            {"type": "llama", "layers": 1, "width": 12, "heads": 4},
            "width 12 / heads 4 is 3; rotation needs it even",
        ),
        (
            {"type": "llama", "layers": 1, "width": 32, "heads": 4, "kv_heads": 3},
            "heads 4 is not a multiple of kv_heads 3",
        ),
        ({"type": "gpt2", "layers": 1, "width": 32, "heads": 4, "dropout": 1.0}, "less than 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused_with_both_numbers(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        architecture(section)


def test_dropout_reaches_every_place_that_the_class_has() -> None:
    gpt2 = build({**SMALL["gpt2"], "dropout": 0.25}).config
    llama = build({**SMALL["llama"], "dropout": 0.25}).config

    assert (gpt2.resid_pdrop, gpt2.embd_pdrop, gpt2.attn_pdrop) == (0.25, 0.25, 0.25)
    assert llama.attention_dropout == 0.25


def test_an_unknown_activation_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"model\.activation: .*'gelu_neu'\. Did you mean 'gelu_new'\?"):
        build({**SMALL["gpt2"], "activation": "gelu_neu"})
