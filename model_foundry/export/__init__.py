"""A run or checkpoint as a Hugging Face folder: weights, config, tokenizer, and a card that says of what.

What leaves each step: the checkpoint, verified; the model with the weights that were asked for; a folder that
was written aside and read back; that folder under its name.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from model_foundry.errors import RecipeError, ResourceError, RunDirectoryError
from model_foundry.export.transformers4 import config_of_4, tokenizer_config_of_4
from model_foundry.manifest import MANIFEST_NAME, fsync_path
from model_foundry.model.ngram.folder import DESCRIPTION, load_ngram
from model_foundry.running.choosing import choose_model, verified
from model_foundry.training.checkpoint_files import TRAINER_STATE, Checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CARD = "README.md"
RECIPE = "recipe.yaml"
SHARD_SIZE = "5GB"

_BESIDE_WEIGHTS = {".json", ".txt", ".model", ".vocab", ".jinja"}
_NOT_OF_THE_TOKENIZER = {MANIFEST_NAME, TRAINER_STATE, "config.json", "generation_config.json"}
_TOKENIZER_CONFIG = "tokenizer_config.json"

Average = Literal["ema", "lawa"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Choices:
    """What is exported, and how."""

    average: Average | None = None
    """The average that the run kept, instead of the checkpoint's weights."""

    dtype: Precision | None = None
    """Of the weights; as the checkpoint has them where not given."""

    transformers_4: bool = True
    """Whether the keys that transformers 4 reads stand beside those of 5."""

    shard_size: str = SHARD_SIZE
    """Most that one file of weights holds."""

    license: str | None = None
    languages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exported:
    """A folder that was written."""

    folder: Path
    source: Path
    model: str
    """Name of its class."""

    parameters: int | None
    dtype: str | None
    needs_import: bool
    """Whether ``import model_foundry`` must come before it can be loaded."""


def export_model(
    path: Path, out: Path | None = None, *, checkpoint: str = "last", choices: Choices | None = None
) -> Exported:
    """Write a run, checkpoint or n-gram model as a folder for others.

    Args:
        path: What is exported.
        out: The folder to make; ``exports/<name>`` in the run (else in the working folder) where not given.
        checkpoint: Of a run: ``last``, ``best``, updates, or an alias.
        choices: Weights, precision, compatibility and what the card shall state.

    Raises:
        CheckpointError: When there is none, or it does not hold.
        RunDirectoryError: When ``out`` is there already.
        RecipeError: When a choice cannot be served.
        ResourceError: When it could not be written; nothing is left of it.
    """
    chosen = choices or Choices()
    source = choose_model(path, checkpoint)
    found = verified(source, "it is not exported")
    target = out if out is not None else _default(source, chosen)
    if os.path.lexists(target):
        raise RunDirectoryError(f"{target} is there already. Name another folder, or remove that one.")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        if (source / DESCRIPTION).is_file():
            exported = _write_ngram(source, partial, chosen)
        else:
            exported = _write(source, found, partial, chosen)
        _publish(partial, target)
    except OSError as error:
        raise ResourceError(f"{target}: could not be written: {error}. Free some space there.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Exported(target, source, **exported)


def _default(source: Path, choices: Choices) -> Path:
    name = "-".join(filter(None, [source.resolve().name, choices.average, choices.dtype]))
    folder = source.resolve().parent
    is_of_run = folder.name in ("checkpoints", "ngram") and (folder.parent / "recipe.resolved.yaml").is_file()
    return (source.parent.parent if is_of_run else Path()) / "exports" / name


def _write(source: Path, found: Checkpoint | None, folder: Path, choices: Choices) -> dict[str, Any]:
    from model_foundry.export.card import write_card
    from model_foundry.export.facts import card_facts
    from model_foundry.export.weights import open_weights, require_read_back, save_weights

    model = open_weights(source, found, choices)
    save_weights(model, folder, shard_size=choices.shard_size)
    for file in sorted(source.iterdir()):
        is_beside = file.suffix in _BESIDE_WEIGHTS and file.name not in _NOT_OF_THE_TOKENIZER
        if is_beside and not file.name.endswith(".index.json"):
            shutil.copyfile(file, folder / file.name)
    needs_import = type(model).__module__.startswith("model_foundry.")
    _complete_configs(model, folder, needs_import=needs_import, transformers_4=choices.transformers_4)
    require_read_back(model, folder)
    facts = card_facts(source, found, model, choices, needs_import=needs_import)
    write_card(facts, folder / CARD)
    if facts.recipe_text:
        (folder / RECIPE).write_text(facts.recipe_text, encoding="utf-8")
    return {
        "model": type(model).__name__,
        "parameters": facts.parameters,
        "dtype": facts.dtype,
        "needs_import": needs_import,
    }


def _complete_configs(
    model: PreTrainedModel, folder: Path, *, needs_import: bool, transformers_4: bool
) -> None:
    """Bring the small files to what other programs expect of them."""
    config = _read(folder / "config.json")
    if needs_import:
        config["load_with"] = "import model_foundry  # before from_pretrained"
    elif transformers_4:
        config = config_of_4(config)
    _write_json(folder / "config.json", config)
    if (folder / _TOKENIZER_CONFIG).is_file():
        tokenizer = _read(folder / _TOKENIZER_CONFIG)
        positions = getattr(model.config, "max_position_embeddings", None)
        if isinstance(positions, int) and positions > 0:
            tokenizer["model_max_length"] = positions  # else transformers says 1e30
        _write_json(
            folder / _TOKENIZER_CONFIG, tokenizer_config_of_4(tokenizer) if transformers_4 else tokenizer
        )


def _write_ngram(source: Path, folder: Path, choices: Choices) -> dict[str, Any]:
    from model_foundry.export.card import write_card
    from model_foundry.export.facts import ngram_facts

    if choices.average is not None or choices.dtype is not None:
        raise RecipeError(
            f"{source}: an n-gram model has counts, expected neither --average nor --dtype. Leave them out."
        )
    load_ngram(source)  # one that is damaged is refused
    for file in sorted(source.iterdir()):
        if file.is_file():
            shutil.copyfile(file, folder / file.name)
    write_card(ngram_facts(source, choices), folder / CARD)
    return {"model": "NgramModel", "parameters": None, "dtype": None, "needs_import": True}


def _publish(partial: Path, target: Path) -> None:
    """Flush what was written and give it its name; never at the cost of what came there meanwhile."""
    from model_foundry.training.publishing import rename_without_replacing

    for file in sorted(partial.iterdir()):
        file.chmod(partial.stat().st_mode & 0o666)  # safetensors writes 0600
        fsync_path(file)
    fsync_path(partial)
    rename_without_replacing(partial, target)
    fsync_path(target.parent)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
