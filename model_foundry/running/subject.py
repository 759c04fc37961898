"""What a run's own evaluations measure, and what measures it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_foundry.corpus.prepared import corpus_manifest
from model_foundry.evaluation import Subject
from model_foundry.running.building import Data
from model_foundry.running.courses import count_tokens, open_held_out
from model_foundry.running.evaluation_files import EvaluationFiles
from model_foundry.running.measuring import Measuring
from model_foundry.running.sharded_runs import Measured
from model_foundry.training.interruption import Interruption

if TYPE_CHECKING:
    from accelerate import Accelerator

    from model_foundry.config.plan import RunPlan
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.running.best import BestCheckpoint
    from model_foundry.trainer import Trainer
    from model_foundry.training.checkpoint_files import Checkpoint
    from model_foundry.training.metrics import JsonLog
    from model_foundry.training.progress import Progress


def subject_of(
    config: ExperimentConfig,
    data: Data,
    measured: Measured,
    accelerator: Accelerator,
    interruption: Interruption,
) -> Subject:
    """Return the model with all that an evaluation may ask about it and its text."""
    return Subject(
        model=measured.model,
        device=accelerator.device,
        encoder=data.encoder,
        held_out=open_held_out(data.corpus, data.encoder),
        context=config.data.context,
        documents=config.data.documents,
        direction=config.model.direction,
        corpus=corpus_manifest(data.corpus)["digest"],
        token_counts=lambda: count_tokens(data.windows, data.encoder),
        objective=config.objective,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
        gather=interruption.gather,
    )


def measuring_of(
    trainer: Trainer,
    checkpoint: Checkpoint | None,
    plan: RunPlan,
    subject: Subject,
    logs: tuple[JsonLog, JsonLog],
    progress: Progress,
    interruption: Interruption,
    best: BestCheckpoint,
    measured: Measured,
) -> Measuring:
    """Return what measures; the main process cuts earlier results back to the checkpoint."""
    files = EvaluationFiles(trainer.run / "evaluations")
    if subject.rank == 0:
        files.cut(checkpoint.updates if checkpoint else -1)
    beside = (progress, interruption, files, best, measured.filled)
    return Measuring(trainer.config, plan, subject, trainer.folders, logs[0], logs[1], *beside)
