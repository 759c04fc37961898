"""A folder for what is made and thrown away, removed however the work in it ends."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_PREFIX = ".verify-"


@contextmanager
def scratch_folder(beside: Path | None) -> Iterator[Path]:
    """Make a folder and remove it at the end, also when this process is told to terminate.

    What a killed process left in ``beside`` is removed first.

    Args:
        beside: Where it shall lie, so that files can be linked into it; the system's temporary folder where
            that cannot be written, or is None.
    """
    folder = _make(beside)
    previous = signal.signal(signal.SIGTERM, _leave)
    try:
        yield folder
    finally:
        signal.signal(signal.SIGTERM, previous)
        shutil.rmtree(folder, ignore_errors=True)


def _make(beside: Path | None) -> Path:
    if beside is not None:
        try:
            for left in beside.glob(f"{_PREFIX}*"):
                if not _is_alive(left.name.removeprefix(_PREFIX)):
                    shutil.rmtree(left, ignore_errors=True)
            folder = (beside / f"{_PREFIX}{os.getpid()}").absolute()
            folder.mkdir()
            return folder
        except OSError:  # a run that may be read and not written
            pass
    return Path(tempfile.mkdtemp(prefix="model-foundry-verify-"))


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return int(pid) != os.getpid()


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
