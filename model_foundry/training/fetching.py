"""Where a run goes on when its own folder has no checkpoint for it: the copies that lie elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from model_foundry.errors import CheckpointError
from model_foundry.manifest import ManifestError
from model_foundry.training.checkpoint_files import Checkpoint, find_checkpoint, updates_of, verify_checkpoint
from model_foundry.training.remote import Remote

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0


def find_or_fetch(
    folder: Path,
    run_id: str | None,
    mirror: str | None,
    *,
    is_main: bool,
    timeout: float,
    tell: Callable[..., None] = lambda kind, **facts: None,
) -> Checkpoint | None:
    """Return the newest usable checkpoint of a run, else of its mirror; None where none was published.

    Args:
        folder: The run's ``checkpoints`` folder.
        run_id: The run, where it is known.
        mirror: Address of its copies, or None.
        is_main: Whether this process fetches; the others wait until it has.
        timeout: How long they wait.
        tell: See ``find_checkpoint``.

    Raises:
        CheckpointError: When there are checkpoints and none of them can be used.
    """
    try:
        found = find_checkpoint(folder, run_id, tell=tell)
    except CheckpointError as error:
        if mirror is None:
            raise
        fetched = fetch_checkpoint(mirror, folder, run_id, is_main=is_main, timeout=timeout)
        if fetched is None:
            raise CheckpointError(f"{error}\nIts mirror, {mirror}, has no checkpoint either.") from error
        return fetched
    if found is not None or mirror is None:
        return found
    return fetch_checkpoint(mirror, folder, run_id, is_main=is_main, timeout=timeout)


def fetch_checkpoint(
    address: str, folder: Path, run_id: str | None, *, is_main: bool, timeout: float
) -> Checkpoint | None:
    """Bring the newest copy that verifies, or the one that the address names, into a run.

    Args:
        address: A folder of copies, or one of them.
        folder: The run's ``checkpoints`` folder.
        run_id: The run that it must belong to; any where not given.
        is_main: Whether this process fetches; the others wait until it has.
        timeout: How long they wait.

    Returns:
        The checkpoint in its new place; None where there is no copy at all.

    Raises:
        CheckpointError: When there are copies and none can be used, or the named one cannot.
    """
    base, _, last = address.rstrip("/").rpartition("/")
    is_named = updates_of(Path(last)) is not None
    remote = Remote(base if is_named else address)
    try:
        names = [last] if is_named else remote.names()
    except OSError as error:
        raise CheckpointError(f"{address}: it cannot be read: {error}. Try again when it can.") from error
    if not names:
        return None
    if not is_main:
        return _wait(folder, names, timeout)
    rejected = []
    for name in names:
        try:
            checkpoint = _have(folder / name, remote) or remote.fetch(name, folder, run_id)
        except (ManifestError, OSError) as error:
            rejected.append(f"{name}: {error}")
            log.warning("%s of %s is passed over: %s", name, address, error)
        else:
            log.warning("resuming from a copy: %s of %s", name, address)
            return checkpoint
    raise CheckpointError(
        f"{address}: no usable checkpoint.\n  "
        + "\n  ".join(rejected)
        + "\nName another copy with --resume-from, or start a new run folder."
    )


def _have(path: Path, remote: Remote) -> Checkpoint | None:
    """Return the run's own checkpoint of that name where it is the same one, and holds."""
    try:
        checkpoint = verify_checkpoint(path)
    except (ManifestError, OSError):
        return None
    is_same = checkpoint.is_resumable and remote.holds(path.name, checkpoint.manifest["digest"])
    return checkpoint if is_same else None


def _wait(folder: Path, names: list[str], timeout: float) -> Checkpoint:
    """Wait until the main process has fetched one of these; where it fails, the launcher ends us all."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for name in names:
            try:
                return verify_checkpoint(folder / name)
            except (ManifestError, OSError):
                continue
        time.sleep(_POLL_SECONDS)
    raise CheckpointError(
        f"{folder}: the main process fetched no checkpoint within {timeout:.0f} s. Its log says why."
    )
