"""Proof, before a run begins, that a model keeps documents of one window apart.

Shape letters: B windows, T places a window.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from model_foundry.errors import RecipeError
from model_foundry.model import Direction
from model_foundry.objective import Batch, Objective

_TOLERANCE = 1e-4


@torch.no_grad()
def require_isolation(
    model: PreTrainedModel, objective: Objective, direction: Direction, vocabulary_size: int, context: int
) -> None:
    """Compare documents that share a window with the same documents alone, called as the objective calls.

    transformers keeps packed documents apart only where restarting positions come without a mask and
    without a cache, or by a mask of its own for each pair of places, which not every model takes; models that
    carry a state from token to token cannot. So it is measured on the model itself, in float32, and no list
    of architectures is trusted. Causal places cannot see the document behind theirs; others could, so both
    documents are looked at. A model that obeys masks is tried with a causal row and with one that is not.

    Raises:
        RecipeError: When a document changes what the other one's logits are.
    """
    length = min(8, context // 2)
    rows = 2 if direction == "any" else 1
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(vocabulary_size, (1, 2 * length), generator=generator).expand(rows, -1)
    positions_BT = torch.arange(length).repeat(2).expand(rows, -1)
    segments_BT = torch.arange(1, 3).repeat_interleave(length).expand(rows, -1)
    causal_B = torch.tensor([True, False]) if direction == "any" else None

    def logits_of(places: slice) -> torch.Tensor:
        batch = Batch(
            ids_BT=ids_BT[:, places], positions_BT=positions_BT[:, places], segments_BT=segments_BT[:, places]
        )
        if causal_B is not None:
            batch["causal_B"] = causal_B
        logits: torch.Tensor = model(**objective.arguments(batch)).logits
        return logits

    was_training = model.training
    model.train(False)
    try:
        packed = logits_of(slice(None))
        alone = torch.cat([logits_of(slice(length)), logits_of(slice(length, None))], dim=1)
    finally:
        model.train(was_training)
    leak = float((packed - alone).abs().max())
    if not leak <= _TOLERANCE * max(1.0, float(alone.abs().max())):  # a leak of NaN is one, too
        raise RecipeError(
            f"data.documents: isolate cannot be kept by {type(model).__name__}: a document's logits move "
            f"by {leak:.2g} with the document beside it. Use documents: pad (one document a row), or an "
            "attention model."
        )
