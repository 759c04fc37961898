"""How the processes of a run find each other, and who is named when one does not come.

torch 2.13 joins a group within one time for all: a process that died or hangs before it has the others wait
as long as for a collective, and names nobody. So each leaves a note in the store that they share, and waits
for the notes of the others first.
"""

from __future__ import annotations

import os
import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from model_foundry.errors import ResourceError
from model_foundry.failpoints import reach

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

START_SECONDS = 600.0
_LOOK_SECONDS = 0.05
_MOST_NAMED = 8


def meet(start: timedelta, timeout: timedelta) -> None:
    """Wait until all processes of the run are there; where there is one, do nothing.

    A launcher's agent keeps one store for all attempts, and torch 2.13 looks into it under the same names
    each time: after a restart a process could find the address of one that is gone, and wait for it (seen in
    2 of 4 restarts of torchrun, gloo). So every attempt has names of its own there. On several machines,
    whose agents need not count alike, ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1`` gives each attempt a store of
    its own instead; our scripts set it. A group that stands already is taken over by Accelerate as it is.

    Args:
        start: How long to wait for the others: the recipe's ``training.start_timeout``.
        timeout: How long a collective may take.

    Raises:
        ResourceError: ``peer_lost``, naming those that did not come.
    """
    processes, attempt = (
        int(os.environ.get(name, "0")) for name in ("WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    )
    if processes < 2:
        return
    reach("meeting")
    import torch
    import torch.distributed as dist
    from accelerate.state import is_initialized
    from torch._C._distributed_c10d import TCPStore
    from torch.distributed.distributed_c10d import PrefixStore

    if is_initialized() or dist.is_initialized():  # they have met already, or never will
        return
    rank, address, port = (os.environ[name] for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"))
    has_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    began = time.monotonic()
    try:
        store = TCPStore(
            address, int(port), processes, is_master=rank == "0" and not has_agent,
            wait_for_workers=False, timeout=start,
        )  # fmt: skip
        own = PrefixStore(f"attempt-{attempt if has_agent else 0}", store)
        _wait_for_all(own, int(rank), processes, start.total_seconds() - (time.monotonic() - began))
    except dist.DistError as error:
        raise ResourceError(
            f"rank {rank} on {socket.gethostname()} lost, or never reached, the store of the run at "
            f"{address}:{port}, where its {processes} processes meet: {str(error).splitlines()[0]}. See what "
            "rank 0 and its launcher said; training.start_timeout is how long a process waits.",
            reason="peer_lost",
        ) from error
    if attempt or not has_agent:
        dist.init_process_group(
            "nccl" if torch.cuda.is_available() else "gloo",
            store=own,
            rank=int(rank),
            world_size=processes,
            timeout=timeout,
        )


def _wait_for_all(store: Store, rank: int, processes: int, seconds: float) -> None:
    names = [f"here/{other}" for other in range(processes)]
    store.set(names[rank], socket.gethostname())
    deadline = time.monotonic() + seconds
    pause = _LOOK_SECONDS
    while not store.check(names):
        if time.monotonic() > deadline:
            missing = [other for other, name in enumerate(names) if not store.check([name])]
            more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
            raise ResourceError(
                f"{len(missing)} of {processes} processes did not come within {seconds:.0f} s "
                f"(training.start_timeout): rank {', '.join(map(str, missing[:_MOST_NAMED]))}{more}; "
                f"rank {rank} on {socket.gethostname()} waited. See what they and their launcher said "
                "where they run.",
                reason="peer_lost",
            )
        time.sleep(pause)
        pause = min(1.0, 1.5 * pause)
