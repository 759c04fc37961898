"""What a run ran on: code, packages, hardware, threads and command, for ``environment.json``."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "model-foundry", "torch", "accelerate", "transformers", "tokenizers", "datasets", "numpy", "pydantic", "safetensors",
)  # fmt: skip
_SECRET_WORDS = ("token", "secret", "password", "key")


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
        "command": redacted(sys.argv),
    }


def redacted(arguments: list[str]) -> list[str]:
    """Return a command line with the values of secrets hidden."""
    hidden = []
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        is_secret = equals and any(word in name.lower().rpartition(".")[2] for word in _SECRET_WORDS)
        hidden.append(f"{name}=***" if is_secret else argument)
    return hidden


def _git(folder: Path) -> dict[str, Any] | None:
    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "is_dirty": bool(ask("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
