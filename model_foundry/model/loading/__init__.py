"""Reads a saved model back as the class that its files name: local files alone, and no code that they bring.

A folder, since a file here would be taken for an architecture.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_foundry.errors import CheckpointError
from model_foundry.model import Direction

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel


log = logging.getLogger(__name__)


def load_model(
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    weights: dict[str, torch.Tensor] | None = None,
    strict: bool = False,
) -> PreTrainedModel:
    """Return the causal or masked language model that lies in ``folder``, in evaluation mode, on the CPU.

    The class is the one that ``architectures`` in ``config.json`` names. transformers would fill weights that
    are missing with random numbers and go on; here that is an error.

    Args:
        folder: With ``config.json`` and the weights.
        dtype: Of the weights; the one that they were saved in where not given.
        weights: By name, where they are not in a file of their own there.
        strict: Whether weights that have no place in the model are an error, too; else they are named in
            the log.

    Raises:
        CheckpointError: When there is no such model, or its weights are not those of its config.
    """
    from transformers.utils import logging as library_log

    config = _read_config(folder)
    auto_class = _auto_class(config, folder)
    has_bars = library_log.is_progress_bar_enabled()
    level = library_log.get_verbosity()
    library_log.disable_progress_bar()  # type: ignore[no-untyped-call]
    library_log.set_verbosity(logging.ERROR)  # what it would warn of is an error below
    try:
        source = auto_class if weights is None else auto_class._model_mapping[type(config)]
        model, report = source.from_pretrained(
            folder if weights is None else None,
            config=config,
            state_dict=weights,
            dtype="auto" if dtype is None else dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except OSError as error:
        raise CheckpointError(
            f"{folder}: no weights can be read from it: {error} "
            "Name a folder with model.safetensors, such as a checkpoint of a run."
        ) from error
    finally:
        library_log.set_verbosity(level)
        if has_bars:
            library_log.enable_progress_bar()  # type: ignore[no-untyped-call]
    _require_all_weights(folder, type(model).__name__, report, strict=strict)
    loaded: PreTrainedModel = model.train(False)
    return loaded


def direction_of(model: PreTrainedModel) -> Direction:
    """Return what the logits of ``model`` depend on.

    Classes of our own say so themselves (``direction``); of transformers' the causal ones are known by its
    list of causal language models, and any other by its list of masked ones.

    Raises:
        CheckpointError: When it is no language model of either kind.
    """
    from transformers.models.auto import modeling_auto as auto

    own: Direction | None = getattr(type(model), "direction", None)
    if own is not None:
        return own
    name = type(model).__name__
    if name == "XLMWithLMHeadModel":  # transformers has it in both lists; its config decides
        return "causal" if model.config.causal else "bidirectional"
    if name in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        return "causal"
    if name in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values():
        return "bidirectional"
    raise CheckpointError(
        f"{name} is neither a causal nor a masked language model of transformers. "
        "Expected a class such as GPT2LMHeadModel or BertForMaskedLM."
    )


def _read_config(folder: Path) -> PreTrainedConfig:
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: there is no config.json in it. Name a model's folder, such as a checkpoint "
            "of a run (checkpoints/checkpoint-N) or an export."
        )
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{folder / 'config.json'}: no model of transformers or of this package is described by it: "
            f"{error}"
        ) from error
    return config


def _auto_class(config: PreTrainedConfig, folder: Path) -> Any:
    """Return transformers' auto class for what ``architectures`` says; the causal one if nothing."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    named = config.architectures[0] if config.architectures else None
    found: dict[str, Any] = {}
    for auto_class in (AutoModelForCausalLM, AutoModelForMaskedLM):
        model_class: Any = auto_class._model_mapping.get(type(config), None)
        if model_class is not None:
            found[model_class.__name__] = auto_class
    if named is None and found:
        return next(iter(found.values()))
    if named not in found:
        raise CheckpointError(
            f"{folder / 'config.json'}: architectures names {named}, and a {type(config).__name__} gives "
            f"{' or '.join(found) or 'no language model'}. Expected a causal or masked language model."
        )
    return found[named]


def _require_all_weights(folder: Path, name: str, report: dict[str, Any], *, strict: bool) -> None:
    shapes = [key for key, *_ in report["mismatched_keys"]]
    problems = {"missing": report["missing_keys"], "of another shape": shapes}
    problems |= {"without a place in it": report["unexpected_keys"]} if strict else {}
    for what, keys in problems.items():
        if keys:
            raise CheckpointError(
                f"{folder}: {len(keys)} weights of this {name} are {what}: {_some(keys)}. "
                "Take config.json and weights from one and the same save."
            )
    if surplus := report["unexpected_keys"]:  # of another task's head, in published files
        log.warning("%s: %d weights have no place in a %s: %s", folder, len(surplus), name, _some(surplus))


def _some(keys: Collection[str]) -> str:
    return ", ".join(sorted(keys)[:5]) + (", ..." if len(keys) > 5 else "")
