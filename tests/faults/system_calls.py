"""strace as a tool of tests: the persistence calls of a process, and killing or failing it at one of them."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.rig import Child

PERSISTENCE = (
    "openat,open,creat,write,pwrite64,writev,pwritev,sendfile,copy_file_range,fsync,fdatasync,sync_file_range,"
    "rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,ftruncate,fallocate,chmod,fchmod,fchmodat,"
    "link,linkat,symlink,symlinkat"
)
_LINE = re.compile(
    r"^(?P<thread>\d+) +(?P<name>\w+)\((?P<arguments>.*?)\) += (?P<result>-?\d+|\?)", re.DOTALL
)
_CREATING = re.compile(r"O_CREAT|O_TRUNC|O_WRONLY|O_RDWR")


@dataclass(frozen=True)
class Call:
    """One system call: the ``number``-th of its ``name`` since tracing began."""

    name: str
    number: int
    arguments: str
    result: int

    def __str__(self) -> str:
        return f"{self.name}#{self.number}"


@functools.cache
def can_strace() -> bool:
    """Whether strace is there and may attach to a process of ours."""
    if shutil.which("strace") is None:
        return False
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as sleeper:
        command = [
            "strace",
            "-qq",
            "-o",
            os.devnull,
            "-e",
            "inject=fsync:error=EIO:when=999",
            "-p",
            str(sleeper.pid),
        ]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
            is_attached = _wait_for_tracer(sleeper.pid, tracer)
            tracer.terminate()
        sleeper.kill()
    return is_attached


@contextmanager
def traced(child: Child, log: Path, *options: str) -> Iterator[None]:
    """Trace a child's persistence calls from here to its end."""
    command = ["strace", "-f", "-qq", "-y", "-o", str(log), "-e", f"trace={PERSISTENCE}", *options]
    with subprocess.Popen([*command, "-p", str(child.pid)], stderr=subprocess.DEVNULL) as tracer:
        assert _wait_for_tracer(child.pid, tracer), "strace did not attach"
        yield
        tracer.wait()


def persistence_calls(log: Path, folder: Path) -> list[Call]:
    """Return the calls of a log that change something below ``folder``, in order."""
    counts: Counter[tuple[str, str]] = Counter()  # strace counts each thread for itself
    calls = []
    for line in log.read_text(errors="surrogateescape").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name, arguments = match["name"], match["arguments"]
        counts[match["thread"], name] += 1
        is_reading = name in ("openat", "open") and not _CREATING.search(arguments)
        if str(folder) in arguments and not is_reading:
            calls.append(
                Call(name, counts[match["thread"], name], arguments, int(match["result"].replace("?", "-1")))
            )
    return calls


def _wait_for_tracer(pid: int, tracer: subprocess.Popen[bytes]) -> bool:
    while tracer.poll() is None:
        if "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text():
            return True
        time.sleep(0.002)
    return False
