"""litgpt's ``pretrain`` as published, under an interpreter that has it (``--litgpt PYTHON``).

It always compiles, and has no learned positions, so its model is the same shape with rotary ones, a few
parameters less. Its lines "... iter N step N ..." are the clock.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from benchmarks.systems import Clock, Request
from benchmarks.systems.nanogpt import Told

FLAGS: dict[str, str] = {}
_DONE = re.compile(r"Epoch \d+ \| iter (\d+) step")


def why_not(request: Request) -> str | None:
    """It has to be there, and shards over several processes in a way that a CPU does not know."""
    if "litgpt" not in request.places:
        return "litgpt wants an environment of its own: name its interpreter with --litgpt PYTHON"
    if request.processes > 1:
        return "litgpt shards several processes with FSDP, for GPUs"
    return None


def python(request: Request) -> str:
    """Return the interpreter that has it."""
    return request.places["litgpt"]


def run(request: Request, clock: Clock) -> int:
    """Call its ``setup`` with data of our own and without checkpoints."""
    import numpy as np
    import torch
    from litgpt import Config, pretrain
    from litgpt.args import EvalArgs, TrainArgs
    from litgpt.data import DataModule

    size, rows = request.size, request.windows
    made: list[torch.nn.Module] = []

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __init__(self) -> None:
            self.tokens = np.memmap(Path(request.stream) / "train.bin", dtype="<u2", mode="r")

        def __len__(self) -> int:
            return (len(self.tokens) - 1) // size["context"]

        def __getitem__(self, index: int) -> torch.Tensor:
            start = index * size["context"]
            return torch.from_numpy(self.tokens[start : start + size["context"] + 1].astype(np.int64))

    class Stream(DataModule):  # type: ignore[misc]
        def connect(self, tokenizer=None, batch_size=1, max_seq_length=None):  # type: ignore[no-untyped-def]
            self.rows = batch_size

        def train_dataloader(self):  # type: ignore[no-untyped-def]
            return torch.utils.data.DataLoader(Rows(), batch_size=self.rows, shuffle=True)

        val_dataloader = train_dataloader

    class Kept(pretrain.GPT):  # type: ignore[misc, name-defined]
        def __init__(self, config: Config) -> None:
            super().__init__(config)
            made.append(self)

    pretrain.GPT = Kept
    pretrain.save_checkpoint = lambda *given, **named: None  # none, as with the systems beside it
    config = Config(
        name="benchmark",
        block_size=size["context"],
        vocab_size=size["vocabulary"],
        padded_vocab_size=size["vocabulary"],
        n_layer=size["layers"],
        n_head=size["heads"],
        n_embd=size["width"],
        parallel_residual=False,
        bias=True,
        gelu_approximate="tanh",
    )
    train = TrainArgs(
        save_interval=None,
        log_interval=1,
        global_batch_size=rows,
        micro_batch_size=rows,
        max_tokens=request.updates * rows * size["context"],
        max_norm=1.0,
        min_lr=1e-4,
        lr_warmup_steps=1,
        tie_embeddings=True,
    )
    screen, sys.stdout = sys.stdout, Told(clock, _DONE, first=1)  # type: ignore[assignment]
    try:
        pretrain.setup(
            "benchmark",
            model_config=config,
            out_dir=Path(request.folder),
            precision="bf16-mixed" if request.precision == "bf16" else "32-true",
            data=Stream(),
            train=train,
            eval=EvalArgs(interval=10**9, max_iters=1, final_validation=False),
            devices=1,
            logger_name="csv",
        )
    finally:
        sys.stdout = screen
    return sum(parameter.numel() for parameter in made[0].parameters())
