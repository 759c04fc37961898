"""What is said when a training text gives fewer tokens than a vocabulary is asked to have."""

from __future__ import annotations

from model_foundry.errors import DataError


def too_few_tokens(reached: int, asked: int) -> DataError:
    """Return the error that names both numbers."""
    return DataError(
        f"tokenizer.vocab_size: the training text gives {reached} tokens, expected {asked}. Lower "
        f"vocab_size to {reached} or less, or add text."
    )
