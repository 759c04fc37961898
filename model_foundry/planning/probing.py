"""The process of a probe: ``python -m model_foundry.planning.probing`` with a request on its input."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from model_foundry.config.load import load_recipe_with_sources
from model_foundry.errors import ModelFoundryError
from model_foundry.planning.timing import Probe
from model_foundry.running.pipeline import build_loop
from model_foundry.running.watching import watched
from model_foundry.trainer import Trainer
from model_foundry.training.loop import TrainingLoop
from model_foundry.training.metrics import peak_memory_bytes
from model_foundry.training.nonfinite import Attempt
from model_foundry.training.state import TrainState
from model_foundry.training.stopping import StopRequest, die_with_parent

if TYPE_CHECKING:
    from model_foundry.config.schema import ExperimentConfig

_LEAST_UPDATES = 4  # the first warms up


class TimedLoop(TrainingLoop):
    """The run's loop with a stopwatch: it ends when its updates took long enough."""

    def watch(self, seconds: float) -> None:
        """Take updates for so many seconds."""
        self._seconds_left = seconds
        self._times: dict[str, list[float]] = defaultdict(list)
        self._evaluations: dict[str, list[float]] = defaultdict(list)
        self._phases: dict[str, float] = defaultdict(float)
        self._measure, self.evaluate = self.evaluate, self

    def __call__(self, state: TrainState, names: tuple[str, ...]) -> bool:
        """Evaluate one after the other, each with its time."""
        for name in names:
            with _timed(self._evaluations[name]):
                if not self._measure(state, (name,)):
                    return False
        return True

    def last_lines(self) -> list[str]:
        """Return nothing: nobody reads the measures of a probe."""
        return []

    def update(self) -> str | None:
        """Take an update, and decide whether it is the last one."""
        with _timed(self._times["update"]):
            reason = super().update()
            _wait_for_device()
        self._read_phases()
        spent, taken = sum(self._times["update"]), len(self._times["update"])
        if taken == 1:
            self._phases.clear()  # it warmed up
        if taken >= _LEAST_UPDATES and spent >= self._seconds_left:
            self.stop_at = self.state.updates
        return reason

    def log(self, attempt: Attempt, learning_rate: float) -> None:
        """Keep what the phases took before the line reads them."""
        self._read_phases()
        super().log(attempt, learning_rate)

    def _read_phases(self) -> None:
        for key, seconds in self.throughput.phases.read().items():
            self._phases[key.removesuffix("_seconds")] += seconds

    def save_if_due(self, must: bool) -> None:
        """Save, where that is due."""
        saved_at = self.saved_at
        times: list[float] = []
        with _timed(times):
            super().save_if_due(must)
        if self.saved_at != saved_at:
            self._times["save"] += times

    def probe(self, began: float) -> Probe:
        """Return what was measured."""
        updates = self._times["update"]
        counted = updates[1:] or updates
        evaluations = {name: sum(times) / len(times) for name, times in self._evaluations.items()}
        saves = self._times["save"]
        others = sum(map(sum, self._evaluations.values())) + sum(saves) + sum(updates)
        return Probe(
            start_up=max(0.0, time.time() - began - others),
            updates=counted,
            phases={name: seconds / len(counted) for name, seconds in self._phases.items()},
            evaluations=evaluations,
            save=sum(saves) / max(1, len(saves)),
            peak_bytes=peak_memory_bytes(self.accelerator.device),
            device=self.accelerator.device.type,
            threads=torch.get_num_threads(),
        )


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    times.append(time.perf_counter() - began)


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _silent(config: ExperimentConfig) -> ExperimentConfig:
    """Return the recipe without what others would see of the run."""
    checkpoints = config.checkpoints.model_copy(update={"mirror": None, "keep_resumable": 1})
    return config.model_copy(update={"checkpoints": checkpoints, "tracking": []})


def probe(request: dict[str, Any]) -> Probe:
    """Train the first updates of a recipe, and return what they took."""
    recipe = load_recipe_with_sources(
        request["recipe"],
        request["overrides"],
        allow_custom_code=request["allow_custom_code"],
        smoke=request["smoke"],
    )
    trainer = Trainer(
        _silent(recipe.config), run_dir=request["folder"], look_in=[recipe.path.parent], stop_at=sys.maxsize
    )
    trainer.run.open(resume=False)
    stop = StopRequest(trainer.run.control, None)
    made = build_loop(trainer, None, stop, is_main=True, say=lambda text: None)
    loop = TimedLoop(**{field.name: getattr(made, field.name) for field in fields(made)})
    loop.watch(request["seconds"])
    with watched(loop.watchdog, trainer):
        try:
            loop.run()
        finally:
            loop.close()
            trainer.run.close()
    return loop.probe(request["began"])


def main() -> None:
    """Answer the request on the standard input; what fails ends in one line."""
    die_with_parent()
    request = json.load(sys.stdin)
    try:
        found = probe(request)
    except ModelFoundryError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    Path(request["answer"]).write_text(json.dumps(asdict(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
