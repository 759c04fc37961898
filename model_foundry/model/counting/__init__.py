"""Counts parameters and floating-point operations of a model, on any device, the meta device included.

A folder, since a file here would be taken for an architecture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel


class ParameterCount(TypedDict):
    """Unique parameters: a tied weight counts once."""

    total: int
    """All of them."""

    embedding: int
    """Tables of tokens, positions and segments, and the output layer where it is tied to one."""

    output: int
    """The matrix of an output layer of its own."""

    non_embedding: int
    """The rest, as scaling laws count (Kaplan et al. 2020, arXiv 2001.08361) and Pythia's table does."""

    active: int
    """What one token passes through: ``total`` without the experts that it is not sent to."""


def count_parameters(model: PreTrainedModel) -> ParameterCount:
    """Return the unique parameters by what they are for."""
    total = sum(parameter.numel() for parameter in model.parameters())
    tables = _tables(model)
    embedding = sum(table.numel() for table in tables)
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    output = 0 if head is None or head.weight in tables else head.weight.numel()
    return {
        "total": total,
        "embedding": embedding,
        "output": output,
        "non_embedding": total - embedding - output,
        "active": total - _unused_by_a_token(model),
    }


def flops_per_token(model: PreTrainedModel, context: int) -> int:
    """Return the operations that a token costs in the forward and backward pass: 6 N + 12 L H Q T.

    Chowdhery et al. 2022 (PaLM, arXiv 2204.02311, appendix B); L layers, H query heads of Q dimensions, T
    tokens of context, or of a local layer's window; no discount for causal masks. N is what a token is
    multiplied by: without the experts that it is not sent to, and without tables that are only looked up
    (positions as in nanoGPT, and an input embedding that is not the output layer too). State-space layers and
    relative positions have terms of their own, below. Softmax, activations and rotations are left out, as is
    the projection of relative positions, once a batch.
    """
    config = model.config
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    looked_up = _tables(model) - ({head.weight} if head is not None else set())
    decays = {parameter for name, parameter in model.named_parameters() if name.endswith("A_log")}
    unmultiplied = sum(tensor.numel() for tensor in looked_up | decays)
    multiplied = count_parameters(model)["active"] - unmultiplied
    heads = getattr(config, "num_attention_heads", None) or 0
    head_width = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else 0)
    keys = sum(_keys_by_layer(model, context)) if heads else 0
    attention: int = 12 * heads * head_width * keys
    return 6 * multiplied + attention + _relative_positions(model) + _state_space(model)


def _tables(model: nn.Module) -> set[torch.Tensor]:
    from torch import nn

    return {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}


def _unused_by_a_token(model: PreTrainedModel) -> int:
    """Return the parameters of the experts that a token is not sent to; they are stacked (E, ...)."""
    chosen = getattr(model.config, "num_experts_per_tok", None)
    if chosen is None:
        return 0
    stacks = [
        parameter
        for module in model.modules()
        if type(module).__name__.endswith("Experts")
        for parameter in module.parameters(recurse=False)
    ]
    return sum(stack.numel() // stack.shape[0] * (stack.shape[0] - chosen) for stack in stacks)


def _keys_by_layer(model: PreTrainedModel, context: int) -> list[int]:
    """Return how many keys a query of each layer meets: the context, or a local layer's window; else none."""
    config = model.config
    window = getattr(config, "local_attention", None) or getattr(config, "sliding_window", None) or context
    met = {"full_attention": context, "sliding_attention": min(window, context)}
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    return [met.get(kind, 0) for kind in kinds]


def _relative_positions(model: PreTrainedModel) -> int:
    """DeBERTa (He et al. 2021, arXiv 2006.03654, equation 4): contents times positions, and the reverse.

    Each of the two multiplies a head's Q dimensions by all P positions; LTG-BERT and GPT-BERT have both, too.
    """
    config = model.config
    if hasattr(config, "position_bucket_size"):
        positions, terms = 2 * config.position_bucket_size - 1, 2
    elif getattr(config, "relative_attention", False):
        buckets = config.position_buckets if config.position_buckets > 0 else config.max_position_embeddings
        positions, terms = 2 * buckets, len(set(config.pos_att_type or ()) & {"c2p", "p2c"})
    else:
        return 0
    return int(6 * terms * positions * config.hidden_size * config.num_hidden_layers)


def _state_space(model: PreTrainedModel) -> int:
    """Three multiply-adds for each number of the state, forward; the backward pass costs twice as much.

    h = decay * h + input * B and y = C * h (Gu and Dao 2023, arXiv 2312.00752, equation 2), once a token for
    each of the channels and each entry of its state; making the decay from A adds about one more for Mamba.
    """
    config = model.config
    if not hasattr(config, "state_size") or not hasattr(config, "expand"):
        return 0
    channels = config.expand * config.hidden_size
    return int(18 * channels * config.state_size * config.num_hidden_layers)
