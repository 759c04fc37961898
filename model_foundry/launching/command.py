"""Runs ``accelerate launch`` with a placement, and gives back what launchers lose: status and message."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from model_foundry.errors import RecipeError
from model_foundry.launching.placements import Placement
from model_foundry.launching.restarts import attempt
from model_foundry.run_directory import RunDirectory

OUTCOME = "MODEL_FOUNDRY_OUTCOME"
"""Names the folder in which a launched process leaves status and message: launchers turn all into 1."""

_ASKS_TO_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def require_no_launcher() -> None:
    """Refuse ``--placement`` in a process that a launcher started already.

    Raises:
        RecipeError: Always then.
    """
    if "ACCELERATE_MIXED_PRECISION" in os.environ or "LOCAL_RANK" in os.environ:
        raise RecipeError(
            "--placement starts accelerate launch itself, and a launcher started this process already. "
            "Leave one of the two out: model-foundry train RECIPE --placement NAME."
        )


def launch_command(
    placement: Placement,
    arguments: Sequence[str],
    *,
    processes: int | None = None,
    max_restarts: int = 0,
) -> list[str]:
    """Return the command that trains under a placement.

    Args:
        placement: Where it runs.
        arguments: What ``model_foundry.train`` is given.
        processes: In place of the file's number, over all machines.
        max_restarts: How often the launcher may start the processes again after a failure.

    Raises:
        RecipeError: When so many processes cannot be had with this file.
    """
    if processes is not None and placement.settings.get("parallelism_config"):
        wanted = _product(placement)
        if processes != wanted:
            raise RecipeError(
                f"--processes {processes}: the sizes in {placement.name}'s parallelism_config make {wanted} "
                "processes. Copy the file, change both, and name the copy."
            )
    several = (placement.processes if processes is None else processes) > 1
    if not several and placement.settings.get("distributed_type") != "NO":
        raise RecipeError(f"--processes 1: {placement.name} is for several; take cpu or single_gpu.")
    if several and placement.settings.get("distributed_type") == "NO":
        raise RecipeError(
            f"--processes {processes}: {placement.name} starts one process, whatever is asked for. Take "
            f"{'cpu_2_processes' if placement.is_on_cpu else 'ddp or fsdp2'}."
        )
    if max_restarts and not several:
        raise RecipeError("--max-restarts: only a launcher of several processes starts them again.")
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--quiet",
        "--config_file",
        str(placement.path),
    ]
    if processes is not None:
        command += ["--num_processes", str(processes)]
    if max_restarts:
        command += ["--max_restarts", str(max_restarts)]
    return [*command, "-m", "model_foundry.train", *arguments]


def _product(placement: Placement) -> int:
    product = 1
    for name in ("dp_replicate", "dp_shard", "tp", "cp", "sp"):
        product *= placement.settings["parallelism_config"].get(f"parallelism_config_{name}_size", 1)
    return product


def launch_environment(placement: Placement, processes: int | None = None) -> dict[str, str]:
    """Return the environment for that command: CPUs are said twice, and each process has its threads."""
    environment = dict(os.environ)
    if placement.is_on_cpu:
        environment["ACCELERATE_USE_CPU"] = "true"  # not handed on to several processes (Accelerate 1.15)
    here = max(1, (processes or placement.processes) // placement.machines)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment.setdefault("OMP_NUM_THREADS", str(max(1, allowed // here)))
    return environment


def launch(command: Sequence[str], environment: Mapping[str, str], run: RunDirectory) -> int:
    """Run the command to its end and return the training's own exit status.

    A signal that asks this process to stop becomes the file ``control/stop`` in the run's folder: launchers
    would end first, or kill after half a minute. A second signal, or one before there is a run, is passed on.
    What the training said at its end is said again, since launchers print a traceback after it.
    """
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen(command, env={**environment, OUTCOME: folder}, start_new_session=True)
        with _asked_by_signals(run, child.pid):
            status = child.wait()
        if status and (outcomes := sorted(Path(folder).glob("attempt-*.json"))):
            told = json.loads(outcomes[-1].read_text(encoding="utf-8"))
            print(f"error: {told['message']}", file=sys.stderr, flush=True)
            return int(told["status"])
    return 128 - status if status < 0 else status


def keep_outcome(status: int, message: str) -> None:
    """Leave status and message of this process for the ``launch`` that started it, if one did."""
    if folder := os.environ.get(OUTCOME):
        path = Path(folder, f"attempt-{attempt():04}.json")
        with suppress(OSError), path.open("x", encoding="utf-8") as file:  # the first of several processes
            json.dump({"status": status, "message": message}, file)


@contextmanager
def _asked_by_signals(run: RunDirectory, group: int) -> Iterator[None]:
    is_asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal is_asked
        if not is_asked and run.status().get("state") == "running":
            is_asked = True
            with suppress(OSError):
                (run.control / "stop").touch()
                return
        with suppress(ProcessLookupError):
            os.killpg(group, number)

    previous = {number: signal.signal(number, ask) for number in _ASKS_TO_STOP}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if is_asked:  # it may have ended for another reason first
            (run.control / "stop").unlink(missing_ok=True)
