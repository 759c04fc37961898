"""Evaluations and samples inside a run: when they are due, what they write, what the person sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from model_foundry.config.plan import RunPlan
from model_foundry.config.schema import ExperimentConfig
from model_foundry.evaluation import Evaluator, Outcome, Subject, Suite, run_suite
from model_foundry.evaluation._generation import continue_ids
from model_foundry.failpoints import reach
from model_foundry.running.best import BestCheckpoint
from model_foundry.running.evaluation_files import EvaluationFiles, Point
from model_foundry.seeds import derive_seed
from model_foundry.training.duties import Due
from model_foundry.training.interruption import Interruption
from model_foundry.training.metrics import JsonLog
from model_foundry.training.progress import Progress
from model_foundry.training.state import Timetable, TrainState
from model_foundry.units import Duration

_SAMPLES = "samples"


class Measuring:
    """Runs what the recipe asks for beside training; draws from no ambient generator.

    The model is the one from before wrapping, so that no rank needs another one's forward pass. A request to
    stop breaks a measurement off; the run that is resumed does all that was due there anew.
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
        interruption: Interruption,
        files: EvaluationFiles,
        best: BestCheckpoint,
        filled: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._filled = filled
        self._best = best
        self._config = config
        self._plan = plan
        self._subject = subject
        self._is_main = subject.rank == 0
        self._folders = folders
        self._metrics, self._samples, self._progress = metrics, samples, progress
        self._interruption = interruption
        self._files = files
        self._suites: dict[int, Suite] = {}
        self._tables = {
            index: self._table(evaluator.every) for index, evaluator in enumerate(config.evaluation)
        }
        self._sample_table = self._table(config.samples.every) if config.samples else None
        self._last: dict[str, float] = {}

    def _table(self, every: Any) -> Timetable:
        return Timetable([], every=every, updates=self._plan.updates, batches=self._plan.batches)

    def due(
        self, before: TrainState | None, now: TrainState, *, is_milestone: bool, is_last: bool
    ) -> tuple[str, ...]:
        """Return the names of what is to be measured after ``now``."""

        def falls(table: Timetable) -> bool:
            return is_last or before is None or table.falls_on(before, now)

        names = []
        for index, evaluator in enumerate(self._config.evaluation):
            at_checkpoints = evaluator.at == "checkpoints" and (is_milestone or before is None)
            if is_last or (falls(self._tables[index]) if evaluator.every is not None else at_checkpoints):
                names.append(_name(index, evaluator))
        if self._sample_table is not None and falls(self._sample_table):
            names.append(_SAMPLES)
        return tuple(names)

    def __call__(self, state: TrainState, names: tuple[str, ...]) -> bool:
        """Measure the model as it is now, and write the results down.

        Returns:
            Whether it was done to the end; false when a request to stop broke it off.
        """
        with self._filled():
            return self._measure(state, names)

    def _measure(self, state: TrainState, names: tuple[str, ...]) -> bool:
        for index, evaluator in enumerate(self._config.evaluation):
            if _name(index, evaluator) in names and not self._evaluate(index, evaluator, state):
                return False
        if _SAMPLES not in names or self._sample_table is None:
            return True
        lines: list[dict[str, Any]] = []
        is_done = self._interruption.run(lambda: lines.extend(self._sample(state) if self._is_main else ()))
        if is_done:
            for line in lines:
                self._samples.write(line)
                text = " ".join(line["text"].split())
                self._progress.say(f"  sample after update {state.updates}: {line['prompt']}|{text}")
        return is_done

    def _evaluate(self, index: int, evaluator: Evaluator, state: TrainState) -> bool:
        began = time.monotonic()
        outcomes: list[Outcome] = []

        def measure() -> None:
            reach(f"evaluation.{state.updates}")
            if index not in self._suites:
                self._suites[index] = evaluator.open(self._subject, self._folders)
            with _in_full_precision(self._subject.model):
                outcomes.append(run_suite(self._suites[index], self._subject))

        if not self._interruption.run(measure):
            return False
        [outcome], suite = outcomes, self._suites[index]
        if self._is_main:
            point = Point(f"checkpoint-{state.updates}", state.updates, state.tokens, state.words)
            seconds = time.monotonic() - began
            self._files.write(evaluator, point, outcome, origin="training", seconds=seconds)
        shown = [measure for measure in outcome.measures if measure.level in suite.shown]
        named = {f"{evaluator.label}/{measure.key}": measure.value for measure in shown}
        self._last |= named
        self._best.measured(state.updates, named)
        clock = {"update": state.updates, "tokens": state.tokens, "words": state.words}
        self._metrics.write({**clock, **named, "evaluation_seconds": time.monotonic() - began})
        self._progress.say(f"  evaluation after update {state.updates}: {_in_words(named)}")
        return True

    def _sample(self, state: TrainState) -> Iterator[dict[str, Any]]:
        samples, encoder, model = self._config.samples, self._subject.encoder, self._subject.model
        assert samples is not None
        assert isinstance(model, torch.nn.Module)
        for number, prompt in enumerate(samples.prompts):
            seed = derive_seed(self._config.seed, "sample", state.updates, number)
            prompt_ids = encoder.encode_batch([prompt])[0].tolist() or [encoder.eos_id]
            ids = continue_ids(
                model,
                prompt_ids,
                tokens=samples.tokens,
                context=self._subject.context,
                temperature=samples.temperature,
                top_p=samples.top_p,
                seed=seed,
                device=self._subject.device,
                stop_id=encoder.eos_id,
                vocabulary=encoder.vocab_size,
            )
            text = encoder.decode_after(prompt_ids, ids)
            yield {"update": state.updates, "tokens": state.tokens, "prompt": prompt, "text": text}

    def last_lines(self) -> list[str]:
        """Return the last value of each measure, for the end of the run."""
        best = self._best.line()
        return [f"  {name} {value:.4f}" for name, value in self._last.items()] + ([best] if best else [])


def what_is_due(config: ExperimentConfig, plan: RunPlan, measuring: Measuring) -> Due:
    """Return when the loop measures, saves and logs."""

    def table(points: list[Duration], every: Duration | None = None) -> Timetable:
        return Timetable(points, every=every, updates=plan.updates, batches=plan.batches)

    rules = [(rule, rule.points(plan.length)) for rule in config.checkpoints.schedule]
    milestone = table([point for _, points in rules for point in points])
    return Due(
        evaluation=lambda before, now, is_last: measuring.due(
            before, now, is_milestone=milestone.falls_on(before, now), is_last=is_last
        ),
        milestone=milestone,
        resumable_milestone=table(
            [point for rule, points in rules if rule.kind == "resumable" for point in points]
        ),
        rolling=table([], config.checkpoints.rolling),
        logging=table([], config.logging.every),
        replica_check=table([], config.training.replica_check),
    )


@contextmanager
def _in_full_precision(model: Any) -> Iterator[None]:
    """Take away the forward pass for mixed precision that Accelerate puts before the model's own.

    So a run's values are those that its checkpoints have, which are evaluated in float32.
    """
    mixed, multiplied = vars(model).pop("forward", None), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(model.device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(multiplied)
        if mixed is not None:
            model.forward = mixed


def _name(index: int, evaluator: Evaluator) -> str:
    return f"{evaluator.part_name()}-{index}"


def _in_words(results: dict[str, float]) -> str:
    return "  ".join(
        f"{name.rpartition('/')[2]} {value:.4f}" for name, value in results.items() if "/" in name
    )
