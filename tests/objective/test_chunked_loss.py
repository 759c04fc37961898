"""The loss in chunks against the plain one, which torch computes from all the logits."""

from __future__ import annotations

import copy
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    BertConfig,
    BertForMaskedLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    PreTrainedModel,
)
from transformers.models.olmoe.modeling_olmoe import load_balancing_loss_func

from model_foundry.errors import RecipeError
from model_foundry.objective import IGNORED, Batch, LossSum
from model_foundry.objective import _liger as liger
from model_foundry.objective._cross_entropy import output_layer
from model_foundry.objective.causal_lm import CausalLM

VOCABULARY, ALL = 48, 10**6
LLAMA = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
MODELS: dict[str, Any] = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=16)
    ),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **LLAMA)),
    "bert": lambda: BertForMaskedLM(BertConfig(vocab_size=VOCABULARY, max_position_embeddings=16, **LLAMA)),
    "mamba": lambda: MambaForCausalLM(
        MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, state_size=4)
    ),
}
EVERYTHING = {"z_loss": 0.01, "label_smoothing": 0.1}


def model_of(name: str) -> PreTrainedModel:
    torch.manual_seed(1)
    model: PreTrainedModel = MODELS[name]()
    model.eval()
    return model


def batch_of(rows: int = 3, *, length: int = 11, ignored: float = 0.3) -> Batch:
    generator = torch.Generator().manual_seed(2)
    ids_BT = torch.randint(0, VOCABULARY, (rows, length + 1), generator=generator)
    targets_BT = ids_BT[:, 1:].clone()
    targets_BT[torch.rand(targets_BT.shape, generator=generator) < ignored] = IGNORED
    return Batch(ids_BT=ids_BT[:, :-1], targets_BT=targets_BT)


def loss_and_gradients(
    model: nn.Module, batch: Batch, **settings: Any
) -> tuple[LossSum, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = CausalLM(**settings).loss(model, batch)
    (loss.total / 7).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return loss, {name: gradient.clone() for name, gradient in gradients.items() if gradient is not None}


def assert_equal(chunked: Any, plain: Any, tolerance: float = 1e-6) -> None:
    (loss, gradients), (plain_loss, plain_gradients) = chunked, plain
    assert loss.total.item() == pytest.approx(plain_loss.total.item(), rel=tolerance)
    assert loss.nats.item() == pytest.approx(plain_loss.nats.item(), rel=tolerance)
    extras, plain_extras = (
        {name: value.item() for name, value in found.extras.items()} for found in (loss, plain_loss)
    )
    assert extras == pytest.approx(plain_extras, rel=tolerance, abs=tolerance * plain_loss.total.item())
    assert gradients.keys() == plain_gradients.keys()
    for name, gradient in plain_gradients.items():
        largest = gradient.abs().max().item()
        torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=tolerance * max(1, largest))


@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["plain", "smoothed, z-loss"])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_all_logits_at_once(name: str, settings: dict[str, float]) -> None:
    model, batch = model_of(name), batch_of()

    assert output_layer(model) is model.get_output_embeddings()
    assert_equal(
        loss_and_gradients(model, batch, chunk_tokens=4, **settings),
        loss_and_gradients(model, batch, chunk_tokens=ALL, **settings),
    )


def test_chunks_change_nothing_in_float64() -> None:
    model, batch = model_of("llama").double(), batch_of()

    plain = loss_and_gradients(model, batch, chunk_tokens=ALL, **EVERYTHING)

    for chunk in (1, 7, 32):
        assert_equal(loss_and_gradients(model, batch, chunk_tokens=chunk, **EVERYTHING), plain, 1e-13)


@pytest.mark.parametrize("chunk", [3, ALL])
def test_micro_batches_weighted_by_tokens_give_the_full_gradient(chunk: int) -> None:
    model, batch = model_of("gpt2").double(), batch_of(4, ignored=0.5)

    _, whole = loss_and_gradients(model, batch, chunk_tokens=chunk, **EVERYTHING)
    model.zero_grad()
    for row in range(4):
        part = Batch(ids_BT=batch["ids_BT"][row : row + 1], targets_BT=batch["targets_BT"][row : row + 1])
        (CausalLM(chunk_tokens=chunk, **EVERYTHING).loss(model, part).total / 7).backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        error = (parameter.grad - whole[name]).norm() / whole[name].norm()
        assert error.item() < 1e-12, name


def test_smoothed_labels_are_those_of_torch() -> None:
    model, batch = model_of("llama"), batch_of()

    loss = CausalLM(label_smoothing=0.2, chunk_tokens=4).loss(model, batch)

    logits_NV = model(input_ids=batch["ids_BT"]).logits.flatten(0, 1)
    expected = nn.functional.cross_entropy(
        logits_NV, batch["targets_BT"].flatten(), reduction="sum", label_smoothing=0.2
    )
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (loss.nats + loss.extras["label_smoothing"]).item() == pytest.approx(expected.item(), rel=1e-6)


def test_no_counted_target_is_a_loss_of_zero_with_a_gradient_of_zero() -> None:
    model, batch = model_of("gpt2"), batch_of(ignored=2)

    loss, gradients = loss_and_gradients(model, batch, chunk_tokens=4, **EVERYTHING)

    assert loss.total.item() == 0.0
    assert gradients
    assert not any(gradient.any() for gradient in gradients.values())


def test_bfloat16_autocast_gives_what_it_gives_on_all_logits() -> None:
    """The products are bfloat16 either way; only the sum over chunks of the head's gradient is more exact."""
    model, batch = model_of("llama"), batch_of(8)

    with torch.autocast("cpu", torch.bfloat16):
        loss, gradients = loss_and_gradients(model, batch, chunk_tokens=16)
        plain_loss, plain_gradients = loss_and_gradients(model, batch, chunk_tokens=ALL)

    assert loss.total.dtype == torch.float32
    assert loss.total.item() == pytest.approx(plain_loss.total.item(), rel=1e-6)
    for name, gradient in plain_gradients.items():
        assert (gradients[name] - gradient).norm() < 0.01 * gradient.norm(), name


class Sizes(TorchDispatchMode):
    """Remembers the most rows of a tensor as wide as the vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.shape[-1:] == (VOCABULARY,):
            self.most = max(self.most, result.numel() // VOCABULARY)
        return result


@pytest.mark.parametrize(("chunk", "most"), [(20, 20), (ALL, 6 * 11)])
def test_no_more_logits_exist_than_those_of_a_chunk(chunk: int, most: int) -> None:
    model, batch = model_of("llama"), batch_of(6, ignored=0)

    with Sizes() as sizes:
        loss_and_gradients(model, batch, chunk_tokens=chunk, **EVERYTHING)

    assert sizes.most == most


CAPPED = {
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(vocab_size=VOCABULARY, head_dim=8, num_key_value_heads=2, **LLAMA)
    ),
    "granite": lambda: GraniteForCausalLM(GraniteConfig(vocab_size=VOCABULARY, logits_scaling=3.0, **LLAMA)),
}


@pytest.mark.parametrize("name", CAPPED)
def test_models_that_change_their_logits_afterwards_are_left_as_they_are(name: str) -> None:
    torch.manual_seed(0)
    model, batch = CAPPED[name]().eval(), batch_of()

    loss = CausalLM(chunk_tokens=4).loss(model, batch)

    logits_NV = model(input_ids=batch["ids_BT"]).logits.flatten(0, 1)
    expected = nn.functional.cross_entropy(logits_NV, batch["targets_BT"].flatten(), reduction="sum")
    assert output_layer(model) is None
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_model_is_as_it_was_afterwards_even_when_it_fails() -> None:
    model, batch = model_of("gpt2").train(), batch_of()
    before, keys = copy.deepcopy(model.state_dict()), list(vars(model.lm_head))

    CausalLM(chunk_tokens=4).loss(model, batch)
    with pytest.raises(IndexError):
        CausalLM(chunk_tokens=4).loss(
            model, Batch(ids_BT=batch["ids_BT"] + 999, targets_BT=batch["targets_BT"])
        )

    assert list(vars(model.lm_head)) == keys
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model(input_ids=batch["ids_BT"]).logits.shape == (3, 11, VOCABULARY)


def test_dropout_draws_the_same_numbers_either_way() -> None:
    """Also in the call that tries the output layer out, so a resumed run draws what the first one drew."""
    batch, losses = batch_of(), []

    for chunk in (4, 4, ALL):
        model = model_of("gpt2").train()
        for _ in range(2):
            torch.manual_seed(5)
            losses.append(CausalLM(chunk_tokens=chunk).loss(model, batch).total.item())

    assert losses == pytest.approx([losses[-1]] * 6, rel=1e-6)


def test_without_gradients_the_loss_is_the_same_and_needs_none() -> None:
    model, batch = model_of("llama"), batch_of()

    with torch.no_grad():
        loss = CausalLM(chunk_tokens=4).loss(model, batch)

    assert not loss.total.requires_grad
    assert loss.total.item() == pytest.approx(CausalLM().loss(model, batch).total.item(), rel=1e-6)


def test_half_precision_with_scaled_gradients_keeps_the_plain_way() -> None:
    """Unscaled gradients of a small probability are 0 in float16."""
    model, batch = model_of("llama"), batch_of()

    with torch.autocast("cpu", torch.float16), Sizes() as sizes:
        CausalLM(chunk_tokens=4).loss(model, batch)

    assert sizes.most == 33


@pytest.mark.parametrize("kind", [tuple, SimpleNamespace])
def test_ligers_kernel_is_called_where_it_serves(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """The kernel needs a GPU; a stand-in with its signature shows what it gets and that it is believed."""
    given: dict[str, Any] = {}

    def kernel(hidden: Any, weight: Any, targets: Any, *, lse_square_scale: float, **rest: Any) -> Any:
        given.update(rest)
        logits = nn.functional.linear(hidden, weight, rest["bias"])
        z_loss = lse_square_scale * logits.logsumexp(-1).square().sum()
        total = nn.functional.cross_entropy(logits, targets, reduction="sum") + z_loss
        return (total, z_loss) if kind is tuple else SimpleNamespace(loss=total, z_loss=z_loss)

    functional = ModuleType("liger_kernel.transformers.functional")
    functional.liger_fused_linear_cross_entropy = kernel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.functional", functional)
    model, batch = model_of("llama"), batch_of()
    plain = loss_and_gradients(model, batch, z_loss=0.01, chunk_tokens=ALL)
    monkeypatch.setattr(liger, "serves", lambda hidden, smoothing: True)

    assert_equal(loss_and_gradients(model, batch, z_loss=0.01, chunk_tokens=4), plain)
    assert given == {"bias": None, "reduction": "sum", "return_z_loss": True}


def test_ligers_kernel_does_not_serve_a_cpu() -> None:
    assert not liger.serves(torch.zeros(1, 1), 0.0)


def experts() -> PreTrainedModel:
    torch.manual_seed(3)
    config = OlmoeConfig(vocab_size=VOCABULARY, num_experts=4, num_experts_per_tok=2, **LLAMA)
    model: PreTrainedModel = OlmoeForCausalLM(config)
    return model.eval()


@pytest.mark.parametrize("chunk", [4, ALL])
def test_the_load_balancing_loss_is_that_of_transformers(chunk: int) -> None:
    model, batch = experts(), batch_of(ignored=0)

    loss = CausalLM(load_balancing=0.5, router_z_loss=0.25, chunk_tokens=chunk).loss(model, batch)

    routers = model(input_ids=batch["ids_BT"], output_router_logits=True).router_logits
    balance = load_balancing_loss_func(routers, num_experts=4, top_k=2)
    squares = routers[0].logsumexp(-1).square()
    assert loss.extras["load_balancing"].item() == pytest.approx(0.5 * 33 * balance.item(), rel=1e-5)
    assert loss.extras["router_z_loss"].item() == pytest.approx(0.25 * squares.sum().item(), rel=1e-5)
    together = loss.nats + sum(loss.extras.values())
    assert loss.total.item() == pytest.approx(together.item(), rel=1e-6)
    loss.total.backward()
    assert model.model.layers[0].mlp.gate.weight.grad.any()


def test_padded_places_do_not_count_for_the_routers() -> None:
    model, batch = experts(), batch_of(ignored=0)
    batch["targets_BT"][:, 6:] = IGNORED

    loss = CausalLM(load_balancing=0.5).loss(model, batch)

    routers = model(input_ids=batch["ids_BT"], output_router_logits=True).router_logits
    mask = (batch["targets_BT"] != IGNORED).long()
    balance = load_balancing_loss_func(routers, num_experts=4, top_k=2, attention_mask=mask)
    assert loss.extras["load_balancing"].item() == pytest.approx(0.5 * 18 * balance.item(), rel=1e-5)


def test_a_model_without_routers_cannot_have_their_losses() -> None:
    class Plain(nn.Module):
        def forward(self, **_: Any) -> SimpleNamespace:
            return SimpleNamespace(logits=torch.zeros(3, 11, VOCABULARY))

    message = r"load_balancing and router_z_loss are of mixtures of experts, and Plain.*Set them to 0"
    with pytest.raises(RecipeError, match=message):
        CausalLM(load_balancing=0.01).loss(Plain(), batch_of())
