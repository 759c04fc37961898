"""muP: its rules by kind of tensor, folded so that nothing of it is left in the forward pass."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from model_foundry.errors import RecipeError
from model_foundry.model import Architecture, Vocabulary
from model_foundry.model.gpt2 import GPT2
from model_foundry.model.initialization.gpt2 import GPT2Initialization
from model_foundry.model.llama import Llama
from model_foundry.model.scaling._widths import at_width
from model_foundry.model.scaling.mup import MuP
from model_foundry.model.transformers import Transformers
from model_foundry.optim.adamw import AdamW
from tests.model.initialization.models import build, recurrent

VOCABULARY = Vocabulary(96)
GPT = GPT2(layers=2, width=64, heads=4)
UNTIED = Llama(layers=2, width=64, heads=4, kv_heads=2, feed_forward=96)


def initialized(architecture: Architecture, scaling: MuP | None, seed: int = 1) -> PreTrainedModel:
    model = architecture.build(VOCABULARY, 16)
    factors = scaling.factors(model) if scaling else {}
    initial = {name: factor.initial for name, factor in factors.items()}
    GPT2Initialization().initialize(model, torch.Generator().manual_seed(seed), initial)
    return model


def test_each_kind_of_tensor_has_the_published_rule():
    model = build("Qwen3Moe")  # width 64, so m is 4; a router, experts, and an untied output layer

    factors = MuP(base_width=16, output_multiplier=3.0, embedding_multiplier=5.0).factors(model)

    assert set(factors) == {name for name, _ in model.named_parameters()}
    expected = {
        "model.embed_tokens.weight": (5, 5),
        "model.layers.0.self_attn.q_proj.weight": (1 / 2, 1 / 4),
        "model.layers.0.self_attn.o_proj.weight": (1 / 2, 1 / 4),
        "model.layers.0.self_attn.q_norm.weight": (1, 1),
        "model.layers.0.mlp.experts.down_proj": (1 / 2, 1 / 4),
        "model.layers.0.mlp.gate.weight": (1 / 4, 1 / 4),
        "model.layers.1.input_layernorm.weight": (1, 1),
        "model.norm.weight": (3 / 4, 3 / 4),
        "lm_head.weight": (1, 1),
    }
    found = {name: (factors[name].initial, factors[name].learning_rate) for name in expected}
    assert found == {name: pytest.approx(pair) for name, pair in expected.items()}


def test_at_the_base_width_it_is_the_plain_model():
    plain, scaled = (initialized(GPT, scaling).state_dict() for scaling in (None, MuP(base_width=64)))

    assert all(torch.equal(plain[key], scaled[key]) for key in plain)


def test_initial_deviations_follow_the_width():
    model = initialized(GPT, MuP(base_width=16))

    block = model.transformer.h[1]
    assert model.transformer.wte.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert block.attn.c_attn.weight.std().item() == pytest.approx(0.02 / 2, rel=0.03)
    assert block.mlp.c_proj.weight.std().item() == pytest.approx(0.02 / 2 / 2, rel=0.03)  # 2 layers
    assert set(model.transformer.ln_f.weight.tolist()) == {0.25}


@pytest.mark.parametrize("architecture", [GPT, UNTIED], ids=["tied", "untied"])
def test_training_is_that_of_multipliers_in_the_forward_pass(architecture: Architecture):
    """The other side has its factors in the forward pass, as nanoGPT-mup does, and plain rates there."""
    scaling = MuP(base_width=16, output_multiplier=2.0, embedding_multiplier=3.0)
    folded = initialized(architecture, scaling).double()
    forward = initialized(architecture, MuP(base_width=16)).double()
    head_input = [
        module for module in forward.modules() if type(module).__name__ in ("LayerNorm", "LlamaRMSNorm")
    ]
    head_input[-1].weight.data.fill_(1.0)
    head_input[-1].register_forward_hook(lambda _module, _inputs, output: output * (2.0 / 4))
    for module in forward.modules():
        if isinstance(module, nn.Embedding):
            module.register_forward_hook(lambda _module, _inputs, output: output * 3.0)
    rates = {name: factor.learning_rate for name, factor in scaling.factors(folded).items()}
    in_layers = re.compile(r"\.(layers|h)\.")
    hidden = {name: rate for name, rate in rates.items() if in_layers.search(name)}
    optimizers = [
        AdamW(learning_rate=0.01, weight_decay=0.0, eps=1e-30).build(model, factors)
        for model, factors in ((folded, rates), (forward, hidden))
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * group["lr_scale"]
    generator = torch.Generator().manual_seed(2)

    for _ in range(4):
        ids_BT = torch.randint(0, 96, (4, 16), generator=generator)
        losses = [model(input_ids=ids_BT, labels=ids_BT).loss for model in (folded, forward)]
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-9)


def test_a_saved_model_gives_the_same_logits_in_plain_transformers(tmp_path: Path):
    model = initialized(GPT, MuP(base_width=16, output_multiplier=2.0, embedding_multiplier=3.0)).eval()
    ids_BT = torch.arange(10)[None]

    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()

    assert torch.equal(loaded(input_ids=ids_BT).logits, model(input_ids=ids_BT).logits)


@pytest.mark.parametrize(
    "name", ["GPTNeoX", "Llama", "Olmo2", "Olmoe", "Bert", "Roberta", "ModernBert", "DebertaV2"]
)
def test_the_logits_follow_the_norm_that_is_scaled(name: str):
    model = build(name)
    scaling = MuP(base_width=16)
    initial = {key: factor.initial for key, factor in scaling.factors(model).items()}
    GPT2Initialization().initialize(model, torch.Generator().manual_seed(1), initial)
    before = {key: value.clone() for key, value in model.state_dict().items()}

    scaling.require_effect(model)

    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_norm_that_adds_one_to_its_weight_is_noticed():
    gemma = Transformers(
        config="Gemma3TextConfig", hidden_size=64, num_hidden_layers=2, num_attention_heads=4, head_dim=16,
        num_key_value_heads=2, intermediate_size=96,
    )  # fmt: skip
    model = initialized(gemma, MuP(base_width=16))

    with pytest.raises(RecipeError, match=r"logits of Gemma3ForCausalLM do not follow the norm.*muP cannot"):
        MuP(base_width=16).require_effect(model)


def test_a_model_without_rules_is_refused():
    with pytest.raises(
        RecipeError, match=r"muP has no rule for recurrent tensors such as cell\.weight_ih_l0"
    ):
        MuP(base_width=16).factors(recurrent())
    with pytest.raises(RecipeError, match=r"muP has no rule for state tensors such as .*A_log of MambaFor"):
        MuP(base_width=16).factors(build("Mamba"))
    with pytest.raises(
        RecipeError, match=r"OlmoForCausalLM has no norm with weights before its output layer"
    ):
        MuP(base_width=16).factors(build("Olmo"))


def granite(attention_multiplier: float) -> PreTrainedModel:
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 96}
    return Transformers(
        config="GraniteConfig", num_key_value_heads=4, attention_multiplier=attention_multiplier, **sizes
    ).build(VOCABULARY, 16)


def test_wider_heads_need_a_scale_of_their_own():
    wide = MuP(base_width=16, base_head_width=8)

    assert wide.factors(granite(math.sqrt(8) / 16))

    with pytest.raises(RecipeError, match=r"heads of 16 dimensions are scaled by 0\.25, expected 0\.176777"):
        wide.factors(GPT.build(VOCABULARY, 16))
    with pytest.raises(RecipeError, match=r"set model\.attention_multiplier to 0\.17677"):
        wide.factors(granite(0.25))


def test_an_architecture_at_another_width_keeps_the_size_of_its_heads():
    wide = at_width(UNTIED, 128)

    assert (wide.width, wide.heads, wide.kv_heads, wide.feed_forward) == (128, 8, 4, 192)
    assert (wide.layers, wide.tie_embeddings) == (2, False)


def test_a_width_that_splits_a_head_is_refused_with_those_that_do_not():
    with pytest.raises(
        RecipeError, match=r"model\.heads: 4 at width 64 is 5\.5 at width 88.*multiples of 16\."
    ):
        at_width(GPT, 88)


def test_an_architecture_that_states_no_width_is_refused():
    with pytest.raises(
        RecipeError, match=r"transformers states no width .*State width, heads and feed-forward"
    ):
        at_width(Transformers(config="LlamaConfig"), 64)
