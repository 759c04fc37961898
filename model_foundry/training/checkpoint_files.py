"""What lies in a checkpoint's folder, and what is checked before anything in it is parsed.

checkpoint-<updates>/
  MANIFEST.json          sizes, SHA-256, and what the files belong to
  model.safetensors      the weights, with config.json and the tokenizer's files: from_pretrained works
  sharded/               the weights in parts instead, where the recipe does not export each checkpoint
  trainer_state.json     clock, recipe, versions, topology, randomness, place in the data
  state/                 what only a resume needs; absent where the manifest says that it was dropped
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from model_foundry.errors import CheckpointError
from model_foundry.manifest import ManifestError, list_files, read_manifest, verify_manifest

log = logging.getLogger(__name__)

STATE_FOLDER = "state"
"""What only a resume needs: optimizer and random state."""

TRAINER_STATE = "trainer_state.json"
WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.bin"
SHARDED_WEIGHTS = "sharded"
SHARDED_STATE, SHARDED_OPTIMIZER = "pytorch_model_fsdp_0", "optimizer_0"
"""In the state's folder, where the tensors lie in parts: Accelerate's names."""

CARRIED_FILE = "carried_state.safetensors"
"""In the state's folder, where a recurrent model remembers from update to update."""

_CONFIG = "config.json"
_SCALER = "scaler.pt"  # of fp16 alone
_BESIDE_WEIGHTS = frozenset({".json", ".txt", ".model", ".vocab", ".jinja"})
_PART = re.compile(r"\.metadata|__\d{1,7}_\d{1,7}\.distcp")
_NAME = re.compile(r"checkpoint-(0|[1-9]\d{0,17})")
_MOST_PROCESSES = 1_000_000
_COUNTERS = ("updates", "tokens", "words", "bytes", "documents", "skipped_updates", "world_size")
_RECORD = {
    **dict.fromkeys(_COUNTERS, int),
    "passed_over": list,
    "recipe": dict,
    "versions": dict,
    "random_states": list,
}


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint whose manifest was found to hold."""

    path: Path
    updates: int
    manifest: dict[str, Any]
    record: dict[str, Any]
    """``trainer_state.json``: clock, recipe, versions, topology."""

    @property
    def is_resumable(self) -> bool:
        """Whether it holds optimizer and random state."""
        return STATE_FOLDER not in self.manifest["dropped"]

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(facts["size"] for facts in self.manifest["files"].values())


def checkpoint_name(updates: int) -> str:
    """Return the folder name of the state after ``updates`` updates."""
    return f"checkpoint-{updates}"


def updates_of(path: Path) -> int | None:
    """Return the number in a checkpoint's name; None where it is no such name."""
    match = _NAME.fullmatch(path.name)
    return int(match.group(1)) if match else None


def published(folder: Path) -> list[Path]:
    """Return the folders named like checkpoints, newest (most updates) first; nothing is verified."""
    if not folder.is_dir():
        return []
    numbers = {path: updates_of(path) for path in folder.iterdir()}
    found = [(number, path) for path, number in numbers.items() if number is not None]
    return [path for _, path in sorted(found, reverse=True)]


def random_state_file(rank: int) -> str:
    """Return where Accelerate puts the random state of a process, below the state's folder."""
    return f"random_states_{rank}.pkl"


def require_expected_files(names: Iterable[str], *, world_size: int, is_resumable: bool) -> None:
    """Refuse a set of files that no checkpoint of ours has: one is lost, or one may hold code.

    Accelerate falls back to pickled weights where the others are absent, loads whatever is named like a
    custom object with ``weights_only=False``, and passes over a lost random state in silence; so none gets
    there.

    Raises:
        ManifestError: Naming the first file.
    """
    found = set(names)
    parts_of_state = [f"{STATE_FOLDER}/{name}" for name in (SHARDED_STATE, SHARDED_OPTIMIZER)]
    is_sharded = f"{parts_of_state[1]}/.metadata" in found
    weights = WEIGHTS if f"{SHARDED_WEIGHTS}/.metadata" not in found else f"{SHARDED_WEIGHTS}/.metadata"
    state = set(map(random_state_file, range(world_size))) if is_resumable else set()
    state |= {OPTIMIZER} if is_resumable and not is_sharded else set()
    for name in [weights, _CONFIG, TRAINER_STATE, *(f"{STATE_FOLDER}/{file}" for file in sorted(state))]:
        if name not in found:
            raise ManifestError(f"{name} is missing")
    for name in sorted(found):
        path = PurePosixPath(name)
        if len(path.parts) == 1:
            is_known = name == WEIGHTS or path.suffix in _BESIDE_WEIGHTS
        elif str(path.parent) == STATE_FOLDER:
            is_known = path.name in state | {_SCALER, CARRIED_FILE} and is_resumable
        else:
            folders = {SHARDED_WEIGHTS, *(parts_of_state if is_resumable and is_sharded else ())}
            is_known = str(path.parent) in folders and _PART.fullmatch(path.name) is not None
        if not is_known:
            raise ManifestError(f"{name} is not a file that a checkpoint of this run holds")


def is_in_parts(names: Iterable[str]) -> bool:
    """Whether any of a checkpoint's files holds parts of tensors that several processes wrote."""
    return any(name.endswith("/.metadata") for name in names)


def weights_in(files: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a manifest says of the files that hold the weights."""
    return {
        name: facts
        for name, facts in files.items()
        if name == WEIGHTS or (WEIGHTS not in files and name.startswith(f"{SHARDED_WEIGHTS}/"))
    }


def read_checkpoint_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint, its own digest and its facts checked, its files not.

    Raises:
        ManifestError: Naming what is wrong.
    """
    if path.is_symlink() or not path.is_dir():
        raise ManifestError("it is not a folder")
    manifest = read_manifest(path)
    if manifest.get("updates") != updates_of(path):
        raise ManifestError(f"its manifest is that of update {manifest.get('updates')}")
    world_size = manifest.get("world_size")
    if manifest.get("dropped") not in ([], [STATE_FOLDER]):
        raise ManifestError("its manifest does not say whether the state was dropped")
    if not isinstance(world_size, int) or not 0 < world_size <= _MOST_PROCESSES:
        raise ManifestError("its manifest does not say how many processes wrote it")
    return manifest


def verify_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint after checking every byte of it.

    Raises:
        ManifestError: Naming the file and the reason.
    """
    manifest = read_checkpoint_manifest(path)
    is_resumable = STATE_FOLDER not in manifest["dropped"]
    # A state that was dropped may still lie there in part: its removal was interrupted.
    leftovers = [
        name for name in list_files(path) if not is_resumable and name.startswith(f"{STATE_FOLDER}/")
    ]
    verify_manifest(path, optional=leftovers)
    require_expected_files(manifest["files"], world_size=manifest["world_size"], is_resumable=is_resumable)
    return Checkpoint(path, manifest["updates"], manifest, _read_record(path, manifest))


def find_checkpoint(
    folder: Path, run_id: str | None = None, *, tell: Callable[..., None] = lambda kind, **facts: None
) -> Checkpoint | None:
    """Return the newest resumable checkpoint that verifies, or None where nothing was ever published.

    Each one that is passed over is named in the log with its reason.

    Args:
        folder: The run's ``checkpoints`` folder.
        run_id: The run whose checkpoints count; all where not given.
        tell: Called with the kind and facts of an event for each one that is passed over.

    Raises:
        CheckpointError: When there are checkpoints and none of them can be used.
    """
    rejected = []
    for path in published(folder):
        try:
            checkpoint = verify_checkpoint(path)
            if run_id is not None and checkpoint.manifest.get("run_id") != run_id:
                raise ManifestError(
                    f"it is of run {checkpoint.manifest.get('run_id')}, and this is run {run_id}"
                )
        except (ManifestError, OSError) as error:
            rejected.append(f"{path.name}: {error}")
            log.warning("%s is passed over: %s", path.name, error)
            tell("checkpoint_passed_over", name=path.name, message=str(error))
            continue
        if checkpoint.is_resumable:
            return checkpoint
        rejected.append(f"{path.name}: it holds weights alone")
    if rejected:
        raise CheckpointError(
            f"{folder}: no usable checkpoint.\n  "
            + "\n  ".join(rejected)
            + "\nRestore one of them from a copy; "
            "a run whose checkpoints cannot be used is never started from scratch by itself."
        )
    return None


def open_checkpoint(path: Path) -> Checkpoint:
    """Verify a checkpoint that was named explicitly.

    Raises:
        CheckpointError: When it does not hold; there is no fallback.
    """
    try:
        return verify_checkpoint(path)
    except (ManifestError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a usable checkpoint: {error}. Use --resume-from latest to take the newest one that "
            "holds."
        ) from error


def require_manifest(checkpoint: Checkpoint | None, digest: str) -> None:
    """Refuse a checkpoint that is not the very one whose manifest's digest was kept elsewhere.

    Args:
        checkpoint: What was found, and holds.
        digest: The digest that its manifest must have, in hexadecimal.

    Raises:
        CheckpointError: Naming both digests.
    """
    if checkpoint is None:
        raise CheckpointError(
            f"--expect-manifest {digest}: there is no checkpoint. Restore it from a copy, or leave this out."
        )
    found = checkpoint.manifest["digest"]
    if found != digest.strip().lower():
        raise CheckpointError(
            f"{checkpoint.path}: its manifest has the digest {found}, and --expect-manifest says {digest}. "
            "It holds, but is another checkpoint or was written anew. Name the one that is meant with "
            "--resume-from, restore it from a copy, or leave --expect-manifest out."
        )


def _read_record(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    try:
        record = json.loads((path / TRAINER_STATE).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{TRAINER_STATE} cannot be read ({type(error).__name__})") from error
    if not isinstance(record, dict):
        raise ManifestError(f"{TRAINER_STATE} is not an object")
    for key, kind in _RECORD.items():
        if not isinstance(record.get(key), kind):
            raise ManifestError(f"{TRAINER_STATE} does not say {key}")
    for key in ("updates", "world_size", "run_id"):
        if record.get(key) != manifest.get(key):
            raise ManifestError(
                f"{TRAINER_STATE} has {key} {record.get(key)}, the manifest {manifest.get(key)}"
            )
    return record
