"""Which scorer fits a model, and what stands around a sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from model_foundry.errors import DataError
from model_foundry.evaluation.scoring import Scorer

if TYPE_CHECKING:
    import torch

    from model_foundry.corpus.encoder import TextEncoder
    from model_foundry.model import Direction

Method = Literal["auto", "causal", "pll", "pll_word_l2r"]
"""How a sequence is scored: left to right, or by pseudo-log-likelihood with tokens hidden one by one, alone
or with the later tokens of their word. auto: pll for bidirectional models, causal for all others."""

Begin = Literal["auto", "bos", "eos", "none"]
"""What stands before a sequence. auto: the tokenizer's BOS, CLS or EOS token, the first that it has."""


def build_scorer(
    model: torch.nn.Module | Scorer,
    encoder: TextEncoder,
    *,
    direction: Direction,
    device: torch.device,
    method: Method = "auto",
    tokens_per_batch: int | None = None,
) -> Scorer:
    """Return the scorer of ``model``; one that is a scorer itself, such as an n-gram model, is given back.

    Raises:
        DataError: When the model or its tokenizer cannot be scored by ``method``.
    """
    import torch

    from model_foundry.evaluation.scoring.causal import CausalScorer
    from model_foundry.evaluation.scoring.masked import MaskedScorer

    method = chosen_method(method, direction)
    if not isinstance(model, torch.nn.Module):
        return model
    if method == "causal":
        return CausalScorer(model, device, tokens_per_batch=tokens_per_batch)
    if encoder.mask_id is None:
        raise DataError(
            f"{encoder.folder}: the tokenizer has no mask token, with which {method} hides tokens. "
            "Name one in tokenizer_config.json (mask_token), or score the model left to right."
        )
    return MaskedScorer(
        model,
        device,
        mask_id=encoder.mask_id,
        last=encoder.eos_id,
        metric="word_l2r" if method == "pll_word_l2r" else "token",
        shifted=direction == "any",
        tokens_per_batch=tokens_per_batch,
    )


def chosen_method(method: Method, direction: Direction) -> Method:
    """Return the method that is meant by ``method``, never auto.

    Raises:
        DataError: When a model of this direction cannot be scored so.
    """
    if method == "auto":
        return "pll" if direction == "bidirectional" else "causal"
    if direction == "causal" and method != "causal":
        raise DataError(
            f"scoring: {method} needs a model that sees both sides of a token, and this one sees only what "
            "is before it. Use causal, or auto."
        )
    if direction == "bidirectional" and method == "causal":
        raise DataError(
            "scoring: causal needs a model that sees only what is before a token, and this one sees both "
            "sides. Use pll, pll_word_l2r, or auto."
        )
    return method


def first_id(encoder: TextEncoder, begin: Begin) -> int | None:
    """Return the id that stands before a sequence.

    Raises:
        DataError: When the tokenizer has no such token.
    """
    if begin == "none":
        return None
    if begin == "eos":
        return encoder.eos_id
    if begin == "bos" and encoder.bos_id is None:
        raise DataError(
            f"{encoder.folder}: begin: bos, and the tokenizer has no BOS token. Use eos, none, or auto."
        )
    return next(number for number in (encoder.bos_id, encoder.cls_id, encoder.eos_id) if number is not None)


def longest(scorer: Scorer, first: int | None) -> int | None:
    """Return how many tokens a sequence may have that ``scorer`` takes, without masses; None for no limit."""
    from model_foundry.evaluation.scoring.masked import MaskedScorer

    if scorer.positions is None:
        return None
    if isinstance(scorer, MaskedScorer):
        return scorer.positions - scorer.num_around(first)
    return scorer.positions + (first is None)  # the last token is never an input
