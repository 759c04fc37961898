"""A plain PyTorch training loop with our settings, and nothing else: what overhead is measured against.

Same model, same batches, same optimizer, same allocator setting and loss. As a script it trains from
token files that ``overhead.py`` has written, and reports when its first update is done.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch


def cosine(update: int, warmup: int, total: int, floor: float) -> float:
    """Linear warm-up, then cosine to the floor."""
    if update + 1 <= warmup:
        return (update + 1) / warmup
    share = (update - warmup) / max(1, total - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


Loss = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
"""Returns the sum over the targets."""


def all_at_once(model: torch.nn.Module, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy from all the logits."""
    logits = model(input_ids=ids, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")


def in_chunks(model: torch.nn.Module, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the same by the package's function, which never holds all the logits."""
    from model_foundry.objective._cross_entropy import Terms, run

    arguments = {"input_ids": ids, "use_cache": False}
    return run(model, arguments, targets, Terms(), 1024)[0].total


def train(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    *,
    updates: range,
    total: int,
    peak: float,
    loss_of: Loss = all_at_once,
    precision: str = "fp32",
) -> None:
    """Take ``updates``; each batch is inputs and shifted targets."""
    for update in updates:
        ids, targets = next(batches)
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = loss_of(model, ids, targets)
        (loss / targets.numel()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = peak * cosine(update, total // 50, total, 0.1)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def build(settings: dict[str, Any]) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Return model and optimizer, with the settings that the package uses."""
    from transformers.models.gpt2 import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    model = GPT2LMHeadModel(GPT2Config(**settings["model"]))
    return model, optimizer_of(model)


def optimizer_of(model: torch.nn.Module, *, fused: bool = True) -> torch.optim.Optimizer:
    """Return AdamW with the package's groups: no decay of biases and norms."""
    decayed = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=fused)


def main(settings_file: str) -> None:
    """Train as the settings say and write the file ``done`` after the first update."""
    import numpy as np

    from model_foundry.training.accelerator import keep_large_blocks

    settings = json.loads(Path(settings_file).read_text())
    keep_large_blocks()
    model, optimizer = build(settings)
    tokens = np.load(settings["tokens"], mmap_mode="r")
    rows, context = settings["batch_size"], settings["context"]

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        draw = np.random.default_rng(1)
        while True:
            starts = draw.integers(0, len(tokens) - context - 1, rows)
            window = torch.from_numpy(
                np.stack([tokens[s : s + context + 1] for s in starts]).astype(np.int64)
            )
            yield window[:, :-1], window[:, 1:]

    train(model, optimizer, batches(), updates=range(1), total=100, peak=1e-3)
    Path(settings["done"]).write_text("1\n")


if __name__ == "__main__":
    main(sys.argv[1])
