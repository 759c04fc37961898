"""Evaluations and samples inside a run: when they are due, what they write, what the person sees."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from model_foundry.config.plan import RunPlan
from model_foundry.config.schema import ExperimentConfig
from model_foundry.evaluation import Evaluator, Subject
from model_foundry.evaluation._generation import continue_ids
from model_foundry.seeds import derive_seed
from model_foundry.training.metrics import JsonLog
from model_foundry.training.progress import Progress
from model_foundry.training.state import Timetable, TrainState


class Measuring:
    """Runs what the recipe asks for beside training; draws from no ambient generator.

    The model is the one from before wrapping, so that no rank needs another one's forward pass.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        plan: RunPlan,
        subject: Subject,
        folders: list[Path],
        metrics: JsonLog,
        samples: JsonLog,
        progress: Progress,
    ) -> None:
        self._config = config
        self._plan = plan
        self._subject = subject
        self._is_main = subject.rank == 0
        self._folders = folders
        self._metrics, self._samples, self._progress = metrics, samples, progress
        self._tables = {
            index: self._table(evaluator.every) for index, evaluator in enumerate(config.evaluation)
        }
        self._sample_table = self._table(config.samples.every) if config.samples else None
        self._before: TrainState | None = None
        self._milestone = False
        self._last: dict[str, float] = {}

    def _table(self, every: Any) -> Timetable:
        return Timetable(
            [], every=every, updates=self._plan.updates, updates_per_epoch=self._plan.updates_per_epoch
        )

    def is_due(self, before: TrainState | None, now: TrainState, milestone: bool) -> bool:
        """Return whether anything is due after ``now``; remembers what for the call that follows."""
        self._before, self._milestone = before, milestone
        return any(self._evaluator_is_due(index, now) for index in self._tables) or self._samples_are_due(now)

    def _evaluator_is_due(self, index: int, now: TrainState) -> bool:
        evaluator: Evaluator = self._config.evaluation[index]
        if evaluator.every is not None:
            return self._tables[index].falls_on(self._before, now)
        return evaluator.at == "checkpoints" and (self._milestone or self._before is None)

    def _samples_are_due(self, now: TrainState) -> bool:
        if self._sample_table is None:
            return False
        return self._before is None or self._sample_table.falls_on(self._before, now)

    def __call__(self, state: TrainState, is_last: bool) -> None:
        """Measure the model as it is now, and write the results down."""
        for index, evaluator in enumerate(self._config.evaluation):
            if is_last or self._evaluator_is_due(index, state):
                began = time.monotonic()
                results = evaluator.evaluate(self._subject, self._folders)
                named = {f"{evaluator.part_name()}/{measure}": value for measure, value in results.items()}
                self._last |= named
                clock = {"update": state.updates, "tokens": state.tokens, "words": state.words}
                self._metrics.write({**clock, **named, "evaluation_seconds": time.monotonic() - began})
                self._progress.say(f"  evaluation after update {state.updates}: {_in_words(named)}")
        if self._is_main and (self._samples_are_due(state) or (is_last and self._sample_table is not None)):
            self._write_samples(state)

    def _write_samples(self, state: TrainState) -> None:
        samples, encoder = self._config.samples, self._subject.encoder
        assert samples is not None
        for number, prompt in enumerate(samples.prompts):
            seed = derive_seed(self._config.seed, "sample", state.updates, number)
            prompt_ids = encoder.encode_batch([prompt])[0].tolist() or [encoder.eos_id]
            ids = continue_ids(
                self._subject.model,
                prompt_ids,
                tokens=samples.tokens,
                context=self._subject.context,
                temperature=samples.temperature,
                top_p=samples.top_p,
                seed=seed,
                device=self._subject.device,
                stop_id=encoder.eos_id,
            )
            text = encoder.decode(ids)
            self._samples.write(
                {"update": state.updates, "tokens": state.tokens, "prompt": prompt, "text": text}
            )
            self._progress.say(f"  sample after update {state.updates}: {prompt}|{' '.join(text.split())}")

    def last_lines(self) -> list[str]:
        """Return the last value of each measure, for the end of the run."""
        return [f"  {name} {value:.4f}" for name, value in self._last.items()]


def _in_words(results: dict[str, float]) -> str:
    return "  ".join(
        f"{name.rpartition('/')[2]} {value:.4f}" for name, value in results.items() if "/" in name
    )
