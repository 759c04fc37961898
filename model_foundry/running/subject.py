"""What a run's own evaluations measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_foundry.corpus.prepared import corpus_manifest
from model_foundry.evaluation import Subject
from model_foundry.running.building import Data
from model_foundry.running.courses import count_tokens, open_held_out
from model_foundry.running.sharded_runs import Measured
from model_foundry.training.interruption import Interruption

if TYPE_CHECKING:
    from accelerate import Accelerator

    from model_foundry.config.schema import ExperimentConfig


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
