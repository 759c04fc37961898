"""What is in the cache: entries by kind, what they are of, their size, and whether somebody uses them now."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_foundry.corpus.cache import MANIFEST, UNFINISHED
from model_foundry.corpus.holding import is_held, unused

_NAME = re.compile(r"[0-9a-f]{64}(\.damaged-\d+)?|\.[0-9a-f]{64}\.(unfinished|\d+\.partial)")


@dataclass(frozen=True)
class Entry:
    """One folder of the cache."""

    path: Path
    kind: str
    """Name of the folder that it is in: tokenizers, splits, corpora, ..."""

    key: str
    state: str
    """whole, unfinished (the next preparation goes on with it) or damaged (moved aside)."""

    num_bytes: int
    modified: float
    """Seconds since 1970."""

    about: dict[str, Any]
    """What its manifest says in few words."""

    @property
    def lock(self) -> Path:
        """The file that whoever builds the entry holds a lock on."""
        return self.path.parent / f"{self.key}.lock"


def list_cache(cache: Path) -> list[Entry]:
    """Return the entries of a cache, by kind and then by age, the oldest first.

    Only folders that are named as entries are: whatever else lies there is somebody else's, and a folder that
    was given as the cache by mistake stays as it is. Links are followed for kinds and not for entries.
    """
    entries = []
    for kind in sorted(folder for folder in cache.glob("*") if folder.is_dir()):
        paths = (path for path in kind.iterdir() if _NAME.fullmatch(path.name))
        found = [_entry(path, kind.name) for path in paths if path.is_dir() and not path.is_symlink()]
        entries += sorted(found, key=lambda entry: (entry.modified, entry.key))
    return entries


def _entry(path: Path, kind: str) -> Entry:
    name = path.name
    if name.endswith((UNFINISHED, ".partial")):
        state, key = "unfinished", name.split(".")[1]
    elif ".damaged-" in name:
        state, key = "damaged", name.split(".")[0]
    else:
        state, key = "whole", name
    about: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        about = _about(json.loads((path / MANIFEST).read_text(encoding="ascii")))
    files = [item.stat() for item in _files(path)]
    modified = max((item.st_mtime for item in files), default=path.stat().st_mtime)
    return Entry(path, kind, key, state, sum(item.st_size for item in files), modified, about)


def _files(path: Path) -> Iterator[Path]:
    return (item for item in path.rglob("*") if item.is_file())


def _about(manifest: dict[str, Any]) -> dict[str, Any]:
    if "splits" in manifest:
        total = {
            unit: sum(side[unit] for side in manifest["splits"].values())
            for unit in ("documents", "words", "bytes", "tokens")
        }
        names = [item["name"] for item in manifest["inputs"]]
        return {"source": manifest["source"]["type"], "files": len(names), "first_file": names[0], **total}
    if "tokenizer_vocab_size" in manifest:
        return {"type": manifest["settings"]["type"], "vocab_size": manifest["tokenizer_vocab_size"]}
    return {}


def clean(entry: Entry, *, in_use: set[Path]) -> bool:
    """Remove an entry unless it is in use or being built; return whether it was removed.

    Args:
        entry: What to remove.
        in_use: Entries that must stay, links followed.
    """
    if entry.path.resolve() in in_use:
        return False
    with contextlib.suppress(FileNotFoundError), entry.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return _removed(entry)
    return False


def _removed(entry: Entry) -> bool:
    aside = entry.path.with_name(f".{entry.key}.0.partial")  # never half an entry under its name
    holders = unused(entry.path) if entry.state == "whole" else contextlib.nullcontext(True)
    with holders as is_free:
        if not is_free:
            return False
        shutil.rmtree(aside, ignore_errors=True)
        entry.path.rename(aside)
    shutil.rmtree(aside)
    return True


def in_use(entries: Iterable[Entry], ours: Iterable[Path] = ()) -> set[Path]:
    """Return which entries somebody uses now, links followed: who holds them, or has a file of theirs open.

    Args:
        entries: Of the cache.
        ours: Folders that this process uses.
    """
    used = open_files() | {folder.resolve() for folder in ours}
    return {
        entry.path.resolve()
        for entry in entries
        if entry.path.resolve() in used or (entry.state == "whole" and is_held(entry.path))
    }


def open_files() -> set[Path]:
    """Return the folders of files that this user's processes have open or mapped (Linux; elsewhere none)."""
    folders: set[Path] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for line in (process / "maps").read_text(errors="replace").splitlines():
                fields = line.split(maxsplit=5)
                if len(fields) == 6 and fields[5].startswith("/"):
                    folders.update(Path(fields[5]).parents)
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    opened = link.readlink()
                    folders.update([opened, *opened.parents])
    return folders
