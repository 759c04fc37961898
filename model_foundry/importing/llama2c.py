"""Checkpoints of llama2.c (version 0, float32): a Llama as one file of numbers, its tokenizer as another.

A header of seven integers, then the weights, all little-endian and in a fixed order. The layout is that of
``legacy_export`` and ``read_checkpoint`` in https://github.com/karpathy/llama2.c.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from model_foundry.errors import DataError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

_HEADER = struct.Struct("<7i")
_LATER_VERSIONS = 0x616B3432  # "ak42", with which versions 1 and 2 begin
_LARGEST = 2**24
_NORM_EPSILON = 1e-5  # fixed in run.c, as is the base of the rotary embedding
_ROTARY_BASE = 10000.0
BOS_ID, EOS_ID = 1, 2


@dataclass(frozen=True)
class Header:
    """The sizes of a checkpoint."""

    width: int
    feed_forward: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary_size: int
    context: int
    is_tied: bool

    @property
    def head_width(self) -> int:
        """Of one head of attention."""
        return self.width // self.heads

    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return the weights in the order of the file; those of all layers lie together."""
        L, D, F = self.layers, self.width, self.feed_forward
        K = self.key_value_heads * self.head_width
        shapes: list[tuple[str, tuple[int, ...]]] = [
            ("embed_tokens", (self.vocabulary_size, D)),
            ("input_layernorm", (L, D)),
            ("self_attn.q_proj", (L, D, D)),
            ("self_attn.k_proj", (L, K, D)),
            ("self_attn.v_proj", (L, K, D)),
            ("self_attn.o_proj", (L, D, D)),
            ("post_attention_layernorm", (L, D)),
            ("mlp.gate_proj", (L, F, D)),
            ("mlp.down_proj", (L, D, F)),
            ("mlp.up_proj", (L, F, D)),
            ("norm", (D,)),
            ("rotary cosines and sines", (2, self.context, self.head_width // 2)),  # run.c makes its own
        ]
        return shapes if self.is_tied else [*shapes, ("lm_head", (self.vocabulary_size, D))]


def read_llama2c(path: Path) -> tuple[Header, LlamaForCausalLM]:
    """Return the model in a file.

    Raises:
        DataError: When it cannot be read, or is not of this layout.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Name a llama2.c checkpoint.") from error
    header = _read_header(path, data)
    shapes = header.shapes()
    expected = _HEADER.size + 4 * sum(int(np.prod(shape)) for _, shape in shapes)
    if len(data) != expected:
        raise DataError(
            f"{path}: has {len(data):,} bytes, and its header asks for {expected:,}. The copy is not whole, "
            "or it is no llama2.c checkpoint of version 0 (float32)."
        )
    weights, offset = {}, _HEADER.size
    for name, shape in shapes:
        count = int(np.prod(shape))
        values = np.frombuffer(data, "<f4", count, offset).reshape(shape).astype(np.float32)
        weights[name] = torch.from_numpy(values)
        offset += 4 * count
    return header, _model(header, weights)


def _read_header(path: Path, data: bytes) -> Header:
    if len(data) < _HEADER.size:
        raise DataError(f"{path}: has {len(data)} bytes, too few for the header of a llama2.c checkpoint.")
    width, feed_forward, layers, heads, key_value_heads, size, context = _HEADER.unpack_from(data)
    if width == _LATER_VERSIONS:
        raise DataError(
            f"{path}: is a llama2.c checkpoint of a later version, expected version 0. Export it again with "
            "llama2.c's export.py --version 0."
        )
    # A vocabulary below zero says that the output layer has weights of its own.
    header = Header(width, feed_forward, layers, heads, key_value_heads, abs(size), context, size > 0)
    sizes = (width, feed_forward, layers, heads, key_value_heads, abs(size), context)
    if not all(0 < number <= _LARGEST for number in sizes) or width % heads or heads % key_value_heads:
        raise DataError(
            f"{path}: its first seven numbers are {', '.join(map(str, sizes))}, expected the sizes of a "
            "Llama (width, feed-forward width, layers, heads, key-value heads, vocabulary, context). It is "
            "no llama2.c checkpoint of version 0."
        )
    return header


def _model(header: Header, weights: dict[str, torch.Tensor]) -> LlamaForCausalLM:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=header.vocabulary_size,
        hidden_size=header.width,
        intermediate_size=header.feed_forward,
        num_hidden_layers=header.layers,
        num_attention_heads=header.heads,
        num_key_value_heads=header.key_value_heads,
        max_position_embeddings=header.context,
        rms_norm_eps=_NORM_EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": _ROTARY_BASE},
        tie_word_embeddings=header.is_tied,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        use_cache=True,
    )
    state = {
        "model.embed_tokens.weight": weights["embed_tokens"],
        "model.norm.weight": weights["norm"],
        "lm_head.weight": weights.get("lm_head", weights["embed_tokens"]),
    }
    for name, stacked in weights.items():
        if stacked.dim() < 2 or name in ("embed_tokens", "lm_head") or name.startswith("rotary"):
            continue
        for layer, weight in enumerate(stacked):
            if name in ("self_attn.q_proj", "self_attn.k_proj"):
                weight = _halves(weight, header.head_width)
            state[f"model.layers.{layer}.{name}.weight"] = weight
    model = LlamaForCausalLM(config)
    model.load_state_dict(state, strict=True)
    imported: LlamaForCausalLM = model.train(False)
    return imported


def _halves(weight: torch.Tensor, head_width: int) -> torch.Tensor:
    """Reorder the rows of each head: llama2.c rotates neighbours, transformers one half with the other."""
    heads = weight.shape[0] // head_width
    pairs = weight.view(heads, head_width // 2, 2, weight.shape[1])
    return pairs.transpose(1, 2).reshape(weight.shape)
