"""Markdown pages as programs: the files that a page shows are written, the commands that it marks are run.

    <!-- file: texts/one.txt -->     the code block below is that file
    <!-- run -->                     the console block below is run: lines that begin with "$ "
    <!-- run: exits 2 -->            the same, and its last command must end with that status

All marked blocks of a page are one script in one folder, so that a page is followed as a reader follows it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_MARKED = re.compile(
    r"^<!-- (?P<mark>file|run)(?:: (?P<rest>[^\n]+?))? -->\n+```[a-z]*\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A marked block: a file, or commands and the status that the last of them ends with."""

    path: str | None
    commands: tuple[str, ...]
    status: int
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield the marked blocks of a page in order."""
    for found in _MARKED.finditer(page.read_text(encoding="utf-8")):
        body, rest = found["body"], found["rest"]
        if found["mark"] == "file":
            assert rest, f"{page}: a file without a name"
            yield Block(rest, (), 0, body)
            continue
        status = int(rest.removeprefix("exits ")) if rest else 0
        commands = tuple(_commands(body))
        assert commands, f"{page}: a block to run without a command:\n{body}"
        yield Block(None, commands, status, body)


def _commands(body: str) -> Iterator[str]:
    command = ""
    for line in body.splitlines():
        if command:
            command += "\n" + line
        elif line.startswith("$ "):
            command = line[2:]
        else:
            continue  # what the command prints
        if not _is_open(command):
            yield command
            command = ""
    assert not command, f"a command without an end:\n{command}"


def _is_open(command: str) -> bool:
    """Whether the shell waits for another line: after a backslash, or inside quotes."""
    try:
        shlex.split(command)
    except ValueError:
        return True
    return command.endswith("\\")


def follow(page: Path, folder: Path, *, timeout: float, root: Path = ROOT) -> str:
    """Do in ``folder`` what a page says; return what the commands printed.

    The recipes that ship, and this environment's commands, are there as in a checkout after ``make``; the
    package is the one in the checkout ``root``.
    """
    for name in ("recipes", "accelerate_configs"):
        (folder / name).symlink_to(root / name)
    script = ["set -eu"]
    for number, block in enumerate(blocks(page)):
        if block.path is not None:
            content = folder / f".block-{number}"
            content.write_text(block.text, encoding="utf-8")
            script.append(f"mkdir -p {Path(block.path).parent} && cp {content} {block.path}")
        elif block.status:
            *before, last = block.commands
            script += [*before, "status=0", f"{last} || status=$?", f"test $status = {block.status}"]
        else:
            script += block.commands
    bin_folder = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH")))),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{page.name} cannot be followed:\n{done.stdout[-4000:]}"
    return done.stdout


def links(page: Path) -> list[str]:
    """Return the targets of a page's links to other files, without their anchors."""
    prose = _CODE.sub("", page.read_text(encoding="utf-8"))
    targets = [found["target"].partition("#")[0] for found in _LINK.finditer(prose)]
    return [target for target in targets if target and "://" not in target]
