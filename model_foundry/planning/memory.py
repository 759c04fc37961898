"""The memory of one process of a run: updates and evaluations of the recipe, followed without contents.

Shape letters: B rows, T tokens a row, W tokens of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import convert_outputs_to_fp32

from model_foundry.evaluation._held_out import TOKENS_A_BATCH
from model_foundry.model import Vocabulary
from model_foundry.objective import IGNORED, Batch, Row, Tokens
from model_foundry.planning.tracing import Ledger, Traced, without_memory
from model_foundry.running.building import build_optimizer, enable_gradient_checkpointing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.config.schema import ExperimentConfig

_MOST_ROUNDS = 2  # later micro-batches of an update find what the second finds


@dataclass(frozen=True)
class Shape:
    """What of a plan the memory depends on."""

    vocabulary: Vocabulary
    tokens: Tokens
    micro_batch_size: int
    rounds: int
    """Micro-batches an update, of one process."""

    filled_share: float = 1.0
    """Share of a row's places that hold tokens; the rest is padding."""


def trace(config: ExperimentConfig, shape: Shape, *, updates: int = 2, evaluates: bool = True) -> Traced:
    """Return the fullest moments of a process that trains the recipe; nothing is allocated.

    Before the first update and after the last one the held-out text is evaluated, where the recipe says so:
    two batches, and one that is not full.

    Args:
        config: The recipe.
        shape: From its plan.
        updates: How many are taken; all after the second are like it.
        evaluates: Whether evaluations are followed, too.
    """
    with without_memory():
        model = config.model.build(shape.vocabulary, config.data.context)
        if config.training.gradient_checkpointing:
            enable_gradient_checkpointing(model)
        model.train()
        optimizer = build_optimizer(config, model, {})
        plain_forward = model.forward
        rows = MicroBatches(config, shape)
        ledger = Ledger(shape.tokens.size, rows.counted_share)
        ledger.note([*model.parameters(), *model.buffers()], "weights")
        with ledger:
            for update in range(updates):
                if evaluates and update == 0:
                    _evaluate(config, model, rows, ledger)
                _mix(model, config.training.precision)
                _update(config, model, optimizer, rows, ledger)
                model.forward = plain_forward
            if evaluates:
                _evaluate(config, model, rows, ledger)
        return ledger.traced()


def _mix(model: PreTrainedModel, precision: str) -> None:
    """Have the forward pass in mixed precision, as Accelerate has it."""
    if precision not in ("fp32", "tf32"):
        dtype = torch.float16 if precision == "fp16" else torch.bfloat16
        mixed = torch.autocast("cpu", dtype)(model.forward)
        model.forward = convert_outputs_to_fp32(mixed)


def _update(
    config: ExperimentConfig,
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    rows: MicroBatches,
    ledger: Ledger,
) -> None:
    """Take one update as ``TrainingLoop`` does."""
    for _ in range(rows.rounds):
        loss = config.objective.loss(model, rows.batch(rows.windows))
        loss.total.backward()  # type: ignore[no-untyped-call]
        del loss
        ledger.note((parameter.grad for parameter in model.parameters()), "gradients")
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.training.gradient_clip or float("inf"))
    optimizer.step()
    ledger.note((value for state in optimizer.state.values() for value in state.values()), "optimizer")
    optimizer.zero_grad()


@torch.no_grad()
def _evaluate(config: ExperimentConfig, model: PreTrainedModel, rows: MicroBatches, ledger: Ledger) -> None:
    kinds = {evaluator.part_name() for evaluator in config.evaluation}
    ledger.stage = "evaluations"
    model.train(False)
    most = max(1, TOKENS_A_BATCH // config.data.context)
    for windows in (most, most, most // 2 + 1):
        if "perplexity" in kinds:
            _nats(model, rows.batch(windows))
        if "masked_loss" in kinds:
            config.objective.loss(model, rows.batch(windows))
    model.train()
    ledger.stage = "updates"


def _nats(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    arguments: dict[str, Any] = {"input_ids": batch["ids_BT"], "use_cache": False}
    if "positions_BT" in batch:
        arguments["position_ids"] = batch["positions_BT"]
    logits_NV = model(**arguments).logits.float().flatten(0, 1)
    nats_N = torch.nn.functional.cross_entropy(logits_NV, batch["targets_BT"].flatten(), reduction="none")
    return nats_N.double()


class MicroBatches:
    """Micro-batches of the shapes that the run has, without contents.

    How many targets count is drawn from the objective's own arrangement of some full windows.
    """

    def __init__(self, config: ExperimentConfig, shape: Shape) -> None:
        self.windows, self.rounds = shape.micro_batch_size, min(_MOST_ROUNDS, shape.rounds)
        self._context, self._isolates = config.data.context, config.data.documents == "isolate"
        self._tokens = shape.tokens
        self._has_padding = shape.filled_share < 1
        self._arrangement = config.objective.arrangement(
            shape.tokens, config.model.direction, seed=0, positions=1
        )
        self.counted_share = shape.filled_share * self._share_of_arranged(config.objective.shared_tokens)

    def _share_of_arranged(self, shared: int) -> float:
        if self._arrangement is None:
            return 1.0
        context, drawn, counted = self._context, 64, 0
        plain = next(token for token in range(self._tokens.size) if token not in self._tokens.special_ids)
        tokens_W = np.full(context + shared, plain, np.int64)
        for position in range(drawn):
            ids_T = tokens_W[:context].copy()
            targets_T = tokens_W[shared:].copy() if shared else np.full(context, IGNORED, np.int64)
            words_W = lambda: np.ones(len(tokens_W), np.int64)  # noqa: E731
            row = Row(ids_T, targets_T, tokens_W, words_W, epoch=0, position=position, context=context)
            self._arrangement.arrange(row)
            counted += int((targets_T != IGNORED).sum())
        return counted / (drawn * context)

    def batch(self, windows: int) -> Batch:
        """Return a micro-batch of ``windows`` rows."""
        shape = (windows, self._context)
        batch: Batch = {
            "ids_BT": torch.zeros(shape, dtype=torch.long),
            "targets_BT": torch.zeros(shape, dtype=torch.long),
            "exposure": torch.zeros(4, dtype=torch.long),
        }
        if self._isolates:
            batch["positions_BT"] = torch.zeros(shape, dtype=torch.long)
        if self._arrangement is not None:
            batch["counted"] = torch.zeros((), dtype=torch.long)
            if self._isolates or self._has_padding:
                batch["segments_BT"] = torch.zeros(shape, dtype=torch.long)
            if self._arrangement.gives_direction:
                batch["causal_B"] = torch.zeros(windows, dtype=torch.bool)
        return batch
