"""What a person may ask for: the recipe, section by section.

Every model is frozen and refuses unknown keys. Derived numbers are not here but in ``plan.py``.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from model_foundry.averaging import Averaging
from model_foundry.config._defaults import default, evaluation_of_the_objective, initialization_of_the_model
from model_foundry.config.best import BestBy
from model_foundry.config.policy import NonFinitePolicy
from model_foundry.config.stages import BatchWarmup, ContextStage, DataOrder, Mixture, PositiveCount
from model_foundry.config.telling import Logging, Samples
from model_foundry.config.texts import check_alias, check_url
from model_foundry.corpus import Exposure, Validation
from model_foundry.corpus.filter import Filter
from model_foundry.corpus.intervention import Intervention
from model_foundry.corpus.parser import Parser
from model_foundry.corpus.source import Source
from model_foundry.evaluation import Evaluator
from model_foundry.milestone import Milestone
from model_foundry.model import Architecture
from model_foundry.model.initialization import Initialization
from model_foundry.model.scaling import Scaling
from model_foundry.objective import Objective
from model_foundry.optim import Optimizer
from model_foundry.parts import PartOf, Settings
from model_foundry.schedule import Schedule
from model_foundry.seeds import derive_seed
from model_foundry.tokenizer import MASK, Tokenizer
from model_foundry.tracking import Tracker
from model_foundry.units import Interval, Time

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._{}-]{0,99}")
_PORTS = (f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))
_RESERVED = {"con", "prn", "aux", "nul", *_PORTS}


def _check_name(name: str) -> str:
    bare = name.replace("{seed}", "0")
    if not _NAME.fullmatch(bare) or "{" in bare or "}" in bare or bare.split(".")[0].lower() in _RESERVED:
        raise PydanticCustomError(
            "name",
            "expected 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit (and "
            "{seed} where the seed shall stand)",
        )
    return name


Name = Annotated[str, AfterValidator(_check_name)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Seeds(Settings):
    """One seed a purpose; what is not given follows from ``seed``."""

    weights: Seed | None = None
    """Initial weights."""

    data: Seed | None = None
    """Order of the windows and choice of held-out documents."""

    mask: Seed | None = None
    """Masks of masked language modelling."""

    dropout: Seed | None = None
    """Dropout."""


class Corpus(Settings):
    """Which text is read, and which part of it is held out."""

    sources: list[PartOf[Source]] = Field(min_length=1)
    """Where the text comes from, in order."""

    filters: list[PartOf[Filter]] = Field(default_factory=list)
    """Which documents stay, held-out ones included: each filter is given what the one before it left."""

    interventions: list[PartOf[Intervention]] = Field(default_factory=list)
    """Edits to the text of the training documents; all are planned on the text as it was written."""

    parser: PartOf[Parser] | None = None
    """Parses the sources that bring no parse, where interventions need one: {type: spacy, model: ...}."""

    exposure: Exposure = Exposure()
    """How training text that interventions take away is made up for."""

    validation: Validation = Validation()
    """What is held out for evaluation."""


class Data(Settings):
    """How tokens become windows."""

    context: PositiveCount = 256
    """Tokens a window."""

    context_warmup: list[ContextStage] = Field(default_factory=list)
    """Shorter rows at first: [{context: 128, until: 90%}]; an update has the same tokens, in more rows."""

    documents: Literal["concatenate", "isolate", "pad"] = "concatenate"
    """concatenate: attention crosses documents. isolate: no attention or loss across them. pad: one a row."""

    order: DataOrder = "shuffle_each_epoch"
    """Order of an epoch's windows; streams: batch_size pieces side by side, read on update by update."""

    order_file: str | None = None
    """For order explicit: a file with the ids of an epoch, one a line (or a .npy array), in their order."""

    order_ids: Literal["windows", "documents"] = "windows"
    """What the ids of order_file number, through all sources; documents needs documents: pad."""

    mixture: Mixture | None = None
    """Shares of the sources by temperature, or in stages."""

    workers: Annotated[int, Field(ge=0, le=64)] = 0
    """Processes that fetch batches ahead; never changes what is fetched."""


class Training(Settings):
    """How long, how much at once, and in which precision."""

    duration: Interval
    """Length of the run: 2000 updates, 100M tokens, 100M words or 10 epochs."""

    batch_size: PositiveCount = 32
    """Windows an update, over all processes and micro-batches."""

    batch_warmup: BatchWarmup | None = None
    """A smaller batch at first: {from: 25%, over: 10%} grows along a line, steps: 4 with it in four sizes."""

    micro_batch_size: Literal["auto"] | PositiveCount = "auto"
    """Windows a forward pass, a process; auto: as many as hold 16,384 tokens, fewer where memory is short."""

    precision: Literal["fp32", "tf32", "bf16", "fp16", "fp8"] = "fp32"
    """Precision of the forward and backward pass; weights and optimizer are always float32. tf32 and fp16
    (with a loss scale) need a GPU."""

    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient; null for none."""

    max_time: Time | None = None
    """Save, stop and exit with status 75 after this much time (90s, 30m, 12h), before the allocation ends."""

    on_nonfinite: NonFinitePolicy = NonFinitePolicy()
    """When a number is not finite: stop; skip 3 (updates); or rewind 3 (times, to a checkpoint)."""

    hang_timeout: Annotated[Time, Field(gt=0)] = 600.0
    """End the run when no update, batch of an evaluation or step of a save was finished for this long."""

    start_timeout: Annotated[Time, Field(gt=0)] = 600.0
    """End the run when its processes, their text prepared, have not all come together for this long."""

    compile: Literal[False, "auto", "model", "regions"] = False
    """torch.compile: each block (regions), all but the output layer (model); auto: blocks, in a long run."""

    replica_check: Interval | None = None
    """How often the copies of the weights are compared across processes, bit by bit; one that differs ends
    the run, naming its rank and parameter."""

    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""

    deterministic: bool = False
    """Use torch's deterministic algorithms; slower on an accelerator, refused by operations without one."""


class Checkpoints(Settings):
    """Which states of the run are kept."""

    schedule: list[PartOf[Milestone]] = Field(default_factory=list)
    """A union of rules; update 0 and the last one are always saved."""

    best: BestBy | None = None
    """Save the weights wherever this measure is the best so far: {by: perplexity/loss}, or {by:
    blimp/accuracy, mode: max}. Without it, the best of the checkpoints that are saved anyway is named, by the
    held-out loss."""

    rolling: Interval | None = None
    """Save resumable states at this interval, between milestones; only the newest are kept."""

    keep_resumable: PositiveInt = 2
    """How many resumable states are kept; the weights of milestones always stay."""

    on_save_error: Literal["stop", "continue"] = "stop"
    """Whether training goes on when a checkpoint cannot be written; the last one must succeed either way."""

    export: Literal["each", "last", "never"] = "each"
    """Where weights lie in parts (FSDP): which checkpoints hold them whole, too, for from_pretrained. Of the
    others model-foundry export makes a folder later. A run with whole weights has them whole in each."""

    background: bool = False
    """Write checkpoints while training goes on, from a copy in memory (12 bytes a parameter)."""

    alias: Annotated[str, AfterValidator(check_alias)] | None = None
    """Further names for milestones, in checkpoints/aliases.json: chck_{words}M gives chck_10M, the first with
    10 million words. May hold {updates}, {tokens}, {words} (k, M or B behind them: in whole thousands,
    millions, billions) and {epoch}."""

    mirror: Annotated[str, AfterValidator(check_url)] | None = None
    """Where published checkpoints are copied to beside training, by fsspec: file:///backup, s3://bucket/runs,
    hf://buckets/me/runs. They lie below it in a folder with the run's name; nothing is deleted there."""


class ExperimentConfig(Settings):
    """A whole recipe, checked."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    """Version of the recipe's language."""

    name: Name = "run"
    """Name of the run; its folder is runs/<name>. May hold {seed}."""

    seed: Seed = 1
    """All randomness follows from this, unless ``seeds`` says otherwise for a purpose."""

    seeds: Seeds = Seeds()
    """Seeds of single purposes."""

    corpus: Corpus
    tokenizer: PartOf[Tokenizer] = Field(default_factory=default(Tokenizer, "byte_bpe"))
    data: Data = Data()
    model: PartOf[Architecture]
    init_from: Annotated[str, Field(min_length=1)] | None = None
    """Folder whose weights the model begins with; short for initialization: {type: pretrained, path: ...}."""

    initialization: PartOf[Initialization] = Field(default_factory=initialization_of_the_model)
    scaling: PartOf[Scaling] | None = None
    objective: PartOf[Objective] = Field(default_factory=default(Objective, "causal_lm"))
    optimizer: PartOf[Optimizer] = Field(default_factory=default(Optimizer, "adamw", learning_rate=1e-3))
    schedule: PartOf[Schedule] = Field(default_factory=default(Schedule, "cosine", warmup="2%", floor="10%"))
    averaging: PartOf[Averaging] | None = None
    training: Training
    checkpoints: Checkpoints = Checkpoints()
    evaluation: list[PartOf[Evaluator]] = Field(default_factory=evaluation_of_the_objective)
    samples: Samples | None = None
    logging: Logging = Logging()
    tracking: list[PartOf[Tracker]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _give_a_mask_token(self) -> Self:
        """A tokenizer that is made for an objective that masks has a mask token; others stay without."""
        tokenizer = self.tokenizer
        if self.objective.needs_mask_token and tokenizer.adds_tokens and tokenizer.mask_token is None:
            # The way past frozen=True, before anyone has seen the recipe.
            self.__dict__["tokenizer"] = tokenizer.model_copy(update={"mask_token": MASK})
        return self

    @property
    def is_mixture(self) -> bool:
        """Whether sources are drawn in stated shares, instead of each document once an epoch."""
        return self.data.mixture is not None or any(
            source.weight is not None or source.max_epochs is not None for source in self.corpus.sources
        )

    def seed_of(self, purpose: Literal["weights", "data", "mask", "dropout"]) -> int:
        """Return the seed of one purpose: the one given, else one derived from ``seed``."""
        given = getattr(self.seeds, purpose)
        return given if given is not None else derive_seed(self.seed, purpose)

    @property
    def run_name(self) -> str:
        """The run's name with its seed filled in."""
        return self.name.replace("{seed}", str(self.seed))

    def resolved(self) -> dict[str, object]:
        """The whole recipe as plain values, defaults filled in; reading it back gives an equal recipe."""
        return self.model_dump(mode="json", by_alias=True)
