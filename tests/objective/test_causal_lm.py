"""The causal loss against transformers' own, against hand-made logits, and for leaks from the future."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from model_foundry.model import Vocabulary
from model_foundry.model.gpt2 import GPT2
from model_foundry.model.initialization.gpt2 import GPT2Initialization
from model_foundry.model.llama import Llama
from model_foundry.objective import IGNORED, Batch
from model_foundry.objective.causal_lm import CausalLM

VOCABULARY = 40


class Fixed(nn.Module):
    """Gives the same logits whatever it reads, and remembers how it was called."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits_NV = nn.Parameter(torch.tensor(logits))
        self.called_with: dict[str, Any] = {}

    def forward(self, **arguments: Any) -> SimpleNamespace:
        self.called_with = arguments
        return SimpleNamespace(logits=self.logits_NV[None])


def batch_of(targets: list[int], **more: torch.Tensor) -> Batch:
    return Batch(
        ids_BT=torch.zeros(1, len(targets), dtype=torch.long), targets_BT=torch.tensor([targets]), **more
    )


def small_model(kind: type[GPT2] | type[Llama] = GPT2) -> Any:
    model = kind(layers=2, width=32, heads=4).build(Vocabulary(VOCABULARY), 16)
    GPT2Initialization().initialize(model, torch.Generator().manual_seed(3))
    return model


def random_ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def test_a_hand_made_case() -> None:
    model = Fixed([[math.log(1), math.log(2), math.log(5)], [0.0, 0.0, 0.0]])

    loss = CausalLM().loss(model, batch_of([2, 0]))

    assert loss.total.item() == pytest.approx(math.log(8 / 5) + math.log(3), rel=1e-6)
    assert loss.nats.item() == loss.total.item()
    assert loss.extras == {}


def test_ignored_targets_add_nothing_and_get_no_gradient() -> None:
    model = Fixed([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])

    loss = CausalLM(z_loss=0.1).loss(model, batch_of([IGNORED, 1]))
    loss.total.backward()

    assert loss.nats.item() == pytest.approx(math.log(3), rel=1e-6)
    assert model.logits_NV.grad is not None
    assert model.logits_NV.grad[0].tolist() == [0.0, 0.0, 0.0]
    assert model.logits_NV.grad[1].any()


def test_no_targets_at_all_are_a_loss_of_zero_without_gradient() -> None:
    model = Fixed([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])

    loss = CausalLM(z_loss=0.1).loss(model, batch_of([IGNORED, IGNORED]))
    loss.total.backward()

    assert loss.total.item() == 0.0
    assert model.logits_NV.grad is not None
    assert not model.logits_NV.grad.any()


def test_z_loss_is_in_the_total_and_reported_apart_but_not_in_the_nats() -> None:
    logits = [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]

    plain = CausalLM().loss(Fixed(logits), batch_of([0, 1]))
    loss = CausalLM(z_loss=0.5).loss(Fixed(logits), batch_of([0, 1]))

    assert loss.extras["z_loss"].item() == pytest.approx(0.5 * 2 * 6.4093637, rel=1e-6)
    assert loss.nats.item() == plain.nats.item()
    assert loss.total.item() == pytest.approx(plain.total.item() + loss.extras["z_loss"].item(), rel=1e-6)
    assert not loss.nats.requires_grad
    assert not loss.extras["z_loss"].requires_grad


def test_half_precision_logits_are_summed_in_float32() -> None:
    model = Fixed([[0.0] * 1000] * 64).to(torch.bfloat16)

    loss = CausalLM().loss(model, batch_of([1] * 64))

    assert loss.total.dtype == torch.float32
    assert loss.total.item() == pytest.approx(64 * math.log(1000), rel=1e-6)


def test_the_model_gets_ids_alone_without_labels_mask_or_cache() -> None:
    model = Fixed([[0.0, 0.0]])

    CausalLM().loss(model, batch_of([1]))

    assert set(model.called_with) == {"input_ids", "use_cache"}
    assert model.called_with["use_cache"] is False


def test_positions_are_passed_on_where_documents_are_isolated() -> None:
    model = Fixed([[0.0, 0.0], [0.0, 0.0]])
    positions = torch.tensor([[0, 0]])

    CausalLM().loss(model, batch_of([1, 0], positions_BT=positions))

    assert model.called_with["position_ids"] is positions


@pytest.mark.parametrize("kind", [GPT2, Llama])
def test_equals_the_loss_of_transformers_times_the_count(kind: type[GPT2] | type[Llama]) -> None:
    model, ids_BT = small_model(kind), random_ids(3, 16)
    labels_BT = ids_BT.clone()
    labels_BT[1, 5:9] = IGNORED
    targets_BT = torch.nn.functional.pad(labels_BT[:, 1:], (0, 1), value=IGNORED)

    loss = CausalLM().loss(model, Batch(ids_BT=ids_BT, targets_BT=targets_BT))

    theirs = model(input_ids=ids_BT, labels=labels_BT, use_cache=False).loss
    assert loss.nats.item() == pytest.approx(theirs.item() * (targets_BT != IGNORED).sum().item(), rel=1e-6)


def test_micro_batches_add_up_to_the_whole() -> None:
    model, ids_BT = small_model(), random_ids(4, 9)
    batch = Batch(ids_BT=ids_BT[:, :-1], targets_BT=ids_BT[:, 1:])

    whole = CausalLM(z_loss=0.01).loss(model, batch)
    parts = [
        CausalLM(z_loss=0.01).loss(
            model, Batch(ids_BT=ids_BT[row : row + 1, :-1], targets_BT=ids_BT[row : row + 1, 1:])
        )
        for row in range(4)
    ]

    assert whole.total.item() == pytest.approx(sum(part.total.item() for part in parts), rel=1e-6)


def test_isolated_documents_cost_what_they_cost_alone() -> None:
    model, first_T, second_T = small_model(Llama), random_ids(7, seed=1), random_ids(6, seed=2)

    def batch(ids_T: torch.Tensor, targets_T: torch.Tensor, positions_T: torch.Tensor) -> Batch:
        return Batch(ids_BT=ids_T[None], targets_BT=targets_T[None], positions_BT=positions_T[None])

    alone = [
        CausalLM().loss(model, batch(text_T[:-1], text_T[1:], torch.arange(len(text_T) - 1))).nats.item()
        for text_T in (first_T, second_T)
    ]
    packed = CausalLM().loss(
        model,
        batch(
            torch.cat([first_T[:-1], second_T[:-1]]),
            torch.cat([first_T[1:], second_T[1:]]),
            torch.cat([torch.arange(6), torch.arange(5)]),
        ),
    )

    assert packed.nats.item() == pytest.approx(sum(alone), rel=1e-6)


@pytest.mark.parametrize("kind", [GPT2, Llama])
def test_noise_cannot_be_predicted_better_than_by_chance(kind: type[GPT2] | type[Llama]) -> None:
    """Were the targets not shifted, or did the model see them, the loss would fall far below ln V."""
    model = small_model(kind)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    for seed in range(40):
        ids_BT = random_ids(16, 17, seed=seed)
        loss = CausalLM().loss(model, Batch(ids_BT=ids_BT[:, :-1], targets_BT=ids_BT[:, 1:])).total / 256
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    unseen_BT = random_ids(64, 17, seed=1000)
    nats = CausalLM().loss(model, Batch(ids_BT=unseen_BT[:, :-1], targets_BT=unseen_BT[:, 1:])).nats / 1024
    assert nats.item() > math.log(VOCABULARY) - 0.02


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        CausalLM(z_loss=-1.0)
