"""Counts parameters and floating-point operations of a model, on any device, the meta device included.

A folder, since a file here would be taken for an architecture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


class ParameterCount(TypedDict):
    """Unique parameters: a tied weight counts once."""

    total: int
    embedding: int
    other: int


def count_parameters(model: nn.Module) -> ParameterCount:
    """Return the unique parameters, and how many of them are embeddings (or tied to one)."""
    total = sum(parameter.numel() for parameter in model.parameters())
    embedding = sum(table.numel() for table in {module.weight for _, module in _embeddings(model)})
    return {"total": total, "embedding": embedding, "other": total - embedding}


def flops_per_token(model: PreTrainedModel, context: int) -> int:
    """Return the operations that a token costs in the forward and backward pass: 6 N + 12 L H Q T.

    Chowdhery et al. 2022 (PaLM, arXiv 2204.02311, appendix B); L layers, H heads of Q dimensions, T tokens of
    context. As in nanoGPT, N leaves out learned positions. Models without attention heads have the first term
    alone, and all experts of a mixture count, used or not: for those it is an upper bound.
    """
    config = model.config
    heads = getattr(config, "num_attention_heads", None) or 0
    head_width = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else 0)
    attention: int = 12 * config.num_hidden_layers * heads * head_width * context
    return 6 * (count_parameters(model)["total"] - _position_parameters(model)) + attention


def _embeddings(model: nn.Module) -> list[tuple[str, nn.Embedding]]:
    from torch import nn

    return [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Embedding)]


def _position_parameters(model: PreTrainedModel) -> int:
    tokens = model.get_input_embeddings()
    return sum(
        module.weight.numel()
        for name, module in _embeddings(model)
        if module is not tokens and ("position" in name or name.endswith("wpe"))
    )
