"""Every path that a run owns, its lock, and the one place that creates its folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from model_foundry.errors import RunDirectoryError
from model_foundry.manifest import write_atomically


def boot_id() -> str:
    """Identify this start of the machine, so that a process number of an earlier one is not mistaken for alive."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


class RunDirectory:
    """The folder of one run: ``runs/<name>/``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

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

    def open(self, *, resume: bool) -> None:
        """Make the folder, or take up an existing one, and lock it for this process.

        Args:
            resume: Whether an existing run may be continued.

        Raises:
            RunDirectoryError: When it exists and ``resume`` is false, is locked, or cannot be written.
        """
        try:
            existed = (self.path / "recipe.yaml").exists()
            if self.path.exists() and not self.path.is_dir():
                raise RunDirectoryError(f"{self.path} is a file, and the run needs a folder of that name.")
            if not resume and not existed and self.path.is_dir() and any(self.path.iterdir()):
                raise RunDirectoryError(
                    f"{self.path} exists and is not a run. Name another folder with --run-dir, or empty it."
                )
            for folder in (self.path, self.checkpoints, self.control, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            self._acquire()
        except OSError as error:
            raise RunDirectoryError(
                f"{self.path} cannot be used for the run: {error.strerror or error}. "
                "Name a folder that can be written with --run-dir."
            ) from error
        if existed and not resume:
            self.close()
            raise RunDirectoryError(
                f"{self.path} holds a run already. Continue it with --resume-from latest, "
                "or start another with --run-dir PATH or name=NAME."
            )

    def _acquire(self) -> None:
        lock = (self.path / ".lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = _read_json(lock.read())
            lock.close()
            raise RunDirectoryError(
                f"{self.path} is in use by process {holder.get('pid', 'unknown')} on "
                f"{holder.get('host', 'this host')}, started {holder.get('started_at', 'at an unknown time')}. "
                "Wait for it or stop it, or name another folder with --run-dir.",
                reason="run_locked",
            ) from None
        lock.seek(0)
        lock.truncate()
        json.dump(self.identity(), lock)
        lock.flush()
        self._lock = lock

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
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
        known = self.status()
        self.write_json("status.json", {**known, "state": state, **facts, "time": now()})

    def status(self) -> dict[str, Any]:
        """Return ``status.json``, or nothing where there is none yet."""
        return _read_json(self._status_text())

    def _status_text(self) -> str:
        path = self.path / "status.json"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def event(self, kind: str, **facts: Any) -> None:
        """Append one line to ``events.jsonl``."""
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": kind, **facts, "time": now()}, ensure_ascii=False) + "\n")


def _read_json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
