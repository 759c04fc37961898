"""A thread that tells the other processes that this one lives, and ends it when it stands still.

Every process writes ``control/rank<N>.alive`` once a second: who it is, what it does, and since when without
progress. When one is lost or hangs, the others name it by these files.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from model_foundry.errors import ModelFoundryError, ResourceError
from model_foundry.run_directory import boot_id
from model_foundry.training.stopping import GRACE_SECONDS, StopRequest

log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_SILENT_SECONDS = 4.0
_LOOK_SECONDS = 3.0
_TELLING_SECONDS = 10.0
_HANG = "a hang in"


class Watchdog:
    """Watches the progress of this process.

    Args:
        control: The run's control folder.
        stacks: File into which the stacks of a process that hangs are written.
        rank: Number of this process.
        processes: How many there are.
        timeout: Seconds without progress after which the process is ended.
        tell: Is given the error that the run ends in, before the process ends.
        stop: Requests to stop; the log says when one takes longer than launchers wait.
    """

    def __init__(
        self,
        control: Path,
        stacks: Path,
        *,
        rank: int,
        processes: int,
        timeout: float,
        tell: Callable[[ModelFoundryError], None],
        stop: StopRequest,
    ) -> None:
        self._control = control
        self._stacks = stacks
        self._rank, self._processes = rank, processes
        self._timeout = timeout
        self._tell = tell
        self._stop = stop
        self._has_warned = False
        self._identity = {"pid": os.getpid(), "host": socket.gethostname(), "boot_id": boot_id()}
        self._doing, self._waits, self._update, self._beats = "start", False, 0, 0
        self._idle = 0.0
        self._ended: str | None = None
        self._is_witness = False
        self._leave = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._write()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self, error: BaseException | None = None, *, is_witness: bool = False) -> None:
        """End the watch.

        Args:
            error: What this process fails with; the others find it in its file. Without one the file goes.
            is_witness: Whether it fails because it lost another one, and so is not the cause.
        """
        self._leave.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with suppress(OSError):
            if error is None:
                self._file(self._rank).unlink(missing_ok=True)
            else:
                first = next(iter(str(error).splitlines()), "")
                self._ended = f"{type(error).__name__}: {first}"
                self._is_witness = is_witness
                self._write()

    def beat(self, doing: str, *, update: int | None = None, waits: bool = False) -> None:
        """Say that there was progress; costs nothing.

        Args:
            doing: What is done now.
            update: The update that it belongs to, where it is another one.
            waits: Whether it waits for the other processes.
        """
        self._doing, self._waits = doing, waits
        if update is not None:
            self._update = update
        self._beats += 1

    def suspects(self) -> str:
        """Say which other process was lost, or hangs: those that ended, else silent ones, else busy ones."""
        deadline = time.monotonic() + _LOOK_SECONDS
        while True:
            others = {rank: self._read(rank) for rank in range(self._processes) if rank != self._rank}
            ended = {rank: text for rank, facts in others.items() if (text := _ended(facts))}
            if ended or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        # A process that ended because it lost another one is a witness, not the cause.
        witnesses = {rank for rank, facts in others.items() if facts and facts["is_witness"]}
        causes = {rank: text for rank, text in ended.items() if rank not in witnesses} or ended
        silent = {rank: text for rank, facts in others.items() if (text := self._silent(rank, facts))}
        busy = {rank: text for rank, facts in others.items() if (text := _busy(facts))}
        found = causes or silent or busy
        if not found:
            return "none of the other processes could be singled out"
        return "; ".join(f"rank {rank} {text}" for rank, text in sorted(found.items()))

    @property
    def has_peer_hung(self) -> bool:
        """Whether another process ended itself because it stood still."""
        others = (self._read(rank) for rank in range(self._processes) if rank != self._rank)
        return any(facts is not None and str(facts["ended"]).startswith(_HANG) for facts in others)

    def _watch(self) -> None:
        seen, last = -1, time.monotonic()
        while not self._leave.wait(_TICK_SECONDS):
            now = time.monotonic()
            # A process that was suspended (Ctrl-Z) and goes on has not been hanging.
            self._idle += min(now - last, 2 * _TICK_SECONDS)
            last = now
            if self._beats != seen:
                seen, self._idle = self._beats, 0.0
            with suppress(OSError):
                self._write()
            self._warn_when_late()
            if self._idle >= self._timeout:
                self._end()

    def _warn_when_late(self) -> None:
        if self._stop.seconds_since_asked > GRACE_SECONDS and not self._has_warned:
            self._has_warned = True
            log.warning(
                "asked to stop %.0f s ago and still in %s. Launchers kill soon: torchrun after 30 s, unless "
                "PET_SHUTDOWN_TIMEOUT says otherwise.",
                GRACE_SECONDS,
                _where(self._doing, self._update),
            )

    def _end(self) -> None:
        threading.Timer(_TELLING_SECONDS, os._exit, (1,)).start()  # where the disk is what hangs
        where = _where(self._doing, self._update)
        text = f"no progress for {self._timeout:.0f} s (training.hang_timeout) in {where}"
        if self._waits:
            text += f", waiting for the other processes: {self.suspects()}"
        error = ResourceError(
            f"{text}. The stacks are in {self._stacks}. Use --resume-from latest to go on.", reason="hang"
        )
        self._ended, self._is_witness = f"{_HANG} {where}", self._waits
        with suppress(OSError):
            self._write()
            with self._stacks.open("w") as file:
                faulthandler.dump_traceback(file, all_threads=True)
        with suppress(OSError):
            self._tell(error)
        print(f"error: rank {self._rank}: {error}", file=sys.stderr, flush=True)
        os._exit(error.exit_status)

    def _file(self, rank: int) -> Path:
        return self._control / f"rank{rank}.alive"

    def _write(self) -> None:
        facts = {
            **self._identity,
            "update": self._update,
            "doing": self._doing,
            "waits": self._waits,
            "idle_seconds": round(self._idle, 1),
            "ended": self._ended,
            "is_witness": self._is_witness,
        }
        aside = self._control / f".rank{self._rank}.alive"
        aside.write_text(json.dumps(facts) + "\n")
        aside.replace(self._file(self._rank))

    def _read(self, rank: int) -> dict[str, Any] | None:
        try:
            facts = json.loads(self._file(rank).read_text())
        except (OSError, ValueError):
            return None
        return facts if isinstance(facts, dict) else None

    def _silent(self, rank: int, facts: dict[str, Any] | None) -> str | None:
        if facts is None:
            return "has left no sign of life"
        with suppress(OSError):
            age = time.time() - self._file(rank).stat().st_mtime
            if age > _SILENT_SECONDS:
                return f"({_who(facts)}) has been silent for {age:.0f} s: stopped, or its machine is lost"
        return None


def _ended(facts: dict[str, Any] | None) -> str | None:
    if facts is None:
        return None
    if facts["ended"]:
        return f"({_who(facts)}) ended in {facts['ended']}"
    if facts["host"] != socket.gethostname() or facts["boot_id"] != boot_id():
        return None
    try:
        is_gone = psutil.Process(facts["pid"]).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        is_gone = True
    where = _where(facts["doing"], facts["update"])
    return (
        f"({_who(facts)}) ended without a word, as if killed; last heard of in {where}" if is_gone else None
    )


def _busy(facts: dict[str, Any] | None) -> str | None:
    if facts is None or facts["waits"]:
        return None
    where = _where(facts["doing"], facts["update"])
    return f"({_who(facts)}) is alive, in {where} for {facts['idle_seconds']:.0f} s without progress"


def _where(doing: str, update: int) -> str:
    return f"update {update + 1}" if doing == "update" else f"the {doing} after update {update}"


def _who(facts: dict[str, Any]) -> str:
    return f"process {facts['pid']} on {facts['host']}"
