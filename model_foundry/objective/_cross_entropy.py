"""Sums of cross-entropy and its companions over targets, from logits or in chunks, without all the logits.

Shape letters: B windows, T tokens a window, D width of the last hidden state, V vocabulary, N places,
K places of a chunk.

For logits z of a place with target y, and Z = logsumexp(z):

    nats            Z - z_y
    label smoothing s * (z_y - mean(z))      Szegedy et al. 2015, arXiv 1512.00567, section 7
    z-loss          w * Z^2                  Chowdhery et al. 2022, arXiv 2204.02311, section 5

Their sum is (1 - s) * (Z - z_y) + s * (Z - mean(z)) + w * Z^2, and its gradient by z is
softmax(z) * (1 + 2 w Z) - (1 - s) * onehot(y) - s / V.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn import functional

from model_foundry.objective import IGNORED, LossSum
from model_foundry.objective import _liger as liger


@dataclass(frozen=True)
class Terms:
    """What is added to the cross-entropy, by its weight."""

    z_loss: float = 0.0
    label_smoothing: float = 0.0

    def sums(self, total: torch.Tensor, parts_3: torch.Tensor) -> LossSum:
        """Return the loss with the companions that are asked for; ``parts_3``: nats, smoothing, z-loss."""
        nats, smoothing, z_loss = parts_3.unbind()
        extras = {"label_smoothing": smoothing} if self.label_smoothing else {}
        return LossSum(total, nats, extras | ({"z_loss": z_loss} if self.z_loss else {}))


def run(
    model: nn.Module, arguments: dict[str, Any], targets_BT: torch.Tensor, terms: Terms, chunk_tokens: int
) -> tuple[LossSum, Any]:
    """Run ``model`` and return the loss over the counted targets, and what the model gave.

    Where the logits are the output layer's and nothing else, loss and output layer are computed together,
    inside the model's own forward pass, so that wrappers (DDP, autocast) see one call as always. What the
    model gives then has no logits. Other models, and those whose logits fit one chunk, are run as they are.
    """
    targets_N = targets_BT.flatten()
    head = output_layer(model) if targets_N.numel() > chunk_tokens else None
    if head is None:
        output = model(**arguments)
        return from_logits(output.logits.flatten(0, 1), targets_N, terms), output
    found: list[torch.Tensor] = []

    def loss_of(hidden_BTD: torch.Tensor) -> torch.Tensor:
        if _compute_dtype(hidden_BTD) == torch.float16:  # its gradients are too small before they are scaled
            return functional.linear(hidden_BTD, head.weight, head.bias)
        total, parts_3 = in_chunks(hidden_BTD.flatten(0, 1), head, targets_N, terms, chunk_tokens)
        found.append(parts_3)
        return total

    with _replaced(head, loss_of):
        output = model(**arguments)
    if not found:
        return from_logits(output.logits.flatten(0, 1), targets_N, terms), output
    return terms.sums(output.logits, found[0]), output


def from_logits(logits_NV: torch.Tensor, targets_N: torch.Tensor, terms: Terms) -> LossSum:
    """Return the loss over the counted targets, from all the logits at once."""
    logits_NV = _at_least_float32(logits_NV)
    smoothing = terms.label_smoothing
    nats = functional.cross_entropy(logits_NV, targets_N, ignore_index=IGNORED, reduction="sum")
    total, extras = nats, {}
    if smoothing:
        total = functional.cross_entropy(
            logits_NV, targets_N, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
        )
        extras["label_smoothing"] = (total - nats).detach()
    if terms.z_loss:
        squares_N = logits_NV.logsumexp(dim=-1).square()
        z_loss = terms.z_loss * squares_N.masked_fill(targets_N == IGNORED, 0.0).sum()
        total = total + z_loss
        extras["z_loss"] = z_loss.detach()
    return LossSum(total, nats.detach(), extras)


def in_chunks(
    hidden_ND: torch.Tensor, head: nn.Linear, targets_N: torch.Tensor, terms: Terms, chunk_tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same loss of ``head(hidden)``, and its parts (3: nats, smoothing, z-loss), detached.

    Places without a counted target are left out before the output layer.
    """
    counted_N = targets_N != IGNORED
    if not bool(counted_N.all()):
        hidden_ND, targets_N = hidden_ND[counted_N], targets_N[counted_N]
    dtype = _compute_dtype(hidden_ND)
    if liger.serves(hidden_ND, terms.label_smoothing):
        return liger.loss(hidden_ND.to(dtype), head.weight.to(dtype), head.bias, targets_N, terms.z_loss)
    total, parts_3 = _ChunkedLoss.apply(  # type: ignore[no-untyped-call]
        hidden_ND, head.weight, head.bias, targets_N, terms, chunk_tokens, dtype, torch.is_grad_enabled()
    )
    return total, parts_3


class _ChunkedLoss(torch.autograd.Function):
    """The gradient is computed beside the loss, chunk by chunk, and only scaled in the backward pass.

    So each chunk's logits are needed once; recomputing them in the backward pass would cost a third more.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_N: torch.Tensor,
        terms: Terms,
        chunk_tokens: int,
        dtype: torch.dtype,
        wants_gradient: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        exact = torch.float64 if weight_VD.dtype == torch.float64 else torch.float32
        needs = [wants_gradient and need for need in ctx.needs_input_grad[:3]]
        cast_VD = weight_VD.to(dtype)
        cast_bias_V = None if bias_V is None else bias_V.to(dtype)
        to_hidden_ND = torch.empty_like(hidden_ND) if needs[0] else None
        to_weight_VD = torch.zeros_like(weight_VD) if needs[1] else None
        to_bias_V = None if bias_V is None or not needs[2] else torch.zeros_like(bias_V)
        parts_3 = torch.zeros(3, dtype=exact, device=hidden_ND.device)
        for start in range(0, len(targets_N), chunk_tokens):
            chunk = slice(start, start + chunk_tokens)
            hidden_KD = hidden_ND[chunk].to(dtype)
            logits_KV = functional.linear(hidden_KD, cast_VD, cast_bias_V).to(exact)
            of_chunk_3, by_logits_KV = _loss_and_gradient(logits_KV, targets_N[chunk], terms, any(needs))
            parts_3 += of_chunk_3
            if to_bias_V is not None:
                to_bias_V += by_logits_KV.sum(0)
            by_logits_KV = by_logits_KV.to(dtype)
            if to_hidden_ND is not None:
                to_hidden_ND[chunk] = by_logits_KV @ cast_VD
            if to_weight_VD is not None:
                if dtype == to_weight_VD.dtype:
                    to_weight_VD.addmm_(by_logits_KV.T, hidden_KD)
                else:
                    to_weight_VD += by_logits_KV.T @ hidden_KD
        ctx.gradients = (to_hidden_ND, to_weight_VD, to_bias_V)
        ctx.mark_non_differentiable(parts_3)
        return parts_3.sum(), parts_3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_total: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        scaled = (None if gradient is None else gradient.mul_(by_total) for gradient in gradients)
        return (*scaled, None, None, None, None, None)


def _loss_and_gradient(
    logits_KV: torch.Tensor, targets_K: torch.Tensor, terms: Terms, wants_gradient: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return nats, smoothing and z-loss of a chunk, and the gradient by its logits, in their memory."""
    smoothing, weight = terms.label_smoothing, terms.z_loss
    places_K1 = targets_K[:, None]
    log_sums_K1 = logits_KV.logsumexp(dim=-1, keepdim=True)
    of_targets_K1 = logits_KV.gather(1, places_K1)
    zero = logits_KV.new_zeros(())
    parts_3 = torch.stack(
        [
            (log_sums_K1 - of_targets_K1).sum(),
            smoothing * (of_targets_K1 - logits_KV.mean(-1, keepdim=True)).sum() if smoothing else zero,
            weight * log_sums_K1.square().sum() if weight else zero,
        ]
    )
    if wants_gradient:
        logits_KV.sub_(log_sums_K1).exp_()
        if weight:
            logits_KV.mul_(1 + 2 * weight * log_sums_K1)
        if smoothing:
            logits_KV.sub_(smoothing / logits_KV.shape[1])
        logits_KV.scatter_add_(1, places_K1, torch.full_like(of_targets_K1, smoothing - 1))
    return parts_3, logits_KV


_output_layers: WeakKeyDictionary[nn.Module, nn.Linear | None] = WeakKeyDictionary()
"""What was found out about each model that is alive."""


def output_layer(model: nn.Module) -> nn.Linear | None:
    """Return the linear layer whose output is the model's logits, unchanged; None where there is none.

    It is tried out once a model, on two tokens, in evaluation mode: the layer gives a marker in place of
    logits, and the marker must be what the model returns. Models that scale or cap their logits do not pass.
    """
    while not callable(find := getattr(model, "get_output_embeddings", None)):
        if not isinstance(inner := getattr(model, "module", None), nn.Module):  # what DDP calls its model
            return None
        model = inner
    if model not in _output_layers:
        head = find()
        is_plain = type(head) is nn.Linear and _gives_logits(model, head)
        _output_layers[model] = head if is_plain else None
    return _output_layers[model]


@torch.no_grad()
def _gives_logits(model: Any, head: nn.Linear) -> bool:
    marker, seen = torch.zeros(1, device=head.weight.device), []

    def mark(hidden: torch.Tensor) -> torch.Tensor:
        seen.append(hidden.shape[:-1])
        return marker

    was_training = model.training
    model.eval()
    try:
        # Where the model is compiled, two tokens are not worth a shape of their own.
        with torch.compiler.set_stance("force_eager"), _replaced(head, mark):
            ids_BT = torch.zeros(1, 2, dtype=torch.long, device=head.weight.device)
            return model(input_ids=ids_BT).logits is marker and seen == [(1, 2)]
    except (RuntimeError, TypeError, ValueError, IndexError):  # what follows the layer does not take a marker
        return False
    finally:
        model.train(was_training)


@contextmanager
def _replaced(layer: nn.Module, forward: Any) -> Iterator[None]:
    """Let a layer compute something else for a while."""
    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward


def _compute_dtype(hidden: torch.Tensor) -> torch.dtype:
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def _at_least_float32(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
