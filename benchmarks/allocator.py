"""Finds the library of another memory allocator, to be preloaded."""

from __future__ import annotations

import ctypes.util
import glob
from pathlib import Path

_PLACES = (
    "/usr/lib/*-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)
_NAMES = ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4", "libtcmalloc_minimal.so", "libtcmalloc.so")


def tcmalloc() -> str | None:
    """Return the path of tcmalloc on this machine, or None (Debian has it in libtcmalloc-minimal4)."""
    for name in _NAMES:
        for place in _PLACES:
            for path in sorted(glob.glob(f"{place}/{name}*")):
                return path
    return ctypes.util.find_library("tcmalloc_minimal")


def path_of(given: str | None) -> str | None:
    """Return the path that is meant: None for nothing, ``tcmalloc`` where it is found, or a file.

    Raises:
        ValueError: Where there is no such file, with what to do.
    """
    found = tcmalloc() if given in (None, "tcmalloc") else given
    if given is None or (found and (Path(found).is_file() or "/" not in found)):
        return found
    raise ValueError(
        f"--allocator {given}: not found. Install tcmalloc (Debian and Ubuntu: libtcmalloc-minimal4), or "
        "give the path of the library: --allocator PATH."
    )
