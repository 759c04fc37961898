"""What a person sees while a run goes on: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from model_foundry.logs import tell

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_PLAIN_SECONDS = 10.0
log = logging.getLogger(__name__)


class Progress:
    """Shows updates, tokens, loss, bits per byte, learning rate, tokens a second and time left.

    Args:
        updates: Updates of the whole run.
        done: Updates already taken when this process began.
        is_shown: False on all but the main process.
    """

    def __init__(self, updates: int, *, done: int, is_shown: bool) -> None:
        self._updates = updates
        self._first = done
        self._is_shown = is_shown
        self._began = time.monotonic()
        self._last_plain = 0.0
        self._rich: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self) -> None:
        """Begin to show."""
        self._began = time.monotonic()
        if self._is_shown and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (
                TextColumn("{task.completed}/{task.total}"),
                BarColumn(20),
                TextColumn("{task.fields[facts]}"),
            )
            self._rich = Progress(*columns, transient=False)
            self._task = self._rich.add_task(
                "", total=self._updates, completed=self._first, facts="first update ..."
            )
            self._rich.start()

    def update(self, line: dict[str, Any]) -> None:
        """Show a logged update."""
        if not self._is_shown:
            return
        facts = self._facts(line)
        if self._rich is not None and self._task is not None:
            self._rich.update(self._task, completed=line["update"], facts=facts)
            return
        now = time.monotonic()
        if now - self._last_plain >= _PLAIN_SECONDS or line["update"] in (1, self._updates):
            self._last_plain = now
            tell(f"update {line['update']}/{self._updates}  {facts}")

    def say(self, text: str) -> None:
        """Print a line of its own, above the live one."""
        if not self._is_shown:
            return
        # What an untrained model writes may hold control characters, and a terminal would obey them.
        visible = "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)
        if self._rich is not None:
            log.info("%s", visible)
            self._rich.console.print(visible, markup=False, highlight=False)
        else:
            tell(visible)

    def stop(self) -> None:
        """Leave the last state on the screen."""
        if self._rich is not None:
            self._rich.stop()
            self._rich = None

    def _facts(self, line: dict[str, Any]) -> str:
        done = line["update"] - self._first
        left = (time.monotonic() - self._began) / max(done, 1) * (self._updates - line["update"])
        parts = [f"{_short(line['tokens'])} tokens", f"loss {line['loss']:.3f}"]
        if "bits_per_byte" in line:
            parts.append(f"bpb {line['bits_per_byte']:.3f}")
        parts += [
            f"lr {line['learning_rate']:.2e}",
            f"{_short(line['tokens_per_second'])} tokens/s",
            f"{_clock(left)} left",
        ]
        return "  ".join(parts)


def _short(number: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
