"""What a person sees while a run goes on: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from model_foundry.logs import tell

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_PLAIN_SECONDS = 10.0
_COLUMNS, _BAR = 120, 12
log = logging.getLogger(__name__)


class Progress:
    """Shows where a run is: exposure, loss, learning rate, speed, time left, the next checkpoint.

    Speed is tokens and the model's own operations a second, or their share of the devices' peak (MFU) where
    that is known; the time left goes by all that was done so far, evaluations and checkpoints included.

    Args:
        updates: Updates of the whole run.
        done: Updates already taken when this process began.
        next_checkpoint: Gives the next update after this one at which a checkpoint is due.
        is_shown: False on all but the main process.
    """

    def __init__(
        self, updates: int, *, done: int, next_checkpoint: Callable[[int], int], is_shown: bool
    ) -> None:
        self._updates = updates
        self._next_checkpoint = next_checkpoint
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
                BarColumn(_BAR),
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
        count = f"{line['update']}/{self._updates}"
        if self._rich is not None and self._task is not None:
            room = self._rich.console.width - _BAR - len(count) - 3
            self._rich.update(self._task, completed=line["update"], facts=self._facts(line, room))
            return
        now = time.monotonic()
        if now - self._last_plain >= _PLAIN_SECONDS or line["update"] in (1, self._updates):
            self._last_plain = now
            begin = f"update {count}  "
            tell(begin + self._facts(line, _COLUMNS - len(begin)))

    def say(self, text: str | None) -> None:
        """Print a line of its own, above the live one; nothing for None."""
        if not self._is_shown or text is None:
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

    def _facts(self, line: dict[str, Any], width: int) -> str:
        done = line["update"] - self._first
        left = (time.monotonic() - self._began) / max(done, 1) * (self._updates - line["update"])
        parts = [f"{_short(line['tokens'])} tok", f"loss {line['loss']:.3f}"]
        if "bits_per_byte" in line:
            parts.append(f"bpb {line['bits_per_byte']:.3f}")
        parts += [f"lr {_power(line['learning_rate'])}", f"|g| {line['grad_norm']:.2g}"]
        parts.append(f"{_short(line['tokens_per_second'])} tok/s")
        if "mfu" in line:
            parts.append(f"MFU {line['mfu']:.0%}")
        elif line.get("flops_per_second"):
            parts.append(_flops(line["flops_per_second"]))
        end = [f"{_clock(left)} left"]
        if line["update"] < self._updates:
            end.append(f"ckpt {self._next_checkpoint(line['update'])}")
        while len("  ".join([*parts, *end])) > width and len(parts) > 1:
            parts.pop()  # a narrow screen does without the speed first, and with the loss last
        return "  ".join([*parts, *end])


def _short(number: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def _flops(a_second: float) -> str:
    for size, letter in ((1e15, "P"), (1e12, "T")):
        if a_second >= size:
            return f"{a_second / size:.3g} {letter}FLOP/s"
    return f"{a_second / 1e9:.3g} GFLOP/s"


def _power(number: float) -> str:
    """Return ``1.0e-4``, without the zeros that Python puts into the exponent."""
    mantissa, _, exponent = f"{number:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _clock(seconds: float) -> str:
    """Return ``4:05``, ``1:04:05``, and from ten hours on ``12h``, from two days on ``3d 4h``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24}d {hours % 24}h"
    if hours >= 10:
        return f"{hours}h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
