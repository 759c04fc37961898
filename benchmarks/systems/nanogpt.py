"""nanoGPT's published ``train.py``, as it stands, from a folder that the reader fetched (``--nanogpt``).

Its lines "iter N: ..." are the clock. On a CPU the script computes in float32 whatever it is told.
"""

from __future__ import annotations

import io
import os
import re
import runpy
import sys
from pathlib import Path

from benchmarks.systems import Clock, Request

FLAGS = {"compile": "--compile=True"}
_DONE = re.compile(r"iter (\d+):")


def why_not(request: Request) -> str | None:
    """It has to be there, and knows one precision on a CPU and one process without torchrun's NCCL."""
    folder = request.places.get("nanogpt")
    if folder is None:
        return "nanoGPT is not shipped with this: fetch it yourself and name its folder with --nanogpt"
    missing = [
        name for name in ("train.py", "model.py", "configurator.py") if not (Path(folder) / name).is_file()
    ]
    if missing:
        return f"{folder} has no {missing[0]}"
    if request.precision != "fp32":
        return "its script computes in float32 on a CPU"
    if request.processes > 1:
        return "its script knows no several processes on a CPU"
    return None


class Told(io.TextIOBase):
    """Standard output that stamps the clock at each line of an update.

    Args:
        clock: Is stamped.
        done: Finds the number of an update in a piece of a line.
        first: The number of the first update.
    """

    def __init__(self, clock: Clock, done: re.Pattern[str], *, first: int) -> None:
        self.clock, self.done, self.first = clock, done, first

    def write(self, text: str) -> int:
        """Take a piece of a line."""
        found = self.done.match(text)
        if found:
            self.clock.stamp(int(found[1]) - self.first + 1)
        return len(text)


def run(request: Request, clock: Clock) -> int:
    """Run the script with the sizes of the benchmark, one evaluation of one batch at its beginning."""
    source, size = request.places["nanogpt"], request.size
    settings = {
        "dataset": request.stream,
        "out_dir": request.folder,
        "device": "cpu",
        "dtype": "float32",
        "compile": "compile" in request.flags,
        "n_layer": size["layers"],
        "n_head": size["heads"],
        "n_embd": size["width"],
        "block_size": size["context"],
        "batch_size": size["batch"],
        "bias": True,
        "dropout": 0.0,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1e-3,
        "max_iters": request.updates - 1,  # it takes one more
        "lr_decay_iters": request.updates,
        "warmup_iters": 1,
        "eval_interval": 10**9,
        "eval_iters": 1,
        "log_interval": 1,
    }
    os.chdir(source)
    sys.path.insert(0, source)
    sys.argv = ["train.py", *(f"--{name}={value}" for name, value in settings.items())]
    screen, sys.stdout = sys.stdout, Told(clock, _DONE, first=0)  # type: ignore[assignment]
    try:
        made = runpy.run_path("train.py", run_name="__main__")
    finally:
        sys.stdout = screen
    return sum(parameter.numel() for parameter in made["raw_model"].parameters())
