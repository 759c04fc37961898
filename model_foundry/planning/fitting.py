"""``training.micro_batch_size: auto``: the largest micro-batch up to the plan's that fits in memory.

What an update needs is followed on tensors without contents (``planning/tracing.py``). Whatever is chosen, an
update shows the same windows and has the same sums; the micro-batches are only more, and smaller.
"""

from __future__ import annotations

import logging
import os
import resource
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model_foundry.errors import RecipeError
from model_foundry.model import Vocabulary
from model_foundry.planning.amounts import in_bytes
from model_foundry.planning.base import HOLES
from model_foundry.planning.memory import Shape, trace
from model_foundry.running.building import tokens_of
from model_foundry.running.sharded_runs import is_in_parts
from model_foundry.training.compiling import blocks
from model_foundry.units import read_bytes

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

    from model_foundry.config.plan import RunPlan
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.corpus.encoder import TextEncoder
    from model_foundry.training.checkpoint_files import Checkpoint

log = logging.getLogger(__name__)

LIMIT = "MODEL_FOUNDRY_MEMORY"
"""Variable of the environment with the memory that a process may take, such as 4GB."""

SHARE = 0.9
"""Of the free memory, what a run takes: others want some, and what is followed may be 10 % off."""

_SURELY = 5
"""How often the numbers around its matrices a model keeps for each token: more than any that was followed."""

_STATES = 4
"""How much more than that a recurrence keeps of its states."""

_WHOLE = "16,384 tokens or the share of a process"
_UNSHARDED = ("NO", "MULTI_CPU", "MULTI_GPU")


@dataclass(frozen=True)
class Fitted:
    """A micro-batch, and why it has that size."""

    micro_batch_size: int
    because: str

    def lines(self, planned: int) -> list[str]:
        """For people: what was chosen, where that is not what was planned."""
        size = self.micro_batch_size
        return [] if size == planned else [f"  micro-batch of {size}, not {planned} ({self.because})"]

    def plan(self, plan: RunPlan) -> RunPlan:
        """Return ``plan`` with micro-batches of this size."""
        size = self.micro_batch_size
        return replace(
            plan, micro_batch_size=size, rounds_per_update=-(-plan.batch_size // (size * plan.processes))
        )


def fit(
    config: ExperimentConfig,
    plan: RunPlan,
    model: PreTrainedModel,
    encoder: TextEncoder,
    accelerator: Accelerator,
    checkpoint: Checkpoint | None,
) -> Fitted:
    """Return the micro-batch of a run: what the recipe says, what a resumed run had, or what fits.

    ``auto`` begins with the plan's (16,384 tokens, at most the process's share of an update) and halves it
    until updates fit. All processes take the smallest answer of any. A resumed run keeps its own on the same
    number of processes, so that it goes on bit by bit, whatever memory is free now.

    Raises:
        RecipeError: When the variable with the limit cannot be read.
    """
    size = plan.micro_batch_size
    if config.training.micro_batch_size != "auto":
        return Fitted(size, "the recipe says so")
    if checkpoint is not None and _had_auto(checkpoint) and checkpoint.record["world_size"] == plan.processes:
        return Fitted(int(checkpoint.record["micro_batch_size"]), "as before the resume")
    kind = accelerator.distributed_type.value
    if kind not in _UNSHARDED or is_in_parts(accelerator):
        return Fitted(size, f"{_WHOLE}; under {kind} memory is not judged")
    vocabulary = Vocabulary(encoder.vocab_size, encoder.bos_id, encoder.eos_id, encoder.pad_id)
    shape = Shape(vocabulary, tokens_of(encoder), size, plan.rounds_per_update)
    here = _largest(config, model, shape, *_room(accelerator.device))
    least = int(accelerator.gather(torch.tensor([here.micro_batch_size], device=accelerator.device)).min())
    if least < here.micro_batch_size:
        return Fitted(least, "another process has room for no more")
    return here


def _largest(
    config: ExperimentConfig, model: PreTrainedModel, shape: Shape, room: int | None, taken: int
) -> Fitted:
    """Return the largest of ``shape`` and its halves whose updates fit.

    Args:
        config: The recipe.
        model: Built, its weights in memory already.
        shape: Of the micro-batch to begin with.
        room: Bytes that the process may have altogether; None where nobody knows.
        taken: Bytes that it has already, weights included.
    """
    size = shape.micro_batch_size
    if room is None:
        return Fitted(size, f"{_WHOLE}; the free memory is not known here")
    weights = sum(weight.nbytes for weight in model.parameters())
    if taken - weights + surely(model, size, config.data.context) <= room:
        return Fitted(size, _WHOLE)
    while True:
        try:
            traced = trace(config, replace(shape, micro_batch_size=size, rounds=2), evaluates=False)
        except (
            Exception
        ) as error:  # parts of a user's own, and kernels, raise what they like without contents
            log.debug("%s", error, exc_info=error)
            return Fitted(shape.micro_batch_size, f"{_WHOLE}; the memory of this model cannot be followed")
        needed = taken - weights + max(traced.most_bytes(), round(HOLES * traced.heap_bytes))
        facts = f"{in_bytes(needed)} of {in_bytes(room)}"
        if needed <= room:
            return Fitted(size, f"{_WHOLE}, fits: {facts}" if size == shape.micro_batch_size else facts)
        if size == 1:
            return Fitted(1, f"even one window needs {facts}")
        size //= 2


def surely(model: PreTrainedModel, windows: int, context: int) -> int:
    """Return more bytes than updates in such micro-batches need, at no cost.

    Four numbers a weight (itself, its gradient, two moments), and for each token ``_SURELY`` times those that
    enter and leave each matrix and each head's row of attention, or a recurrence's states.
    """
    layers = blocks(model)
    heads = getattr(model.config, "num_attention_heads", None)
    weights = list(model.parameters())
    around = sum(sum(weight.shape) for weight in weights if weight.ndim > 1)
    if layers and isinstance(heads, int):
        a_token = around + len(layers) * heads * context
    else:
        a_token = _STATES * around
    return 4 * (4 * sum(weight.numel() for weight in weights) + _SURELY * windows * context * a_token)


def _room(device: torch.device) -> tuple[int | None, int]:
    """Return what a process may take on ``device`` altogether, and what it has taken already."""
    limit = _limit()
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        taken = int(torch.cuda.memory_allocated(device))
        return (limit if limit is not None else round(SHARE * free) + taken), taken
    if device.type != "cpu":
        return limit, 0
    taken = _resident()
    if limit is not None:
        return limit, taken
    together = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return round(SHARE * _free() / together) + taken, taken


def _limit() -> int | None:
    given = os.environ.get(LIMIT)
    if not given:
        return None
    try:
        return read_bytes(given)
    except ValueError as error:
        raise RecipeError(
            f"{LIMIT} is {given!r}; expected the memory that a process may take, such as 4GB. "
            "Mend it, or unset it: what is free is taken then."
        ) from error


def _free() -> int:
    """Return the bytes that nobody uses, of the machine or of this process's control group."""
    import psutil

    free = [int(psutil.virtual_memory().available)]
    group = Path("/sys/fs/cgroup")
    most, now = group / "memory.max", group / "memory.current"
    if most.is_file() and now.is_file() and (words := most.read_text().strip()).isdigit():
        free.append(int(words) - int(now.read_text()))
    return max(0, min(free))


def _resident() -> int:
    pages = Path("/proc/self/statm")
    if pages.is_file():
        return int(pages.read_text().split()[1]) * resource.getpagesize()
    import psutil

    return int(psutil.Process().memory_info().rss)


def _had_auto(checkpoint: Checkpoint) -> bool:
    return bool(checkpoint.record["recipe"]["training"]["micro_batch_size"] == "auto")
