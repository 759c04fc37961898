"""``train --allocator tcmalloc``: begins the program anew under another memory allocator.

The loader chooses it (``LD_PRELOAD``) before anything runs, so the process replaces itself, once. Of a
library that it cannot load the loader only warns; so whether it is there is looked at afterwards.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path

from model_foundry.errors import RecipeError

PRELOAD = "LD_PRELOAD"
_FOLDERS = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")
_NAMES = ("libtcmalloc_minimal.so*", "libtcmalloc.so*")  # the small one first: it has no profilers inside


def find_tcmalloc() -> Path | None:
    """Return the library's path on this machine, or None."""
    for name in _NAMES:
        for folder in _FOLDERS:
            if found := sorted(glob(f"{folder}/{name}")):
                return Path(found[0])
    return None


def find_allocator(asked: str) -> Path:
    """Return the library that ``--allocator`` means: ``tcmalloc``, or a path.

    Raises:
        RecipeError: When it is not there, or this system has no such choice.
    """
    if not sys.platform.startswith("linux"):
        raise RecipeError(
            f"--allocator {asked}: expected on Linux alone, and this is {sys.platform}. Leave it out."
        )
    found = find_tcmalloc() if asked == "tcmalloc" else Path(asked)
    if found is None or not found.is_file():
        raise RecipeError(
            f"--allocator {asked}: not found. Install tcmalloc (libtcmalloc-minimal4 on Debian and Ubuntu, "
            "gperftools-libs on Fedora), give the path of its library, or leave it out."
        )
    return found.resolve()


def is_loaded(library: Path) -> bool:
    """Whether this process has that library in its memory."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    return any(line.endswith(f" {library}") for line in maps.splitlines())


def run_under(asked: str, arguments: Sequence[str]) -> None:
    """Go on where the allocator is loaded; else begin ``model_foundry.train`` anew with it, once.

    Raises:
        RecipeError: When there is no such library, or the loader did not take it.
    """
    library = find_allocator(asked)
    if is_loaded(library):
        return
    if str(library) in os.environ.get(PRELOAD, "").split(":"):
        raise RecipeError(
            f"--allocator {asked}: the loader did not take {library} (another architecture, or no library). "
            "Give another path, or leave it out."
        )
    command = [sys.executable, "-m", "model_foundry.train", *arguments]
    os.execve(sys.executable, command, preloaded(library, os.environ))


def preloaded(library: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` with the library before all others."""
    others = environment.get(PRELOAD, "")
    return {**environment, PRELOAD: f"{library}:{others}" if others else str(library)}
