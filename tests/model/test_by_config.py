"""Any config class of transformers: what is refused, and what it says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.activations import ACT2FN

from model_foundry.errors import RecipeError
from model_foundry.model import Architecture, Vocabulary
from model_foundry.model._by_config import ONE_KERNEL_GELU, SLOW_GELU
from model_foundry.model.transformers import Transformers
from model_foundry.parts import PartOf

SIZES: dict[str, Any] = {
    "num_hidden_layers": 1,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


def build(config: str, *, context: int = 8, **fields: Any) -> PreTrainedModel:
    return Transformers(config=config, **fields).build(Vocabulary(30, eos_id=0, pad_id=1), context)


def test_fields_reach_the_config_and_the_others_have_its_defaults() -> None:
    config = build("LlamaConfig", **SIZES, rms_norm_eps=0.125).config

    assert config.hidden_size == 16
    assert config.rms_norm_eps == 0.125
    assert config.max_position_embeddings == LlamaConfig().max_position_embeddings


def test_is_the_model_that_transformers_builds() -> None:
    ours = build("LlamaConfig", **SIZES)
    theirs = LlamaForCausalLM(ours.config)
    theirs.load_state_dict(ours.state_dict())
    ids_BT = torch.arange(8)[None]

    assert type(ours) is LlamaForCausalLM
    assert torch.equal(ours(input_ids=ids_BT).logits, theirs(input_ids=ids_BT).logits)


def test_a_recipe_reads_back_what_it_wrote() -> None:
    reader = TypeAdapter(PartOf[Architecture])
    part = reader.validate_python({"type": "transformers", "config": "LlamaConfig", **SIZES})
    fields = {"preset": None, "config": "LlamaConfig", "head": "causal", **SIZES}

    assert part.model_dump(mode="json") == {"type": "transformers", **fields}
    assert reader.validate_python(part.model_dump(mode="json")) == part


def test_other_names_that_the_class_has_for_a_field_are_fields_too() -> None:
    assert build("GPT2Config", n_layer=1, n_embd=16, num_attention_heads=2).config.n_head == 2


def test_an_activation_nobody_chose_is_the_same_function_in_one_kernel(tmp_path: Path) -> None:
    sizes = {"n_layer": 2, "n_embd": 16, "n_head": 2}
    torch.manual_seed(1)
    ours = build("GPT2Config", **sizes).eval()
    ours.save_pretrained(tmp_path)
    read = GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    formula = GPT2LMHeadModel(GPT2Config.from_pretrained(tmp_path, activation_function="gelu_new")).eval()
    formula.load_state_dict(ours.state_dict())
    ids_BT = torch.arange(8)[None]

    logits_BTV = ours(input_ids=ids_BT).logits

    assert GPT2Config().activation_function == "gelu_new"
    assert read.config.activation_function == "gelu_pytorch_tanh"
    assert torch.equal(read(input_ids=ids_BT).logits, logits_BTV)
    torch.testing.assert_close(formula(input_ids=ids_BT).logits, logits_BTV, rtol=0, atol=1e-6)


def test_both_ways_to_write_gelu_agree_everywhere_and_a_chosen_one_stays() -> None:
    x = torch.linspace(-20, 20, 100_001)
    by_hand = (
        0.5
        * x.double()
        * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x.double() + 0.044715 * x.double() ** 3)))
    )

    for name in (SLOW_GELU, ONE_KERNEL_GELU):
        torch.testing.assert_close(ACT2FN[name](x).double(), by_hand, rtol=1e-6, atol=1e-6)
    chosen = build("GPT2Config", n_layer=1, n_embd=16, n_head=2, activation_function="gelu_new")
    assert chosen.config.activation_function == "gelu_new"


def test_more_entries_than_the_tokenizer_has_are_allowed() -> None:
    assert build("LlamaConfig", **SIZES, vocab_size=32).config.vocab_size == 32


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        ("LLamaConfig", {}, r"no causal language model for 'LLamaConfig'\. Did you mean 'LlamaConfig'\?"),
        ("T5Config", {}, "no causal language model for 'T5Config'"),
        ("os.system", {}, "no causal language model for 'os.system'"),
        ("Gemma3Config", {}, "Gemma3Config describes more than a text model"),
        ("LlamaConfig", {"hiden_size": 4}, r"model\.hiden_size: .* no field .*Did you mean 'hidden_size'\?"),
        (
            "LlamaConfig",
            {"auto_map": {"AutoConfig": "evil--x.Y"}},
            r"model\.auto_map: LlamaConfig has no field",
        ),
        ("LlamaConfig", {"dtype": "bfloat16"}, r"model\.dtype: LlamaConfig has no field"),
        ("LlamaConfig", {"use_cache": True}, r"model\.use_cache: not for the recipe to set.*Leave it out"),
        ("LlamaConfig", {"eos_token_id": 5}, r"model\.eos_token_id: .*tokenizer sets the special ids"),
        ("LlamaConfig", {"vocab_size": 29}, r"model\.vocab_size: 29 is less than the 30 entries"),
        ("LlamaConfig", {"hidden_size": "wide"}, "cannot build a model from this LlamaConfig: .*hidden_size"),
        (
            "LlamaConfig",
            {**SIZES, "num_attention_heads": 3},
            "cannot build a model from this LlamaConfig: .*3",
        ),
        (
            "BertConfig",
            {**SIZES, "is_decoder": False},
            "BertLMHeadModel sees the tokens that it is to predict.*write head: masked",
        ),
        (
            "BertConfig",
            {**SIZES, "head": "masked", "is_decoder": True},
            "BertForMaskedLM looks back only.*is_decoder to false.*write head: causal",
        ),
        (
            "LlamaConfig",
            {**SIZES, "head": "masked"},
            "no masked language model for 'LlamaConfig'.*such as ElectraConfig",
        ),
    ],
)
def test_mistakes_are_refused_with_a_repair(config: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        build(config, **fields)


@pytest.mark.parametrize("seed", range(5))
def test_what_a_model_looks_at_is_told_whatever_its_weights(seed: int) -> None:
    torch.manual_seed(seed)

    assert type(build("BertConfig", **SIZES, head="masked")).__name__ == "BertForMaskedLM"
    assert type(build("BertConfig", **SIZES)).__name__ == "BertLMHeadModel"
    with pytest.raises(RecipeError, match="sees the tokens"):
        build("BertConfig", **SIZES, is_decoder=False)
    with pytest.raises(RecipeError, match="looks back only"):
        build("BertConfig", **SIZES, head="masked", is_decoder=True)


def test_an_encoder_is_built_as_a_decoder() -> None:
    assert build("BertConfig", **SIZES).config.is_decoder is True


def test_positions_that_begin_after_the_padding_id_are_counted_so() -> None:
    build("RobertaConfig", **SIZES, context=8, max_position_embeddings=10)

    with pytest.raises(
        RecipeError, match="the 8 positions of this RobertaConfig cannot hold a window of 9 tokens"
    ):
        build("RobertaConfig", **SIZES, context=9, max_position_embeddings=10)
