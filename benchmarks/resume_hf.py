"""Trainer of transformers for ``resume.py``: STYLE STREAM RUN BATCH UPDATES FROM; writes RUN/first-update."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from benchmarks.sizes import SIZES
from benchmarks.systems import Request
from benchmarks.systems import _peers as peers


class Mark(TrainerCallback):
    """Says when the first update is done."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def on_step_end(self, args, state, control, **others):  # type: ignore[no-untyped-def]
        """Leave a file."""
        (self.run / "first-update").touch()


class Stream(torch.utils.data.IterableDataset[dict[str, torch.Tensor]]):
    """The windows one after another, for those who begin at the beginning."""

    def __init__(self, windows: peers.Windows) -> None:
        self.windows = windows

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return (self.windows[index] for index in range(len(self.windows)))


def main(style: str, stream: str, run: str, batch: str, updates: str, update: str) -> None:
    """Train from a checkpoint, or from the beginning with a checkpoint after each tenth of the updates."""
    request = Request(SIZES["tiny"], "fp32", int(updates), (), stream, run)
    windows = peers.Windows(request)
    arguments = TrainingArguments(
        output_dir=run,
        per_device_train_batch_size=int(batch),
        max_steps=request.updates,
        save_steps=request.updates // 10,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        peers.gpt2(request, "gelu_new"),
        arguments,
        train_dataset=Stream(windows) if style == "iterable" else windows,
        callbacks=[Mark(Path(run))],
    )
    trainer.train(resume_from_checkpoint=f"{run}/checkpoint-{update}" if int(update) else None)


if __name__ == "__main__":
    main(*sys.argv[1:])
