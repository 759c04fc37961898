"""Every path that a run owns, its lock, and the one place that creates its folder."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from model_foundry.errors import RunDirectoryError
from model_foundry.manifest import write_atomically

log = logging.getLogger(__name__)

_RECORDS = (
    "recipe.yaml", "recipe.resolved.yaml", "overrides.txt", "command.txt", "environment.json", "plan.json",
    "corpus.manifest.json", "corpus.statistics.json", "metrics.jsonl", "samples.jsonl",
)  # fmt: skip

_ORPHAN_SECONDS = 10.0


def boot_id() -> str:
    """Identify this start of the machine: a process number of an earlier one is not taken for alive."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def launch_identity() -> str:
    """Return what is the same for all processes that one launcher starts, and again after a failure."""
    return os.environ.get("MODEL_FOUNDRY_LAUNCH") or f"{boot_id()}:{os.getppid()}"


class RunDirectory:
    """The folder of one run: ``runs/<name>/``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None
        self._writes = threading.Lock()  # a checkpoint may be published beside the main thread
        self.announce: Callable[[str, dict[str, Any]], None] = lambda kind, facts: None
        """Is told of every event, from any thread, once it is written."""

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def checkpoints(self) -> Path:
        """Folder of the published checkpoints."""
        return self.path / "checkpoints"

    @property
    def tokenizer(self) -> Path:
        """The run's tokenizer."""
        return self.path / "tokenizer"

    @property
    def metrics(self) -> Path:
        """One JSON object a logged update or evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """One JSON object a generated text."""
        return self.path / "samples.jsonl"

    @property
    def control(self) -> Path:
        """Files that people put here steer the run."""
        return self.path / "control"

    @property
    def logs(self) -> Path:
        """One log file a rank."""
        return self.path / "logs"

    def open(self, *, resume: bool) -> str | None:
        """Make the folder, or take up an existing one, and lock it for this process.

        Args:
            resume: Whether an existing run may be continued.

        Returns:
            How an earlier attempt ended, where it ended before its first checkpoint and is now begun anew
            without ``resume``: its records are removed, its log and events stay.

        Raises:
            RunDirectoryError: When it exists and ``resume`` is false, is locked, or cannot be written.
        """
        was_there = True  # until it is known: nothing is removed that was not made here
        try:
            was_there = self.path.exists()
            if was_there and not self.path.is_dir():
                raise RunDirectoryError(
                    f"{self.path} is a file, and the run needs a folder of that name. "
                    "Name another with --run-dir."
                )
            found = {entry.name for entry in self.path.iterdir()} if was_there else set()
            is_run = not found.isdisjoint({"recipe.yaml", "status.json"})
            if not resume and not is_run and not self._is_bare(found):
                raise RunDirectoryError(
                    f"{self.path} exists and is not a run. Name another folder with --run-dir, or empty it."
                )
            for folder in (self.path, self.checkpoints, self.control, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            self._acquire()
            for unfinished in self.path.glob(".*.partial"):  # of a process that was killed while it wrote
                unfinished.unlink()
        except OSError as error:
            self.close()
            if not was_there:
                shutil.rmtree(self.path, ignore_errors=True)
            raise RunDirectoryError(
                f"{self.path} cannot be used for the run: {error.strerror or error}. "
                "Name a folder that can be written with --run-dir."
            ) from error
        return self._begin_again() if is_run and not resume else None

    def _is_bare(self, found: set[str]) -> bool:
        """Whether there is nothing but what a run, or the script of a job, makes before its first record."""
        mine = {"checkpoints", "control", "launch", "logs", ".lock"}
        others = {name for name in found - mine if not (name[0] == "." and name.endswith(".partial"))}
        return not others and not _has_entries(self.checkpoints) and not _has_entries(self.control)

    def _begin_again(self) -> str:
        status = self.status()
        ended = status.get("state") in ("failed", "preempted")
        if not ended or "last_good_checkpoint" in status or _has_entries(self.checkpoints):
            self.close()
            raise RunDirectoryError(
                f"{self.path} holds a run already. Continue it with --resume-from latest, "
                "or start another with --run-dir PATH or name=NAME."
            )
        for name in _RECORDS:
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.tokenizer, ignore_errors=True)
        return str(status.get("message") or status["state"])

    def _acquire(self) -> None:
        lock = (self.path / ".lock").open("a+", encoding="utf-8")
        deadline = time.monotonic() + _ORPHAN_SECONDS
        while not _try_lock(lock):
            lock.seek(0)
            holder = _read_json(lock.read())
            # The loader's workers of a killed process hold its lock until they have ended, too.
            if not _is_alive(holder) and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            lock.close()
            raise RunDirectoryError(
                f"{self.path} is in use by process {holder.get('pid', 'unknown')} on "
                f"{holder.get('host', 'this host')}, started "
                f"{holder.get('started_at', 'at an unknown time')}. "
                "Wait for it or stop it, or name another folder with --run-dir.",
                reason="run_locked",
            )
        self._lock = lock
        lock.seek(0)
        lock.truncate()
        json.dump(self.identity(), lock)
        lock.flush()

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            with suppress(OSError):  # a full disk may refuse the text; the lock is given back all the same
                self._lock.close()
            self._lock = None

    @staticmethod
    def identity() -> dict[str, Any]:
        """Which process this is: pid, host, boot and time."""
        return {"pid": os.getpid(), "host": socket.gethostname(), "boot_id": boot_id(), "started_at": now()}

    def write_text(self, name: str, text: str) -> None:
        """Replace one of the run's small files, atomically."""
        write_atomically(self.path / name, text)

    def write_json(self, name: str, value: Any) -> None:
        """Replace one of the run's JSON files, atomically."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def run_id(self) -> str:
        """Return the name that tells this run from any other; made at its first start."""
        known = self.status().get("run_id")
        return known if isinstance(known, str) else uuid.uuid4().hex[:12]

    def set_status(self, state: str, **facts: Any) -> None:
        """Write ``status.json``: what launchers flatten to 0 or 1 is exact here.

        Args:
            state: ``running``, ``finished``, ``preempted``, ``failed`` or ``diverged``.
            facts: ``exit_code``, ``reason``, ``update``, ``last_good_checkpoint``, ...; kept until replaced.
        """
        with self._writes:
            self.write_json("status.json", {**self.status(), "state": state, **facts, "time": now()})

    def status(self) -> dict[str, Any]:
        """Return ``status.json``, or nothing where there is none yet."""
        return _read_json(self._status_text())

    def _status_text(self) -> str:
        path = self.path / "status.json"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def event(self, kind: str, **facts: Any) -> None:
        """Append one line to ``events.jsonl``, and say it in the log."""
        log.info("%s %s", kind, json.dumps(facts, ensure_ascii=False) if facts else "")
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": kind, **facts, "time": now()}, ensure_ascii=False) + "\n")
        self.announce(kind, facts)


def _has_entries(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(holder: dict[str, Any]) -> bool:
    """Whether the process that wrote a lock lives; one of another host is taken to."""
    if holder.get("host") != socket.gethostname() or holder.get("boot_id") != boot_id():
        return True
    try:
        os.kill(int(holder["pid"]), 0)
    except (ProcessLookupError, KeyError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _read_json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
