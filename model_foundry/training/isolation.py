"""Proof, before a run begins, that a model keeps documents of one window apart."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from model_foundry.errors import RecipeError

_TOLERANCE = 1e-4


@torch.no_grad()
def require_isolation(model: PreTrainedModel, *, vocabulary_size: int, context: int) -> None:
    """Compare a document behind another one in a window with the same document alone.

    transformers keeps packed documents apart only where restarting positions come without a mask and
    without a cache; models that carry a state from token to token cannot. So it is measured on the model
    itself, in float32, and no list of architectures is trusted.

    Raises:
        RecipeError: When the first document changes what the second one's logits are.
    """
    length = min(8, context // 2)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary_size, (1, 2 * length), generator=generator)
    positions = torch.arange(length).repeat(2)[None]
    was_training = model.training
    model.train(False)
    packed = model(input_ids=ids, position_ids=positions, use_cache=False).logits[:, length:]
    alone = model(input_ids=ids[:, length:], position_ids=positions[:, length:], use_cache=False).logits
    model.train(was_training)
    leak = float((packed - alone).abs().max())
    if not leak <= _TOLERANCE * max(1.0, float(alone.abs().max())):  # a leak of NaN is one, too
        raise RecipeError(
            f"data.documents: isolate cannot be kept by {type(model).__name__}: a document's logits move "
            f"by {leak:.2g} with the document before it. Use documents: pad (one document a row), or an "
            "attention model."
        )
