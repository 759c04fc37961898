"""Two machines on this one: each is a network namespace with a host name of its own; a cable joins them.

Memory, disk and process numbers are shared, as disks of a cluster are; the network is not, so what does not
go through the cable does not come through.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

NAMES = ("machine-a", "machine-b")
ADDRESSES = ("10.231.77.1", "10.231.77.2")
INTERFACE = "cable0"
_BEGIN = 'hostname "$1"; mount --bind "$2" /etc/hosts; shift 2; exec "$@"'


class Machines:
    """The two, until ``close``.

    Args:
        folder: Where their files lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spaces = [f"mf-{os.getpid()}-{name[-1]}" for name in NAMES]
        hosts = folder / "hosts"
        lines = [f"{address} {name}\n" for address, name in zip(ADDRESSES, NAMES, strict=True)]
        hosts.write_text("127.0.0.1 localhost\n" + "".join(lines))
        ends = [f"mf{os.getpid()}{name[-1]}" for name in NAMES]
        try:
            for space in self._spaces:
                _ip("netns", "add", space)
            _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
            for space, end, address in zip(self._spaces, ends, ADDRESSES, strict=True):
                _ip("link", "set", end, "netns", space)
                _ip("-n", space, "link", "set", end, "name", INTERFACE)
                _ip("-n", space, "addr", "add", f"{address}/24", "dev", INTERFACE)
                _ip("-n", space, "link", "set", "lo", "up")
                _ip("-n", space, "link", "set", INTERFACE, "up")
            for name, space in zip(NAMES, self._spaces, strict=True):
                program = folder / name
                program.write_text(
                    f"#!/bin/sh\nexec ip netns exec {space} unshare --uts --mount "
                    f"sh -c '{_BEGIN}' machine {name} {hosts} \"$@\"\n"
                )
                program.chmod(0o755)
            subprocess.run([self.program(0), "true"], check=True, capture_output=True, text=True)
        except BaseException:
            self.close()
            raise

    def program(self, machine: int) -> str:
        """A program that runs the command behind it on a machine."""
        return str(self._folder / NAMES[machine])

    def cut(self) -> None:
        """Pull the cable: what is sent is lost, and nobody is told."""
        _ip("-n", self._spaces[1], "link", "set", INTERFACE, "down")

    def mend(self) -> None:
        """Put the cable back."""
        _ip("-n", self._spaces[1], "link", "set", INTERFACE, "up")

    def crash(self, machine: int) -> None:
        """End everything that runs on a machine, at once."""
        for process in self._processes(machine):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def close(self) -> None:
        """Take both away, with what runs there."""
        for machine in range(len(NAMES)):
            self.crash(machine)
        for space in self._spaces:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)

    def _processes(self, machine: int) -> list[psutil.Process]:
        done = subprocess.run(
            ["ip", "netns", "pids", self._spaces[machine]], check=False, capture_output=True, text=True
        )
        found = []
        for number in done.stdout.split():
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(number)))
        return found


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """Two machines; skipped where this process may not make them, with what the system said."""
    missing = [name for name in ("ip", "unshare", "sh") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here (iproute2, util-linux)")
    folder = tmp_path / "machines"
    folder.mkdir()
    try:
        two = Machines(folder)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not allowed here: {' '.join(error.cmd)}: {error.stderr.strip()}")
    yield two
    two.close()
