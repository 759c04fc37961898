"""A model of a disk under a power cut: only fsync decides which file operations were on it for sure.

Operations come from a log of strace with all bytes written. What was flushed is there; of the rest any part
may be: an entry without its data, data without its entry, a later write without an earlier one. A rename is
one step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_CALL = re.compile(r"^\d+ +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)", re.DOTALL)
_BYTES = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(?!\.)')
_DESCRIPTOR = re.compile(r"(?:(\d+)|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>")
_ROOT = 0


@dataclass(frozen=True)
class Operation:
    """One change of one inode: ``kind`` is data, size, link, unlink or move."""

    kind: str
    inode: int
    folder: int = -1
    name: str = ""
    to_folder: int = -1
    to_name: str = ""
    offset: int = 0
    content: bytes = b""

    @property
    def flushed_by(self) -> set[int]:
        """The inodes one of which must be flushed for this to be on the disk."""
        return {self.inode} if self.kind in ("data", "size") else {self.folder, self.to_folder}


@dataclass
class Tree:
    """Inodes as they are after some operations: folders are dicts of entries, files are bytes."""

    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {_ROOT: {}})
    files: dict[int, bytearray] = field(default_factory=dict)

    def apply(self, operation: Operation) -> None:
        """Do what an operation does, as far as what it needs is there."""
        entries = self.folders.get(operation.folder, {})
        if operation.kind == "data":
            content = self.files[operation.inode]
            end = operation.offset + len(operation.content)
            content.extend(bytes(max(0, end - len(content))))
            content[operation.offset : end] = operation.content
        elif operation.kind == "size":
            content = self.files[operation.inode]
            del content[operation.offset :]
            content.extend(bytes(operation.offset - len(content)))
        elif operation.kind == "link":
            entries[operation.name] = operation.inode
        else:
            if entries.get(operation.name) == operation.inode:
                del entries[operation.name]
            if operation.kind == "move":
                self.folders[operation.to_folder][operation.to_name] = operation.inode

    def contents(self, folder: int = _ROOT, prefix: str = "") -> dict[str, bytes | None]:
        """Return all paths that lead anywhere; folders have None."""
        found: dict[str, bytes | None] = {}
        for name, inode in sorted(self.folders[folder].items()):
            if inode in self.folders:
                found[prefix + name] = None
                found |= self.contents(inode, f"{prefix}{name}/")
            else:
                found[prefix + name] = bytes(self.files[inode])
        return found


class Recording:
    """The operations that a process did below a folder, and what lay there before, all of it on the disk.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.operations: list[Operation] = []
        self.flushes: list[tuple[int, int]] = []
        """Number of operations before it, and inode, of every fsync."""

        self.said: list[tuple[int, bytes]] = []
        """Number of operations before it, and text, of every line that the process told its parent."""

        self._root = root
        self._inodes: dict[int, bool] = {_ROOT: True}
        self._now = Tree()
        self._open: dict[int, tuple[int, int]] = {}
        self._record_what_is_there()
        self.before = len(self.operations)

    def read(self, log: Path) -> None:
        """Take over the operations of a log made with ``-y -xx -s`` of enough bytes."""
        for line in log.read_text().splitlines():
            match = _CALL.match(line)
            if match is not None and int(match["result"]) >= 0:
                self._call(match["name"], match["arguments"], int(match["result"]))

    def tree(self, operations: Iterable[int]) -> Tree:
        """Return what is there when these operations, of those recorded, reached the disk."""
        tree = Tree()
        for inode, is_folder in self._inodes.items():
            if is_folder:
                tree.folders.setdefault(inode, {})
            else:
                tree.files[inode] = bytearray()
        for number in operations:
            tree.apply(self.operations[number])
        return tree

    @property
    def moments(self) -> list[tuple[int, int]]:
        """Between any two calls of the process: operations and flushes done, from before the first on."""
        moments = [(self.before, 0)]
        for number, (at, _) in enumerate(self.flushes, 1):
            moments += [(count, number - 1) for count in range(moments[-1][0] + 1, at + 1)]
            moments.append((at, number))
        last = len(self.operations)
        return moments + [(count, len(self.flushes)) for count in range(moments[-1][0] + 1, last + 1)]

    def unflushed(self, count: int, flushes: int) -> list[int]:
        """Return which of the first ``count`` operations need not be on the disk after so many flushes."""
        flushed_until = {inode: at for at, inode in self.flushes[:flushes]}
        return [
            number
            for number in range(self.before, count)
            if not any(flushed_until.get(inode, 0) > number for inode in self.operations[number].flushed_by)
        ]

    def is_folder(self, inode: int) -> bool:
        """Whether an inode is a folder."""
        return self._inodes[inode]

    def _record_what_is_there(self) -> None:
        for path in sorted(self._root.rglob("*")):
            inode = self._new(is_folder=path.is_dir())
            self._link(path, inode)
            if path.is_file():
                self._do(Operation("data", inode, content=path.read_bytes()))

    def _new(self, *, is_folder: bool) -> int:
        inode = len(self._inodes)
        self._inodes[inode] = is_folder
        if is_folder:
            self._now.folders[inode] = {}
        else:
            self._now.files[inode] = bytearray()
        return inode

    def _do(self, operation: Operation) -> None:
        self.operations.append(operation)
        self._now.apply(operation)

    def _link(self, path: Path, inode: int) -> None:
        self._do(Operation("link", inode, self._find(path.parent), path.name))

    def _find(self, path: Path) -> int:
        inode = _ROOT
        for part in path.relative_to(self._root).parts:
            inode = self._now.folders[inode][part]
        return inode

    def _call(self, name: str, arguments: str, result: int) -> None:
        texts = [_unhex(text) for text in _BYTES.findall(arguments)]
        descriptors = [
            (int(number or -1), _path(_unhex(path))) for number, path in _DESCRIPTOR.findall(arguments)
        ]
        if name in ("write", "writev", "pwrite64", "sendfile", "fsync", "fdatasync", "ftruncate"):
            self._on_descriptor(name, arguments, result, descriptors, texts)
            return
        if name == "unlinkat":
            paths = [descriptors[0][1] / _path(texts[0])]
        else:
            paths = [_path(text) for text in texts]
        if not paths or not paths[0].is_relative_to(self._root):
            return
        if name in ("open", "openat", "creat"):
            self._opened(paths[0], arguments, int(result))
        elif name in ("mkdir", "mkdirat"):
            self._link(paths[0], self._new(is_folder=True))
        elif name in ("rename", "renameat", "renameat2"):
            old, new = paths
            inode, folder, to_folder = self._find(old), self._find(old.parent), self._find(new.parent)
            self._do(Operation("move", inode, folder, old.name, to_folder, new.name))
        elif name in ("unlink", "unlinkat", "rmdir"):
            path = paths[0]
            self._do(Operation("unlink", self._find(path), self._find(path.parent), path.name))
        else:
            assert name == "chmod", f"{name} is not in the model"

    def _opened(self, path: Path, arguments: str, descriptor: int) -> None:
        is_new = path != self._root and path.name not in self._now.folders[self._find(path.parent)]
        if is_new:
            assert "O_CREAT" in arguments, arguments
            self._link(path, self._new(is_folder=False))
        inode = self._find(path)
        if not is_new and "O_TRUNC" in arguments:
            self._do(Operation("size", inode))
        self._open[descriptor] = (inode, 0)

    def _on_descriptor(
        self, name: str, arguments: str, result: int, descriptors: list[tuple[int, Path]], texts: list[bytes]
    ) -> None:
        descriptor, path = descriptors[0]
        if str(path).startswith("pipe:"):
            self.said += [(len(self.operations), text) for text in texts]
            return
        if not path.is_relative_to(self._root):
            return
        inode, offset = self._open[descriptor]
        if name in ("fsync", "fdatasync"):
            self.flushes.append((len(self.operations), inode))
            return
        if name == "ftruncate":
            self._do(Operation("size", inode, offset=int(arguments.rpartition(",")[2])))
            return
        assert name != "pwrite64", "no file is written out of order"
        source = descriptors[1][1].read_bytes() if name == "sendfile" else b""
        content = source[offset : offset + result] if name == "sendfile" else b"".join(texts)
        assert len(content) == result, (name, len(content), result)
        self._do(Operation("data", inode, offset=offset, content=content))
        self._open[descriptor] = (inode, offset + result)


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _path(text: bytes) -> Path:
    return Path(text.decode())
