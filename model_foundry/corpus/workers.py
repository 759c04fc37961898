"""Jobs in several processes at once; what they write does not depend on how many there are."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psutil

from model_foundry import errors
from model_foundry.corpus.fast import TokensDiffer
from model_foundry.corpus.jobs import Done, Job, perform
from model_foundry.corpus.source import Source
from model_foundry.corpus.steps import DocumentStep

_WORKER_BYTES = 400 << 20
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Finished:
    """A job that is done."""

    number: int


def usable_cores() -> int:
    """Return how many cores this process may use, fewer where memory is short."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(psutil.virtual_memory().available // _WORKER_BYTES)))


class Workers:
    """Processes that do jobs, started when the first ones come; as a context manager it ends them.

    Args:
        number: How many; with one, jobs are done in this process.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, number: int | None = None) -> None:
        """Start processes that are not there yet, so that they load what they need before there are jobs."""
        wanted = self.number if number is None else number
        while wanted > 1 and len(self._processes) < wanted:
            self._processes.append(self._start())

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.communicate()
        self._processes = []

    def run(
        self, jobs: Sequence[Job], source: Source, steps: Sequence[DocumentStep]
    ) -> Iterator[Finished | Done | None]:
        """Do jobs, and yield each as it is done, how far the others are, and now and then nothing.

        Raises:
            DataError, ResourceError: As the job raised it.
            TokensDiffer: When the fast tokenizer cannot be relied on.
            OSError: When a file cannot be written.
        """
        if self.number == 1 or len(jobs) == 1:
            for number, job in enumerate(jobs):
                yield from perform(job, source, steps)
                yield Finished(number)
            return
        try:
            yield from self._run(jobs)
        except BaseException:
            self.close()
            raise

    def _run(self, jobs: Sequence[Job]) -> Iterator[Finished | Done | None]:
        waiting = list(enumerate(jobs))[::-1]
        self.start(min(self.number, len(jobs)))
        doing: dict[int, int] = {}
        with selectors.DefaultSelector() as selector:
            for at, process in enumerate(self._processes):
                assert process.stdout is not None
                selector.register(process.stdout, selectors.EVENT_READ, at)
                self._give(at, waiting, doing)
            while doing:
                ready = selector.select(_LOOK_SECONDS)
                if not ready:
                    yield None
                for key, _ in ready:
                    at = key.data
                    stream = self._processes[at].stdout
                    assert stream is not None
                    message = _read_message(stream.readline(), self._processes[at])
                    if "done" in message:
                        yield Finished(doing.pop(at))
                        self._give(at, waiting, doing)
                    else:
                        yield Done(message["characters"], message["tokens"])

    def _give(self, at: int, waiting: list[tuple[int, Job]], doing: dict[int, int]) -> None:
        if not waiting:
            return
        doing[at], job = waiting.pop()
        stream = self._processes[at].stdin
        assert stream is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its other pipe tells
            stream.write(json.dumps(job).encode() + b"\n")
            stream.flush()

    def _start(self) -> subprocess.Popen[bytes]:
        threads = str(max(1, usable_cores() // self.number))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "RAYON_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "true" if int(threads) > 1 else "false",
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "model_foundry.corpus._worker"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )


def _read_message(line: bytes, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    if not line:
        status = process.wait()
        raise errors.ResourceError(
            f"a process that prepares the corpus ended with status {status}, expected 0; the system ends "
            "processes when memory is short. Use fewer (model-foundry prepare RECIPE --workers 1)."
        )
    message: dict[str, Any] = json.loads(line)
    if "differs" in message:
        raise TokensDiffer(message["differs"])
    if "type" in message:
        raise getattr(errors, message["type"])(message["error"])
    if "errno" in message:
        raise OSError(message["errno"], message["error"], message["file"])
    if "broken" in message:
        raise RuntimeError(f"a process that prepares the corpus failed:\n{message['broken']}")
    return message
