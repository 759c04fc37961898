"""What ``model-foundry doctor`` looks at: what is there, and what to do where that will not do."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from model_foundry.launching.allocator import find_tcmalloc
from model_foundry.training.environment import package_versions

_GIGABYTE = 1e9
_LEAST_FREE, _LEAST_SHARED, _LEAST_FILES, _LEAST_MEMORY = 5e9, 64e6, 1024, 2e9
_EXTRAS = {
    "plots": "matplotlib",
    "track": "trackio",
    "eval": "lm_eval",
    "optimizers": "pytorch_optimizer",
}
"""Extras of the package and what each brings."""
_PROBE_BYTES = 64 * 2**20
_TIMEOUT_SECONDS = 120.0
_ALL_REDUCE = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
one = torch.ones(1)
dist.all_reduce(one)
print("sum", int(one))
dist.destroy_process_group()
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Literal["good", "note", "bad"]
    """``note``: a run works, and could do better. ``bad``: it stands in the way."""

    found: str
    repair: str = ""


def examine(folder: Path) -> Iterator[Finding]:
    """Yield what was found, one thing after the other; nothing stays behind in ``folder``."""
    yield Finding("python", "good", f"{platform.python_version()} at {sys.executable}")
    yield _packages()
    yield _extras()
    yield from _devices()
    yield _threads()
    yield _memory()
    yield _allocator()
    yield from _disk(folder)
    yield _shared_memory()
    yield _open_files()
    yield _cache()
    yield _network()
    yield _two_processes()


def _packages() -> Finding:
    versions = package_versions()
    missing = [name for name, number in versions.items() if number == "not installed"]
    found = ", ".join(f"{name} {number}" for name, number in versions.items())
    repair = f"pip install {' '.join(missing)}" if missing else ""
    return Finding("packages", "bad" if missing else "good", found, repair)


def _devices() -> Iterator[Finding]:
    import torch

    count = torch.cuda.device_count()
    if count:
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
        yield Finding("accelerators", "good", f"{count}: {names}")
        bf16 = torch.cuda.is_bf16_supported()
        repair = "" if bf16 else "Use training.precision: fp32."
        yield Finding("bf16", "good" if bf16 else "note", "supported" if bf16 else "not supported", repair)
        return
    repair = "Models of up to some 10M parameters train well on a CPU."
    yield Finding("accelerators", "note", "none: training runs on the CPU", repair)
    flags = _processor_flags()
    fast = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags]
    if fast:
        yield Finding(
            "bf16", "good", f"the processor has {', '.join(fast)}: training.precision: bf16 is faster"
        )
    else:
        yield Finding(
            "bf16", "note", "not in the processor", "Use training.precision: fp32, which is faster here."
        )


def _processor_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    return set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())


def _threads() -> Finding:
    import psutil
    import torch

    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    best, used = min(physical, allowed), torch.get_num_threads()
    found = f"{used} (cores of this process: {best})"
    if used == best:
        return Finding("threads", "good", found)
    why = "more threads than cores are slower" if used > best else "cores are left unused"
    return Finding("threads", "note", found, f"Set OMP_NUM_THREADS={best}: {why}.")


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / _GIGABYTE:.1f} GB free of {memory.total / _GIGABYTE:.1f}"
    if memory.available < _LEAST_MEMORY:
        repair = "Close other programs, or use a smaller training.micro_batch_size."
        return Finding("memory", "note", found, repair)
    return Finding("memory", "good", found)


def _extras() -> Finding:
    missing = [extra for extra, package in _EXTRAS.items() if find_spec(package) is None]
    there = ", ".join(extra for extra in _EXTRAS if extra not in missing) or "none"
    if not missing:
        return Finding("extras", "good", there)
    uses = "plots: figures as files; track: trackio; eval: lm-evaluation-harness; optimizers: those by name"
    repair = f"Where you need them ({uses}): pip install 'model-foundry[{','.join(missing)}]'"
    return Finding("extras", "note", f"{there}; not installed: {', '.join(missing)}", repair)


def _allocator() -> Finding:
    if "tcmalloc" in os.environ.get("LD_PRELOAD", ""):
        return Finding("allocator", "good", "tcmalloc")
    if (library := find_tcmalloc()) is not None:
        found = f"the C library's, with large blocks kept; tcmalloc is installed ({library})"
        return Finding("allocator", "note", found, "Try train --allocator tcmalloc: often faster on a CPU.")
    return Finding("allocator", "good", "the C library's, with large blocks kept")


def _disk(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    enough = free >= _LEAST_FREE
    repair = (
        "" if enough else "Free some space, or write runs elsewhere: --run-dir. `plan` says what a run needs."
    )
    yield Finding(
        "free disk", "good" if enough else "note", f"{free / _GIGABYTE:.1f} GB at {folder.resolve()}", repair
    )
    probe = folder / f".model-foundry-probe-{uuid.uuid4().hex}"
    try:
        began = time.monotonic()
        with probe.open("wb") as file:
            file.write(os.urandom(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        speed = _PROBE_BYTES / (time.monotonic() - began)
    except OSError as error:
        yield Finding(
            "writing", "bad", f"{folder.resolve()}: {error.strerror}", "Name another folder: --run-dir."
        )
        return
    finally:
        probe.unlink(missing_ok=True)
    yield Finding("writing", "good", f"{speed / 1e6:.0f} MB/s, flushed to the disk")


def _shared_memory() -> Finding:
    path = Path("/dev/shm")
    if not path.is_dir():
        return Finding("shared memory", "note", "no /dev/shm", "Use data.workers: 0.")
    free = shutil.disk_usage(path).free
    if free < _LEAST_SHARED:
        repair = "Loader workers need it: start the container with --shm-size=1g, or use data.workers: 0."
        return Finding("shared memory", "bad", f"{free / 1e6:.0f} MB free in /dev/shm", repair)
    return Finding("shared memory", "good", f"{free / _GIGABYTE:.1f} GB free in /dev/shm")


def _open_files() -> Finding:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = limit == resource.RLIM_INFINITY or limit >= _LEAST_FILES
    return Finding("open files", "good" if enough else "note", str(limit), "" if enough else "ulimit -n 4096")


def _cache() -> Finding:
    from model_foundry.corpus.cache import default_cache_folder

    folder = default_cache_folder()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        return Finding(
            "token cache", "bad", f"{folder} cannot be written", "Set MODEL_FOUNDRY_CACHE to a folder."
        )
    return Finding("token cache", "good", str(folder))


def _network() -> Finding:
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes")
    return Finding(
        "network", "good", "HF_HUB_OFFLINE is set" if offline else "used only where a recipe names a hub"
    )


def _two_processes() -> Finding:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-c", _ALL_REDUCE]
    processes = [
        subprocess.Popen(
            command, env={**common, "RANK": rank}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for rank in ("0", "1")
    ]
    began, outputs = time.monotonic(), []
    for process in processes:
        try:
            outputs.append(
                process.communicate(timeout=max(1.0, _TIMEOUT_SECONDS - time.monotonic() + began))[0]
            )
        except subprocess.TimeoutExpired:
            process.kill()
            outputs.append(process.communicate()[0])
    if all("sum 2" in output for output in outputs):
        return Finding("two processes", "good", "summed a number over loopback")
    last = next(
        (output.strip().splitlines()[-1] for output in outputs if output.strip()), "no answer in time"
    )
    return Finding("two processes", "bad", last, "Allow connections over 127.0.0.1, or train in one process.")
