"""Muon beside torch's own two optimizers, and which parameter goes to which of them."""

from __future__ import annotations

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from transformers.pytorch_utils import Conv1D

from model_foundry.model import Vocabulary
from model_foundry.model.gpt2 import GPT2
from model_foundry.model.llama import Llama
from model_foundry.optim.muon import Muon


def names(optimizer: torch.optim.Optimizer, kind: str) -> set[str]:
    return {
        name for group in optimizer.param_groups if group["kind"] == kind for name in group["param_names"]
    }


def give_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("tied", [True, False])
def test_hidden_matrices_go_to_muon_and_all_else_to_adamw(tied: bool) -> None:
    model = Llama(layers=1, width=8, heads=2, tie_embeddings=tied).build(Vocabulary(10), 4)

    optimizer = Muon(learning_rate=1e-3).build(model)

    inside = [f"self_attn.{one}_proj" for one in "qkvo"] + [
        f"mlp.{one}_proj" for one in ("gate", "up", "down")
    ]
    assert names(optimizer, "muon") == {f"model.layers.0.{name}.weight" for name in inside}
    everything = {name for name, _ in model.named_parameters()}
    assert names(optimizer, "adamw") == everything - names(optimizer, "muon")
    assert ("lm_head.weight" in names(optimizer, "adamw")) is not tied


def test_each_takes_the_steps_that_torch_takes_with_it_alone() -> None:
    model = Llama(layers=1, width=8, heads=2).build(Vocabulary(10), 4)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    alone = copy.deepcopy(model)
    both = Muon(learning_rate=1e-3, weight_decay=0.3).build(model)
    parameters = dict(alone.named_parameters())
    matrices = [parameters[name] for name in sorted(names(both, "muon"))]
    embeddings = [p for name, p in parameters.items() if name not in names(both, "muon") and p.ndim == 2]
    vectors = [p for p in parameters.values() if p.ndim == 1]
    muon = torch.optim.Muon(matrices, lr=1e-3, weight_decay=0.3, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(
        [{"params": embeddings, "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-3,
        betas=(0.9, 0.95),
        fused=True,
    )

    for update in range(3):
        give_gradients(model, update)
        give_gradients(alone, update)
        both.step()
        muon.step()
        adamw.step()

    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, parameters[name]), name


def test_a_transposed_matrix_moves_as_the_matrix_with_outputs_as_rows_does() -> None:
    linear, conv = nn.Linear(8, 24, bias=False), Conv1D(24, 8)
    with torch.no_grad():
        conv.weight.copy_(linear.weight.T)
    optimizers = [
        Muon(learning_rate=0.02, scale="original", adamw_learning_rate=1e-3, weight_decay=0.5).build(model)
        for model in (linear, conv)
    ]

    for update in range(3):
        generator = torch.Generator().manual_seed(update)
        linear.weight.grad = torch.randn(24, 8, generator=generator)
        conv.weight.grad = linear.weight.grad.T.contiguous()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = 0.02 * group["lr_scale"]  # as the loop does
            optimizer.step()

    # The iteration runs in bfloat16, in another order of sums: 8 bits of an update of about 0.02.
    torch.testing.assert_close(conv.weight.T, linear.weight, rtol=0, atol=2e-3)


def test_the_original_scale_gives_adamw_its_own_rate() -> None:
    model = GPT2(layers=1, width=8, heads=2).build(Vocabulary(10), 4)

    optimizer = Muon(learning_rate=0.02, scale="original", adamw_learning_rate=1e-3).build(model)

    factors = [group["lr_scale"] for group in optimizer.param_groups if group["kind"] == "adamw"]
    assert factors == pytest.approx([0.05] * len(factors))


def test_the_original_scale_without_a_rate_for_adamw_is_refused() -> None:
    with pytest.raises(ValidationError, match="give adamw_learning_rate beside learning_rate, or choose"):
        Muon(learning_rate=0.02, scale="original")


@pytest.mark.parametrize(("rows", "columns"), [(64, 256), (256, 64)])
def test_an_update_is_orthogonal_as_far_as_five_iterations_bring_it(rows: int, columns: int) -> None:
    layer = nn.Linear(columns, rows, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))

    Muon(learning_rate=1.0, weight_decay=0.0).build(layer).step()

    step = (before - layer.weight.detach()) / (0.2 * 256**0.5)
    values = torch.linalg.svdvals(step)
    assert values.min() > 0.67
    assert values.max() < 1.15


def test_an_update_has_about_the_size_of_adamws() -> None:
    layer = nn.Linear(128, 128, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.randn(128, 128, generator=torch.Generator().manual_seed(0))

    Muon(learning_rate=1e-2, weight_decay=0.0).build(layer).step()

    moved = float((before - layer.weight.detach()).square().mean().sqrt())
    assert moved == pytest.approx(0.2 * 1e-2, rel=0.2)  # AdamW's is 0.2 to 0.4 of the rate (arXiv 2502.16982)
