"""The only place that constructs an Accelerator; it checks that it is what was asked for."""

from __future__ import annotations

import ctypes
import os
import random
import sys
from contextlib import suppress
from datetime import timedelta
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, InitProcessGroupKwargs
from torch.distributed.fsdp import MixedPrecisionPolicy

from model_foundry.errors import RecipeError
from model_foundry.training.launched import require_as_launched
from model_foundry.training.meeting import START_SECONDS, meet

_MARGIN_SECONDS = 30.0  # the watchdog's message is the better one, so it comes first
_PRECISIONS: dict[str, Literal["no", "bf16", "fp16"]] = {
    "fp32": "no", "tf32": "no", "bf16": "bf16", "fp16": "fp16",
}  # fmt: skip
_MALLOC_TRIM_THRESHOLD, _MALLOC_TOP_PAD, _MALLOC_MMAP_MAX = -1, -2, -4


def build_accelerator(
    precision: str, *, timeout_seconds: float, start_seconds: float = START_SECONDS
) -> Accelerator:
    """Return the accelerator of this process.

    Args:
        precision: The recipe's ``training.precision``.
        timeout_seconds: How long a process may wait for the others: the recipe's ``training.hang_timeout``.
        start_seconds: How long it waits for them at the start: ``training.start_timeout``.

    Raises:
        ResourceError: When one does not come in that time.
        RecipeError: When the launcher's settings contradict the recipe, or other processes run than asked.
    """
    wanted = _PRECISIONS[precision]
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if launched not in ("no", wanted):  # the launcher always exports a value, "no" where nobody chose one
        raise RecipeError(
            f"training.precision is {precision}, and the launcher's configuration says mixed_precision: "
            f"{launched}. Let the recipe decide: set mixed_precision to no in the configuration file."
        )
    _require_rendezvous()
    is_told_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    require_device_for(precision, has_cuda=torch.cuda.is_available() and not is_told_cpu)
    on_cpu = not torch.cuda.is_available() and not torch.backends.mps.is_available()
    if on_cpu:
        keep_large_blocks()
    timeout = timedelta(seconds=timeout_seconds + _MARGIN_SECONDS)
    meet(timedelta(seconds=start_seconds), timeout)
    accelerator = Accelerator(
        mixed_precision=wanted,
        gradient_accumulation_steps=1,
        cpu=on_cpu or is_told_cpu,
        dataloader_config=DataLoaderConfiguration(non_blocking=torch.cuda.is_available()),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timeout)],
    )
    require_as_launched(accelerator)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    if accelerator.is_fsdp2:
        reduce_in_float32(accelerator)
    if accelerator.gradient_accumulation_steps != 1:
        raise RecipeError(
            f"the launcher sets gradient_accumulation_steps to {accelerator.gradient_accumulation_steps}, "
            "and accumulation follows from the recipe's batch_size and micro_batch_size. Remove it from "
            "the configuration."
        )
    return accelerator


def require_device_for(precision: str, *, has_cuda: bool) -> None:
    """Refuse a precision that only CUDA devices have: elsewhere it would be float32 without a word.

    Raises:
        RecipeError: Naming what to take instead.
    """
    if precision in ("tf32", "fp16") and not has_cuda:
        what = {"tf32": "the tensor cores of NVIDIA GPUs", "fp16": "Accelerate on NVIDIA GPUs"}[precision]
        raise RecipeError(
            f"training.precision: {precision} is a way of {what}, and this run has none: it would compute in "
            "float32 without a word. Use bf16 or fp32."
        )


def reduce_in_float32(accelerator: Accelerator) -> None:
    """Let FSDP2 sum gradients, and give the loss, in float32, as DDP does; Accelerate has both in bf16."""
    plugin = accelerator.state.fsdp_plugin
    computing = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision)
    if computing is not None:
        plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=computing, reduce_dtype=torch.float32, output_dtype=torch.float32
        )


def _require_rendezvous() -> None:
    """Refuse an environment in which processes could wait for each other for ever, or each be the first."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    missing = [
        name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)
    ]
    if processes > 1 and missing:
        raise RecipeError(
            f"the environment says WORLD_SIZE={processes}, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set, so the processes cannot find each other. "
            "Start them with accelerate launch or torchrun, which set all of these, or unset WORLD_SIZE."
        )


def keep_large_blocks() -> None:
    """Keep freed memory in the process, where glibc would give large temporaries back each time.

    The largest single effect on a CPU (about 1.2 times the tokens a second). Where the C library has no
    ``mallopt`` nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MALLOC_MMAP_MAX, 0)
        libc.mallopt(_MALLOC_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_MALLOC_TOP_PAD, 256 * 2**20)


def seed_process(seed: int) -> None:
    """Seed Python, NumPy and torch; no part draws from these, but a mistake shall be repeatable."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def make_deterministic() -> None:
    """Have torch use deterministic algorithms alone, and raise where an operation has none.

    On a CPU runs are bit-identical with or without it, on the same number of threads. On CUDA it also
    sets the workspace that cuBLAS needs (https://docs.nvidia.com/cuda/cublas, section on
    reproducibility); not yet run there.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
