"""Layers of LTG-BERT and GPT-BERT: attention to content and distance, gated feed-forward, sums over depth.

Samuel et al. 2023 (arXiv 2303.09859) and Charpentier and Samuel 2024 (arXiv 2410.24159), with the details of
their code (ltgoslo/ltg-bert, ltgoslo/gpt-bert) where the papers leave them open.

Shape letters: B rows, T tokens a row, D width, H heads, Q width of a head, P relative positions.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from model_foundry.model._configuration_ltg import LTGBertConfig


def relative_buckets(
    length: int, buckets: int, positions: int, device: torch.device | None = None
) -> torch.Tensor:
    """Return (T, T) the number, from 0 to 2 * buckets - 2, of each pair's distance, row minus column.

    He et al. 2021 (DeBERTa, arXiv 2006.03654) after T5: with m = buckets / 2, distances up to m have a bucket
    each, and those from there to ``positions - 1`` share the others, ceil((m - 1) log(r / m) / log((positions
    - 1) / m)) above m. Distances of both signs are told apart.
    """
    middle = buckets // 2
    distances = torch.arange(1 - length, length, dtype=torch.float64)
    sizes = distances.abs().clamp(min=middle, max=positions - 1)
    steps = (sizes / middle).log() / math.log((positions - 1) / middle) * (middle - 1)
    far = distances.sign() * (steps.float().ceil() + middle)  # in float32, so that whole numbers stay whole
    numbers = torch.where(distances.abs() <= middle, distances, far).long() + buckets - 1
    places = torch.arange(length)
    return numbers[places[:, None] - places + length - 1].to(device)


class Attention(GradientCheckpointingLayer):  # type: ignore[no-untyped-call]
    """Attention to content and to distance: of contents, of content to distance, and of distance to content.

    LTG-BERT has a linear layer and then a norm on the way out; GPT-BERT, which is gated, the other way round.
    """

    def __init__(self, config: LTGBertConfig, *, is_gated: bool) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.scale = 1 / math.sqrt(3 * width // self.heads)  # three terms are summed
        self.pre_norm = nn.LayerNorm(width, config.layer_norm_eps, elementwise_affine=False)
        self.query_key = nn.Linear(width, 2 * width)
        self.value = nn.Linear(width, 2 * width if is_gated else width)
        self.out_proj = nn.Linear(width, width)
        self.post_norm = nn.LayerNorm(width, config.layer_norm_eps, elementwise_affine=not is_gated)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)
        self.is_gated = is_gated

    def forward(
        self,
        hidden_BTD: torch.Tensor,
        positions_PD: torch.Tensor,
        buckets_TT: torch.Tensor,
        may_see_BHTT: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return what is added to ``hidden_BTD``; the mask is true where a row may see a column."""
        normed_BTD = self.pre_norm(hidden_BTD)
        query_BHTQ, key_BHTQ = (self._by_head(part) for part in self.query_key(normed_BTD).chunk(2, dim=-1))
        value_BTD, *gate = self.value(normed_BTD).chunk(2 if self.is_gated else 1, dim=-1)
        projected = self.query_key(self.dropout(positions_PD))[None].chunk(2, dim=-1)
        query_1HPQ, key_1HPQ = (self._by_head(part) for part in projected)
        bias_BHTT = self._distances(query_BHTQ, key_1HPQ, buckets_TT)
        bias_BHTT = bias_BHTT + self._distances(key_BHTQ, query_1HPQ, buckets_TT.T).transpose(-1, -2)
        if may_see_BHTT is not None:
            bias_BHTT = bias_BHTT.masked_fill(~may_see_BHTT, -math.inf)
        mixed_BHTQ = functional.scaled_dot_product_attention(
            query_BHTQ,
            key_BHTQ,
            self._by_head(value_BTD),
            attn_mask=bias_BHTT,
            dropout_p=self.dropout.p if self.training else 0.0,
            scale=self.scale,
        )
        mixed_BTD = mixed_BHTQ.transpose(1, 2).flatten(2)
        if gate:
            mixed_BTD = self.out_proj(self.post_norm(mixed_BTD * functional.gelu(gate[0])))
        else:
            mixed_BTD = self.post_norm(self.out_proj(mixed_BTD))
        dropped: torch.Tensor = self.dropout(mixed_BTD)
        return dropped

    def _by_head(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        return hidden_BTD.view(*hidden_BTD.shape[:-1], self.heads, -1).transpose(1, 2)

    def _distances(
        self, hidden_BHTQ: torch.Tensor, positions_1HPQ: torch.Tensor, buckets_TT: torch.Tensor
    ) -> torch.Tensor:
        """Return the product of each place with the position of its distance to each other place."""
        products_BHTP = (hidden_BHTQ * self.scale) @ positions_1HPQ.transpose(-1, -2)
        return products_BHTP.gather(-1, buckets_TT.expand(*products_BHTP.shape[:2], -1, -1))


class FeedForward(GradientCheckpointingLayer):  # type: ignore[no-untyped-call]
    """GeGLU (Shazeer 2020, arXiv 2002.05202) between two norms without parameters; no biases."""

    def __init__(self, config: LTGBertConfig) -> None:
        super().__init__()
        width, inner, epsilon = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.pre_norm = nn.LayerNorm(width, epsilon, elementwise_affine=False)
        self.up_proj = nn.Linear(width, 2 * inner, bias=False)
        self.inner_norm = nn.LayerNorm(inner, epsilon, elementwise_affine=False)
        self.down_proj = nn.Linear(inner, width, bias=False)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        """Return what is added to ``hidden_BTD``."""
        value, gate = self.up_proj(self.pre_norm(hidden_BTD)).chunk(2, dim=-1)
        inner = self.inner_norm(value * functional.gelu(gate, approximate="tanh"))
        added: torch.Tensor = self.dropout(self.down_proj(inner))
        return added


class DepthWeightedAverage(nn.Module):
    """A learned weighted sum of the embeddings and the outputs of all branches so far.

    Pagliardini et al. 2024 (DenseFormer, arXiv 2402.02622), after each branch rather than each layer. It
    begins as the last output alone.
    """

    parameter_kinds: ClassVar[dict[str, str]] = {"weights": "fixed"}

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.empty(inputs))

    def fixed_values(self) -> dict[str, torch.Tensor]:
        """Return what the weights begin with, whichever the initialisation: zeros, and one for the last."""
        weights = torch.zeros(self.weights.shape, device="cpu")
        weights[-1] = 1.0
        return {"weights": weights}

    def forward(self, outputs_BTD: list[torch.Tensor]) -> torch.Tensor:
        """Return the weighted sum."""
        total = self.weights[0] * outputs_BTD[0]
        for weight, output_BTD in zip(self.weights[1:], outputs_BTD[1:], strict=True):
            total = total + weight * output_BTD
        return total


class Layer(nn.Module):
    """Attention and feed-forward, each added to its input; with ``depth`` each sum goes through an average.

    Args:
        config: Sizes.
        is_gpt: Whether attention is gated, and averages over depth follow both branches.
        index: Number of the layer, from 0 on.
    """

    def __init__(self, config: LTGBertConfig, *, is_gpt: bool, index: int) -> None:
        super().__init__()
        self.attention = Attention(config, is_gated=is_gpt)
        self.feed_forward = FeedForward(config)
        self.attention_average = DepthWeightedAverage(2 * index + 2) if is_gpt else None
        self.feed_forward_average = DepthWeightedAverage(2 * index + 3) if is_gpt else None

    def forward(
        self,
        hidden_BTD: torch.Tensor,
        outputs_BTD: list[torch.Tensor],
        positions_PD: torch.Tensor,
        buckets_TT: torch.Tensor,
        may_see_BHTT: torch.Tensor | None,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the layer's output, and ``outputs_BTD`` with what its branches gave behind them.

        The list that comes in stays as it is: a wrapper (FSDP) hands a layer a copy.
        """
        hidden_BTD = hidden_BTD + self.attention(hidden_BTD, positions_PD, buckets_TT, may_see_BHTT)
        if self.attention_average is not None:
            outputs_BTD = [*outputs_BTD, hidden_BTD]
            hidden_BTD = self.attention_average(outputs_BTD)
        hidden_BTD = hidden_BTD + self.feed_forward(hidden_BTD)
        if self.feed_forward_average is not None:
            outputs_BTD = [*outputs_BTD, hidden_BTD]
            hidden_BTD = self.feed_forward_average(outputs_BTD)
        return hidden_BTD, outputs_BTD
