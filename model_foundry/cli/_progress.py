"""Progress of an evaluation: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_foundry.running.evaluating import Say


@contextmanager
def progress() -> Iterator[Say]:
    """Give what shows progress: a bar on a terminal, a line a suite elsewhere; both on standard error."""
    if not sys.stderr.isatty():

        def say(what: str, done: int, total: int) -> None:
            if done == total:
                print(f"evaluated {what}", file=sys.stderr, flush=True)

        yield say
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
