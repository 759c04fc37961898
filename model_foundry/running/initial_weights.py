"""A model that begins with the weights of a folder: what must agree, and what identifies them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import RecipeError
from model_foundry.running.choosing import choose_model, verified
from model_foundry.running.loading import load_saved

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

_MOST_NAMED = 6
_MAY_DIFFER = {
    "transformers_version", "architectures", "dtype", "torch_dtype", "use_cache", "initializer_range",
    "max_position_embeddings", "n_positions", "load_with", "output_attentions", "output_hidden_states",
    "return_dict", "id2label", "label2id", "problem_type",
}  # fmt: skip
"""Fields of a config that say nothing of what the weights compute, or that shapes say better."""


def take_weights(model: PreTrainedModel, path: Path, which: str, encoder: TextEncoder) -> str:
    """Give ``model`` the weights of a folder, bit by bit where they are float32.

    Args:
        model: As the recipe describes it; its own weights mean nothing.
        path: A Hugging Face folder, a checkpoint, or a run.
        which: Of a run's checkpoints.
        encoder: The recipe's tokenizer.

    Returns:
        The fingerprint of the weights: names, shapes and values.

    Raises:
        RecipeError: When architecture, shapes or vocabulary are not those of the recipe, naming each.
        CheckpointError: When there are no weights, or they do not hold.
    """
    source = choose_model(path, which)
    verified(source, "no run begins with it")
    found = load_saved(source, dtype=torch.float32, strict=True)
    if type(found) is not type(model):
        raise RecipeError(
            f"init_from: {source} holds a {type(found).__name__}, and model makes a {type(model).__name__}. "
            "Name the same architecture, or another folder."
        )
    _require_shapes(source, found.state_dict(), model.state_dict())
    _require_config(source, found.config.to_dict(), model.config.to_dict())
    _require_vocabulary(source, encoder)
    model.load_state_dict(found.state_dict())
    return weights_sha256(model)


def weights_sha256(model: torch.nn.Module) -> str:
    """Identify the state of a model by names, shapes and values, wherever its files are split."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _require_shapes(
    source: Path, there: Mapping[str, torch.Tensor], here: Mapping[str, torch.Tensor]
) -> None:
    shapes = [
        f"{name} is {tuple(there[name].shape)} there and {tuple(here[name].shape)} in model"
        for name in here
        if name in there and there[name].shape != here[name].shape
    ]
    problems = [
        f"missing there: {_some([name for name in here if name not in there])}",
        f"not in model: {_some([name for name in there if name not in here])}",
        f"of another shape: {_some(shapes, '; ')}",
    ]
    told = [problem for problem in problems if not problem.endswith(": ")]
    if told:
        raise RecipeError(
            f"init_from: the weights in {source} are not those of model.\n  "
            + "\n  ".join(told)
            + f"\nGive model the sizes in {source / 'config.json'}, or name another folder."
        )


def _require_config(source: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse equal shapes that would compute something else: other heads, norms, rotary bases."""
    differences = [
        f"{key} is {there[key]} there and {here[key]} in model"
        for key in sorted(here.keys() & there.keys() - _MAY_DIFFER)
        if there[key] != here[key]
        and "drop" not in key
        and not key.endswith("_token_id")
        and not key.startswith("_")
    ]
    if differences:
        raise RecipeError(
            f"init_from: {source} is a model with other settings: {_some(differences, '; ')}. Give model the "
            "same, or name another folder."
        )


def _require_vocabulary(source: Path, encoder: TextEncoder) -> None:
    from tokenizers import Tokenizer

    if not (source / "tokenizer.json").is_file():
        log.warning(
            "init_from: %s has no tokenizer.json, so nobody knows whether its ids mean the same.", source
        )
        return
    there, here = (
        Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab() for folder in (source, encoder.folder)
    )
    others = sorted(token for token in there.keys() | here.keys() if there.get(token) != here.get(token))
    if others:
        token = others[0]
        ids = [vocabulary.get(token, "none") for vocabulary in (there, here)]
        raise RecipeError(
            f"init_from: the tokenizer in {source} is another one: {len(there)} tokens there, {len(here)} in "
            f"the recipe's; {token!r} is {ids[0]} there and {ids[1]} here. "
            f"Use its own, tokenizer: {{type: pretrained, path: {source}}}, or name another folder."
        )


def _some(names: list[str], separator: str = ", ") -> str:
    more = len(names) - _MOST_NAMED
    return separator.join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
