"""Tensors that several processes wrote in parts (``torch.distributed.checkpoint``), read back by any number.

The format's ``.metadata`` is a pickle, and so is what it holds beside tensors; torch 2.13 reads both with
everything allowed. Here the first may name only the classes of its own table, and the second is read with
``weights_only``. A part that nobody needs is not read.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from model_foundry.errors import CheckpointError

METADATA = ".metadata"

_TABLE = "torch.distributed.checkpoint.metadata"
_ALLOWED = {
    *((_TABLE, name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")),
    *((_TABLE, name) for name in ("BytesStorageMetadata", "ChunkStorageMetadata", "TensorStorageMetadata")),
    (_TABLE, "_MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    ("collections", "OrderedDict"),
    *((module, "PosixPath") for module in ("pathlib", "pathlib._local")),  # where it was written: only told
    *(("torch", str(value).removeprefix("torch.")) for value in vars(torch).values()
      if isinstance(value, torch.dtype)),
}  # fmt: skip
_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
_FETCHES = {"BINGET", "LONG_BINGET", "GET"}
_UNREADABLE = {"INST", "OBJ", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX", "PUT", "BINPUT",
               "LONG_BINPUT"}  # fmt: skip


def require_plain_table(folder: Path) -> None:
    """Refuse a ``.metadata`` that names anything but the classes of the format's own table; nothing is run.

    Raises:
        CheckpointError: Naming it.
    """
    path = folder / METADATA
    try:
        names = list(_globals_of(path.read_bytes()))
    except (OSError, ValueError, IndexError) as error:
        raise CheckpointError(f"{path}: it cannot be read ({error}). Use another checkpoint.") from error
    for name in names:
        if name not in _ALLOWED:
            raise CheckpointError(
                f"{path}: it names {'.'.join(map(str, name))}, which no table of tensors does, and which is "
                "never run. Use another checkpoint."
            )


def _globals_of(content: bytes) -> list[tuple[str | None, str | None]]:
    """Return what a pickle would import, without loading it; (None, None) for what is not plain to see.

    The opcode that takes module and name from the stack is read only where both were pushed, as text, by the
    two opcodes before it: then they are what it takes.
    """
    found: list[tuple[str | None, str | None]] = []
    memo: list[str | None] = []
    pushed: list[str | None] = [None, None]
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "MEMOIZE":
            memo.append(pushed[-1])
        elif opcode.name in ("PROTO", "FRAME"):
            continue
        elif opcode.name in _STRINGS:
            pushed.append(str(argument))
        elif opcode.name in _FETCHES:
            pushed.append(memo[int(str(argument))])
        elif opcode.name == "STACK_GLOBAL":
            found.append((pushed[-2], pushed[-1]))
            pushed.append(None)
        elif opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            found.append((module, name))
            pushed.append(None)
        else:
            if opcode.name in _UNREADABLE:
                found.append((None, None))
            pushed.append(None)
    return found


class _Reader(FileSystemReader):
    """Reads the table only where it is plain."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        require_plain_table(Path(self.path))
        return super().read_metadata(*args, **kwargs)


class _Planner(DefaultLoadPlanner):
    """Takes what is no tensor with ``weights_only``."""

    def __init__(self) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)

    def load_bytes(self, read_item: Any, value: Any) -> None:
        self.state_dict[read_item.dest_index.fqn] = torch.load(value, weights_only=True)


def table_of(folder: Path) -> Metadata:
    """Return what ``folder`` holds, by name.

    Raises:
        CheckpointError: When the table names what it has no business with.
    """
    return _Reader(folder).read_metadata()


def files_of(table: Metadata) -> set[str]:
    """Return the names of the files that a table speaks of."""
    return {info.relative_path for info in (table.storage_data or {}).values()}


def read_into(folder: Path, wanted: dict[str, Any]) -> None:
    """Fill the tensors of ``wanted`` in place, whole ones or this process's parts; replace what is none.

    Args:
        folder: What the processes wrote.
        wanted: By the names of the table.

    Raises:
        CheckpointError: When a name is missing, or has another shape.
    """
    stored = table_of(folder).state_dict_metadata
    for name, value in wanted.items():
        there = stored.get(name)
        shape = tuple(there.size) if isinstance(there, TensorStorageMetadata) else None
        here = tuple(value.shape) if isinstance(value, torch.Tensor) else None
        if there is None or shape != here:
            raise CheckpointError(
                f"{folder}: found {'nothing' if there is None else f'shape {shape}'} for {name}, expected "
                f"shape {here}. It is of another model or optimizer; use another checkpoint."
            )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # each reads for itself
        load(wanted, storage_reader=_Reader(folder), planner=_Planner(), no_dist=True)


def read_whole(folder: Path) -> dict[str, torch.Tensor]:
    """Return every tensor in ``folder`` whole, by its name."""
    stored = table_of(folder).state_dict_metadata
    whole = {
        name: torch.empty(about.size, dtype=about.properties.dtype)
        for name, about in stored.items()
        if isinstance(about, TensorStorageMetadata)
    }
    read_into(folder, whole)
    return whole


def read_tree(
    folder: Path, memory: Callable[[tuple[Any, ...], torch.Size, torch.dtype], torch.Tensor]
) -> dict[Any, Any]:
    """Return everything in ``folder`` as it was nested; lists come back as dictionaries by number.

    Args:
        folder: What the processes wrote.
        memory: Gives, for a tensor's place, shape and type, where it goes: a whole one, or a part.
    """
    table = table_of(folder)
    places: Mapping[str, tuple[Any, ...]] = table.planner_data or {}
    flat: dict[str, Any] = {
        name: memory(places[name], about.size, about.properties.dtype)
        if isinstance(about, TensorStorageMetadata)
        else None
        for name, about in table.state_dict_metadata.items()
    }
    read_into(folder, flat)
    tree: dict[Any, Any] = {}
    for name, value in flat.items():
        *above, last = places[name]
        branch = tree
        for key in above:
            branch = branch.setdefault(key, {})
        branch[last] = value
    return tree
