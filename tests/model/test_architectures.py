"""Every architecture: published sizes, the tokenizer's ids, no look into the future, files that load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from model_foundry.errors import RecipeError
from model_foundry.model import Architecture, Vocabulary
from model_foundry.model.counting import count_parameters
from model_foundry.model.loading import load_model
from model_foundry.parts import find_part, known_parts
from tests.model.small import (
    ATTENDING,
    CONTEXT,
    OWN,
    SMALL,
    architecture,
    build,
    initialized,
    logits_of,
    looking,
    random_ids,
)

ISOLATING = [name for name in looking("causal", "any") if name in ATTENDING]
ISOLATING += ["LlamaConfig", "Gemma3TextConfig", "ModernBertDecoderConfig", "MixtralConfig", "NanoChatConfig"]
LIMITED = [name for name in OWN if "positions" in find_part(Architecture, name).model_fields]

each_architecture = pytest.mark.parametrize("name", SMALL)


def changed_at(ids_BT: torch.Tensor, place: int) -> torch.Tensor:
    changed_BT = ids_BT.clone()
    changed_BT[:, place] = (changed_BT[:, place] - 3 + 1) % 47 + 3
    return changed_BT


def test_every_architecture_that_ships_is_tested_here() -> None:
    assert {section["type"] for section in SMALL.values()} == set(known_parts(Architecture))
    assert set(looking("causal", "any", "bidirectional")) == set(SMALL)
    assert len(looking("any")) >= 9
    assert len(looking("bidirectional")) >= 4


@pytest.mark.parametrize("name", looking("causal", "any"))
def test_a_token_changes_nothing_before_it(name: str) -> None:
    model, ids_BT = initialized(SMALL[name], factor=10), random_ids(2, CONTEXT)
    before_BTV = logits_of(model, ids_BT)

    for place in (1, 8, CONTEXT - 1):
        after_BTV = logits_of(model, changed_at(ids_BT, place))

        assert torch.allclose(after_BTV[:, :place], before_BTV[:, :place], atol=1e-5)
        assert (after_BTV[:, place] - before_BTV[:, place]).abs().max() > 1e-2


@pytest.mark.parametrize("name", looking("bidirectional"))
def test_a_token_changes_what_stands_on_either_side_of_it(name: str) -> None:
    model, ids_BT = initialized(SMALL[name], factor=10), random_ids(2, CONTEXT)
    before_BTV = logits_of(model, ids_BT)

    change_T = (logits_of(model, changed_at(ids_BT, 8)) - before_BTV).abs().amax(dim=(0, 2))

    assert change_T.min() > 1e-4


@pytest.mark.parametrize("name", looking("any"))
def test_a_mask_of_the_callers_lets_each_row_look_as_it_says(name: str) -> None:
    model, ids_BT = initialized(SMALL[name], factor=10), random_ids(2, CONTEXT)
    causal_TT = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).tril()
    mask_B1TT = torch.stack([causal_TT, torch.ones_like(causal_TT)])[:, None]
    plain_BTV = logits_of(model, ids_BT)

    masked_BTV = logits_of(model, ids_BT, attention_mask=mask_B1TT)
    later_BTV = logits_of(model, changed_at(ids_BT, CONTEXT - 1), attention_mask=mask_B1TT)

    assert torch.allclose(masked_BTV[0], plain_BTV[0], atol=1e-4)
    assert torch.allclose(later_BTV[0, :-1], masked_BTV[0, :-1], atol=1e-4)
    assert (later_BTV[1, 0] - masked_BTV[1, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("name", [name for name in ATTENDING if name in looking("any")])
def test_a_mask_of_the_callers_is_promised_only_where_the_kernel_takes_it(name: str) -> None:
    section = {**SMALL[name], "attention": "eager"}
    model, ids_BT = initialized(section, factor=10), random_ids(1, CONTEXT)
    causal_11TT = torch.ones(1, 1, CONTEXT, CONTEXT, dtype=torch.bool).tril()

    masked_BTV = logits_of(model, ids_BT, attention_mask=causal_11TT)

    assert architecture(section).direction == "causal"
    assert not torch.allclose(masked_BTV, logits_of(model, ids_BT), atol=1e-2)  # truths are added to scores


@pytest.mark.parametrize("name", ISOLATING)
def test_packed_documents_do_not_see_each_other(name: str) -> None:
    model, ids_BT = initialized(SMALL[name], factor=10), random_ids(1, CONTEXT)
    positions_BT = torch.cat([torch.arange(9), torch.arange(CONTEXT - 9)])[None]

    packed_BTV = logits_of(model, ids_BT, position_ids=positions_BT)
    alone_BTV = logits_of(model, ids_BT[:, 9:])

    assert torch.allclose(packed_BTV[:, 9:], alone_BTV, atol=1e-5)


@each_architecture
def test_the_config_has_the_special_ids_of_the_tokenizer(name: str) -> None:
    model = build(SMALL[name])

    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == 50
    assert (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id) == (2, 0, 1)
    if model.can_generate():
        assert model.generation_config is not None
        assert model.generation_config.eos_token_id == 0


@each_architecture
def test_a_fresh_model_trains_in_float32_without_a_cache_but_generates_with_one(name: str) -> None:
    model = build(SMALL[name])

    assert model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.use_cache is False
    if model.can_generate():
        assert model.generation_config is not None
        assert model.generation_config.use_cache is True


@each_architecture
def test_building_draws_nothing_from_the_ambient_generator(name: str) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)

    torch.manual_seed(11)
    build(SMALL[name])

    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", OWN)
def test_weights_are_not_a_number_until_initialized(name: str) -> None:
    model = build(SMALL[name])

    assert all(parameter.isnan().all() for parameter in model.parameters())


@each_architecture
def test_the_saved_folder_gives_the_same_logits_anywhere(name: str, tmp_path: Path) -> None:
    model, ids_BT = initialized(SMALL[name], factor=10), random_ids(2, CONTEXT)

    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)

    assert type(loaded) is type(model)
    assert torch.equal(logits_of(loaded, ids_BT), logits_of(model, ids_BT))


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


@pytest.mark.parametrize("name", [*LIMITED, "LlamaConfig"])
def test_a_context_that_does_not_fit_is_refused_with_both_numbers(name: str) -> None:
    key = "positions" if name in LIMITED else "max_position_embeddings"

    with pytest.raises(
        RecipeError, match=rf"model\.{key}: .*[86] positions .* window of 16 tokens.*data\.context to"
    ):
        build({**SMALL[name], key: 8})


def test_positions_beside_those_of_the_context_are_allowed() -> None:
    assert build({**SMALL["gpt2"], "positions": 64}).get_parameter("transformer.wpe.weight").shape == (64, 32)


def test_the_feed_forward_of_llama_is_rounded_up_to_a_multiple_of_32() -> None:
    sizes = [
        build({"type": "llama", "layers": 1, "width": width, "heads": 2}).config.intermediate_size
        for width in (12, 32, 96, 100)
    ]

    assert sizes == [32, 96, 256, 288]


def test_frozen_biases_stay_zero_and_leave_the_function_without_them() -> None:
    model = initialized(SMALL["gpt2 without biases"])

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
    fields = {
        "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
        "gpt_neox": ("attention_dropout", "hidden_dropout"),
        "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
        "roberta": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
        "deberta_v2": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
        "modernbert": ("attention_dropout", "embedding_dropout", "mlp_dropout"),
        **dict.fromkeys(
            ("llama", "qwen3", "olmo", "olmo2", "smollm3", "olmoe", "qwen3_moe"), ("attention_dropout",)
        ),
    }

    for name, keys in fields.items():
        config = build({**SMALL[name], "dropout": 0.25}).config
        assert [getattr(config, key) for key in keys] == [0.25] * len(keys), name


def test_an_unknown_activation_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"model\.activation: .*'gelu_neu'\. Did you mean 'gelu_new'\?"):
        build({**SMALL["gpt2"], "activation": "gelu_neu"})


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "olmo2", "bert", "mamba"])
def test_more_rows_than_the_tokenizer_has_entries_are_padding(name: str) -> None:
    model = build({**SMALL[name], "vocab_size": 64})

    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == 64


def test_fewer_rows_than_the_tokenizer_has_entries_are_refused() -> None:
    with pytest.raises(
        RecipeError, match=r"model\.vocab_size: 49 is less than the 50 entries of the tokenizer"
    ):
        build({**SMALL["llama"], "vocab_size": 49})


def test_roberta_without_a_padding_id_is_refused_with_what_to_do() -> None:
    for vocabulary in (Vocabulary(50, eos_id=0), Vocabulary(50, eos_id=0, pad_id=0)):
        with pytest.raises(RecipeError, match=r"positions from the padding id.*padding token, or type: bert"):
            build(SMALL["roberta"], vocabulary)


def test_roberta_counts_its_positions_behind_the_padding_id() -> None:
    model = build({**SMALL["roberta"], "positions": 20}, Vocabulary(50, eos_id=0, pad_id=4))

    assert model.config.max_position_embeddings == 25


@pytest.mark.parametrize("name", ATTENDING)
def test_plain_attention_gives_the_logits_of_the_kernel(name: str) -> None:
    models = [initialized({**SMALL[name], "attention": kind}) for kind in ("sdpa", "eager")]
    ids_BT = random_ids(2, CONTEXT)

    sdpa_BTV, eager_BTV = (logits_of(model, ids_BT) for model in models)

    assert [model.config._attn_implementation for model in models] == ["sdpa", "eager"]
    assert torch.allclose(sdpa_BTV, eager_BTV, atol=1e-5)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="here the kernels may be usable")
@pytest.mark.parametrize(
    ("name", "attention", "message"),
    [
        (
            "llama",
            "flash_attention_2",
            "needs the package flash-attn and a GPU.*leave model.attention at sdpa",
        ),
        ("bert", "flash_attention_3", "needs the package flash-attn-3 and a GPU.*Install flash-attn-3"),
        ("llama", "flex_attention", "no backward pass of flex_attention on the CPU, only the forward one"),
        ("gpt2", "flex_attention", "transformers has no flex_attention for GPT2LMHeadModel.*write eager"),
    ],
)
def test_a_kernel_that_is_not_here_is_refused_with_what_to_do(
    name: str, attention: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=rf"model\.attention: .*{message}"):
        build({**SMALL[name], "attention": attention})


@pytest.mark.parametrize("name", ["mamba", "mamba2"])
def test_a_state_space_model_without_its_kernels_is_warned_of(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with torch.device("meta"):
        build(SMALL[name])
    assert caplog.text == ""

    build(SMALL[name])

    assert "mamba-ssm and causal-conv1d not found" in caplog.text
    assert "many times slower" in caplog.text
