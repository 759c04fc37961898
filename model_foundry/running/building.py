"""From a checked recipe to tokens, model and plan: what a run has before it is placed on a device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model_foundry.config.plan import CorpusFacts, ModelFacts, RunPlan, plan_run
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.prepared import PreparedCorpus
from model_foundry.corpus.progress import Progress
from model_foundry.data.mixture import AnyCourse
from model_foundry.data.rows import Rows
from model_foundry.data.windows import Windows
from model_foundry.errors import RecipeError
from model_foundry.model import Vocabulary
from model_foundry.model.counting import count_parameters, flops_per_token
from model_foundry.model.scaling import Factors
from model_foundry.objective import Arrangement, Tokens
from model_foundry.running.courses import build_course, build_rows, corpus_facts, open_windows
from model_foundry.running.initial_weights import take_weights
from model_foundry.running.preparing import PreparationScreen, prepare_text
from model_foundry.seeds import derive_seed
from model_foundry.training.isolation import require_isolation

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.config.schema import ExperimentConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """What the text became."""

    corpus: PreparedCorpus
    encoder: TextEncoder
    windows: list[Windows]
    facts: CorpusFacts


@dataclass(frozen=True)
class Built:
    """What recipe and text together make."""

    model: PreTrainedModel
    optimizer: torch.optim.Optimizer
    plan: RunPlan
    course: AnyCourse
    rows: Rows
    arrangement: Arrangement | None = None
    """What the objective does to each row."""

    initial_weights: str | None = None
    """Fingerprint of the weights that were taken from a folder."""

    padded_sizes: tuple[int, ...] = ()
    """Windows that micro-batches are filled up to, where that many are compiled; empty for any."""


def prepare_data(
    config: ExperimentConfig,
    folders: list[Path],
    say: Callable[[str], None],
    look: Callable[[], None] = lambda: None,
) -> Data:
    """Return the corpus as windows, from the cache where it is there; ``look`` is called now and then."""
    corpus = _prepare(config, folders, say, look)
    look()
    encoder = TextEncoder(corpus.tokenizer_folder)
    windows = open_windows(config, corpus, encoder)
    return Data(corpus, encoder, windows, corpus_facts(config, windows, folders))


def build_model_and_plan(
    config: ExperimentConfig,
    data: Data,
    processes: int,
    folders: list[Path],
    build: Callable[[Vocabulary], PreTrainedModel] | None = None,
) -> Built:
    """Return the initialised model, its optimizer, the run's numbers, and which window stands where.

    ``build`` gives a model whose weights are drawn by whoever places it.
    """
    model, factors, taken = _build_model(config, data.encoder, folders, build)
    if config.data.documents == "isolate":
        direction = config.model.direction
        require_isolation(model, config.objective, direction, data.encoder.vocab_size, config.data.context)
    plan = plan_run(config, data.facts, model_facts(model, config), processes)
    optimizer = build_optimizer(
        config, model, {name: factor.learning_rate for name, factor in factors.items()}
    )
    course = build_course(config, data.windows, plan, folders)
    arrangement = config.objective.arrangement(
        tokens_of(data.encoder),
        config.model.direction,
        seed=config.seed_of("mask"),
        positions=course.span(plan.updates - 1).stop,
    )
    return Built(model, optimizer, plan, course, build_rows(course, plan), arrangement, taken)


def build_optimizer(
    config: ExperimentConfig, model: PreTrainedModel, rates: Mapping[str, float]
) -> torch.optim.Optimizer:
    """Return the recipe's optimizer, with the average that it keeps; ``rates`` are factors by name."""
    optimizer = config.optimizer.build(model, rates)
    return optimizer if config.averaging is None else config.averaging.around(optimizer)


def tokens_of(encoder: TextEncoder) -> Tokens:
    """Return what an objective must know of a tokenizer."""
    return Tokens(encoder.vocab_size, encoder.special_ids, encoder.mask_id)


def _prepare(
    config: ExperimentConfig, folders: list[Path], say: Callable[[str], None], look: Callable[[], None]
) -> PreparedCorpus:
    screen = PreparationScreen(say, is_terminal=False)

    def show(progress: Progress) -> None:
        look()
        screen(progress)

    return prepare_text(config, folders, show)


def _build_model(
    config: ExperimentConfig,
    encoder: TextEncoder,
    folders: list[Path],
    build: Callable[[Vocabulary], PreTrainedModel] | None,
) -> tuple[PreTrainedModel, Mapping[str, Factors], str | None]:
    vocabulary = Vocabulary(encoder.vocab_size, encoder.bos_id, encoder.eos_id, encoder.pad_id)
    model = build(vocabulary) if build else config.model.build(vocabulary, config.data.context)
    if config.training.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    if build:
        return model, {}, None
    generator = weights_generator(config)
    factors = config.scaling.factors(model) if config.scaling else {}
    initial = {name: factor.initial for name, factor in factors.items()}
    origin, taken = config.initialization.weights_from(folders), None
    if origin is None:
        config.initialization.initialize(model, generator, initial)
    else:
        taken = take_weights(model, *origin, encoder)
        log.info("begins with the weights of %s; nothing is drawn, so there is nothing to verify", origin[0])
    if config.scaling:
        config.scaling.require_effect(model)
    return model, factors, taken


def weights_generator(config: ExperimentConfig) -> torch.Generator:
    """Return what a run's first weights are drawn from, on any placement."""
    return torch.Generator().manual_seed(derive_seed(config.seed_of("weights"), "weights"))


def enable_gradient_checkpointing(model: PreTrainedModel) -> None:
    """Have the model compute its activations anew in the backward pass.

    Raises:
        RecipeError: When it cannot.
    """
    if not model.supports_gradient_checkpointing:
        raise RecipeError(
            f"training.gradient_checkpointing: a {type(model).__name__} cannot compute its activations anew. "
            "Set it to false; a smaller training.micro_batch_size saves memory, too."
        )
    model.activation_checkpointing_enable()


def model_facts(model: PreTrainedModel, config: ExperimentConfig) -> ModelFacts:
    """Return what is counted on the model, on any device."""
    counts = count_parameters(model)
    return ModelFacts(
        parameters=counts["total"],
        embedding_parameters=counts["embedding"],
        flops_per_token=flops_per_token(model, config.data.context),
        early_flops_per_token=tuple(
            flops_per_token(model, stage.context) for stage in config.data.context_warmup
        ),
    )
