"""Text that a saved model writes: a causal model, or an n-gram model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import CheckpointError
from model_foundry.evaluation._generation import continue_ids, write_ids
from model_foundry.model.loading import direction_of
from model_foundry.model.ngram.folder import DESCRIPTION, load_ngram
from model_foundry.running.loading import load_saved


def continue_text(
    folder: Path,
    encoder: TextEncoder,
    prompt: str,
    *,
    tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
) -> list[int]:
    """Return the ids that the model of ``folder`` writes after ``prompt``.

    Args:
        folder: A checkpoint, a Hugging Face folder, or an n-gram model.
        encoder: Its tokenizer.
        prompt: The beginning.
        tokens: Most tokens to write.
        temperature: 0 takes the most probable token.
        top_p: Draw among the tokens that hold this share.
        seed: Equal seeds give equal text.

    Raises:
        CheckpointError: When the model sees both sides of a token.
    """
    ids = encoder.encode_prompt(prompt)
    if (folder / DESCRIPTION).is_file():
        ngram = load_ngram(folder)

        def next_logits(before: list[int]) -> torch.Tensor:
            with np.errstate(divide="ignore"):
                return torch.from_numpy(np.log(ngram.distribution(before[-ngram.order :])))

        return write_ids(
            next_logits,
            ids,
            tokens=tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop_id=encoder.eos_id,
        )
    model = load_saved(folder, dtype=torch.float32)
    if direction_of(model) == "bidirectional":
        raise CheckpointError(
            f"{folder}: a {type(model).__name__} sees both sides of a token, and a text is continued "
            "by what sees only what is before. Name a causal model."
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return continue_ids(
        model.to(device),  # type: ignore[arg-type]  # transformers hides nn.Module's signature of to
        ids,
        tokens=tokens,
        context=getattr(model.config, "max_position_embeddings", None) or 1024,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        device=device,
        stop_id=encoder.eos_id,
        vocabulary=encoder.vocab_size,
    )
