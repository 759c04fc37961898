"""What a run ran on: code, packages, hardware, threads and command, for ``environment.json``."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from model_foundry.config._problems import is_secret
from model_foundry.config._problems import redacted as without_secrets

_PACKAGES = (
    "model-foundry", "torch", "accelerate", "transformers", "tokenizers", "datasets", "numpy", "pydantic",
    "safetensors",
)  # fmt: skip
_PREFIXES = ("ACCELERATE_", "MODEL_FOUNDRY_", "FSDP_", "NCCL_", "PYTORCH_", "SLURM_JOB_")
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "LD_PRELOAD", "LOCAL_WORLD_SIZE", "MKL_NUM_THREADS",
    "OMP_NUM_THREADS", "WORLD_SIZE",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that can change a run's numbers."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def describe_environment(folder: Path) -> dict[str, Any]:
    """Return the facts of this process and machine.

    Args:
        folder: The working folder, whose git commit is recorded.
    """
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "accelerators": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "packages": package_versions(),
        "git": _git(folder),
        "package_git": _code(),
        "folder": str(folder),
        "command": redacted(sys.orig_argv),
        "variables": _variables(),
    }


def redacted(arguments: list[str]) -> list[str]:
    """Return a command line with what looks like a secret hidden."""
    hidden = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        hidden.append(f"{name}=***" if equals and is_secret(name, value) else without_secrets(argument))
    return hidden


def _variables() -> dict[str, str]:
    """Return the environment variables that decide where a run runs, and how many processes it has."""
    names = sorted(name for name in os.environ if name.startswith(_PREFIXES) or name in _VARIABLES)
    return {name: os.environ[name] for name in names if not is_secret(name, os.environ[name])}


def _code() -> dict[str, Any] | None:
    """Return the commit of this package's own source, where it runs from a checkout."""
    folder = Path(__file__).parents[1]
    try:  # unless its files only lie inside another project's folder
        _ask_git(folder, "ls-files", "--error-unmatch", "__init__.py")
    except (OSError, subprocess.SubprocessError):
        return None
    return _git(folder)


def _git(folder: Path) -> dict[str, Any] | None:
    try:
        changed = _ask_git(folder, "status", "--porcelain", "-uno")
        return {"commit": _ask_git(folder, "rev-parse", "HEAD"), "is_dirty": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return None


def _ask_git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
