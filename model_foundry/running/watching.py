"""A run that is watched: what ends it is told, of this process or another; and some updates are traced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from accelerate import Accelerator

from model_foundry.errors import Preempted
from model_foundry.training.peers import as_told_by_peers
from model_foundry.training.stopping import StopRequest
from model_foundry.training.watchdog import Watchdog

if TYPE_CHECKING:
    from model_foundry.trainer import Trainer
    from model_foundry.training.loop import TrainingLoop


def watch(trainer: Trainer, accelerator: Accelerator, stop: StopRequest) -> Watchdog:
    """Return the watchdog of this process; it begins to watch with ``watched``."""
    rank = accelerator.process_index
    return Watchdog(
        trainer.run.control,
        trainer.run.logs / f"rank{rank}.stacks.txt",
        rank=rank,
        processes=accelerator.num_processes,
        timeout=trainer.config.training.hang_timeout,
        tell=trainer.tell if accelerator.is_main_process else lambda error: None,
        stop=stop,
    )


@contextmanager
def traced(trainer: Trainer, loop: TrainingLoop, say: Callable[[str], None]) -> Iterator[None]:
    """Trace the updates that ``--profile`` names, of those that are taken in this context.

    Raises:
        RecipeError: When they are not still to come.
    """
    if trainer.profile is None:
        yield
        return
    from model_foundry.training.profiling import FOLDER, Profiling  # of torch.profiler a run has no need

    profiling = Profiling(
        trainer.run / FOLDER,
        trainer.profile,
        left=range(loop.state.updates + 1, loop.updates + 1),
        rank=loop.accelerator.process_index,
        now=lambda: loop.state.updates + 1,
        tell=say,
    )
    loop.throughput.phases.follow(profiling)
    try:
        yield
    finally:
        profiling.close()


@contextmanager
def watched(watchdog: Watchdog, trainer: Trainer) -> Iterator[None]:
    """Watch what is done in this context.

    Raises:
        ResourceError: ``peer_lost``, naming the rank, where it fails because another process is gone;
            ``hang`` where that one ended itself because it stood still.
    """
    watchdog.start()
    try:
        yield
    except Preempted:
        watchdog.stop()
        raise
    except BaseException as error:
        lost = as_told_by_peers(error, watchdog, trainer.run.status().get("last_good_checkpoint"))
        watchdog.stop(lost or error, is_witness=lost is not None)
        if lost is not None:
            raise lost from error
        raise
    watchdog.stop()
