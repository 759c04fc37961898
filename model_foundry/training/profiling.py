"""``train --profile 10..12``: a trace of those updates, written into the run's folder.

``profile/updates-10-12.rank0.json.gz`` opens in https://ui.perfetto.dev as it is. The phases of
``metrics.jsonl`` stand in it as spans beside torch's operations.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from model_foundry.errors import RecipeError
from model_foundry.training.phases import Phase

FOLDER = "profile"


class Profiling:
    """Follows the clock of the updates and traces those that were asked for; each process writes a file.

    Args:
        folder: Where the file goes.
        asked: Updates as the command line names them: ``10..12``, or ``10``; the first of a run is 1.
        left: Updates that the run still takes.
        rank: Of this process.
        now: The update that goes on.
        tell: Is told where the file lies.

    Raises:
        RecipeError: When these are no updates that are still to come.
    """

    def __init__(
        self,
        folder: Path,
        asked: str,
        *,
        left: range,
        rank: int,
        now: Callable[[], int],
        tell: Callable[[str], None],
    ) -> None:
        found = re.fullmatch(r"(\d{1,18})(?:\.\.(\d{1,18}))?", asked.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not (first <= last and first in left and last in left):
            raise RecipeError(
                f"--profile {asked}: expected updates that are still to come, such as {left.start}, "
                f"up to {left.stop - 1}, or two of them: 10..12. Name some of these, or leave it out."
            )
        self._first, self._last = first, last
        self._file = folder / f"updates-{first}-{last}.rank{rank}.json.gz"
        self._now, self._tell = now, tell
        self._profiler: profile | None = None
        self._update: int | None = None
        self._spans: list[record_function] = []

    def __call__(self, phase: Phase | None) -> None:
        """Note that a phase begins; the first one begins an update, and None ends it."""
        if phase is None:
            self._end()
            return
        if self._update is None:
            self._update = self._now()
            if self._update == self._first:
                self._start()
            self._open(f"update {self._update}")
        else:
            self._leave(until=1)
        self._open(phase)

    def close(self) -> None:
        """Write what was traced, where anything was: also of a run that ends before the last update."""
        self._leave(until=0)
        if self._profiler is None:
            return
        self._profiler.stop()
        self._file.parent.mkdir(exist_ok=True)
        self._profiler.export_chrome_trace(str(self._file))
        self._profiler = None
        self._tell(f"  profile {self._file} (opens in https://ui.perfetto.dev)")

    def _start(self) -> None:
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self._profiler = profile(activities=activities, record_shapes=True, acc_events=True)
        self._profiler.start()

    def _end(self) -> None:
        self._leave(until=0)
        if self._update == self._last:
            self.close()
        self._update = None

    def _open(self, name: str) -> None:
        if self._profiler is not None:
            self._spans.append(record_function(name))
            self._spans[-1].__enter__()  # type: ignore[no-untyped-call]

    def _leave(self, *, until: int) -> None:
        while len(self._spans) > until:
            self._spans.pop().__exit__(None, None, None)
