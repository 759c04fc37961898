"""What the systems beside ours share: the model of transformers, and windows of the stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.systems import Request


def gpt2(request: Request, activation: str) -> Any:
    """Return transformers' GPT-2 with weights drawn anew, without dropout.

    Args:
        request: Has the size.
        activation: ``gelu_new`` is the library's default, ``gelu_pytorch_tanh`` the same in one kernel.
    """
    from transformers.models.gpt2 import GPT2Config, GPT2LMHeadModel

    size = request.size
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=size["vocabulary"],
        n_positions=size["context"],
        n_embd=size["width"],
        n_layer=size["layers"],
        n_head=size["heads"],
        activation_function=activation,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    return GPT2LMHeadModel(config)


def number_of_parameters(model: torch.nn.Module) -> int:
    """Return the unique parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


class Windows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Windows of the stream side by side, as run_clm's ``group_texts`` makes them."""

    def __init__(self, request: Request) -> None:
        self.context = request.size["context"]
        self.tokens = np.memmap(Path(request.stream) / "train.bin", dtype="<u2", mode="r")

    def __len__(self) -> int:
        return len(self.tokens) // self.context

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        start = index * self.context
        ids = torch.from_numpy(self.tokens[start : start + self.context].astype(np.int64))
        return {"input_ids": ids, "labels": ids}
