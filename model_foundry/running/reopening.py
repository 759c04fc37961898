"""The corpus of a run that has begun, from its folder and the cache of prepared tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model_foundry.config.load import load_recipe
from model_foundry.config.schema import ExperimentConfig
from model_foundry.corpus.cache import default_cache_folder
from model_foundry.corpus.holding import Holds
from model_foundry.corpus.prepared import PreparedCorpus, PreparedSource, open_prepared
from model_foundry.errors import DataError, RunDirectoryError
from model_foundry.run_directory import RunDirectory


def reopen_run(path: Path, *, allow_custom_code: bool = False) -> tuple[ExperimentConfig, PreparedCorpus]:
    """Return the resolved recipe of a run and its prepared corpus.

    Raises:
        RunDirectoryError: When the folder is not that of a run, or the run ended before it had a plan.
        DataError: When its prepared tokens are not in the cache.
    """
    run = RunDirectory(path)
    for name in ("recipe.resolved.yaml", "corpus.manifest.json", "plan.json"):
        if not (run / name).is_file():
            raise RunDirectoryError(
                f"{path}: {name} is not there, expected the folder of a run whose training has begun. Name "
                "another folder, or start the run."
            )
    config = load_recipe(run / "recipe.resolved.yaml", allow_custom_code=allow_custom_code)
    manifest = json.loads((run / "corpus.manifest.json").read_text(encoding="utf-8"))
    holds = Holds()
    sources, held_out = (
        [_open(item, path, holds) for item in manifest[side]] for side in ("sources", "held_out")
    )
    return config, PreparedCorpus(run.tokenizer, sources, held_out, holds)


def _open(item: dict[str, Any], run: Path, holds: Holds) -> PreparedSource:
    folder = default_cache_folder() / "corpora" / item["key"]
    if not folder.is_dir():
        raise DataError(
            f"{folder}: the prepared tokens of {item['name']} are not there; the cache was cleaned, or is "
            "another one. Training prepares them again before anything else, where the run was started: "
            f"model-foundry train {run / 'recipe.resolved.yaml'} --resume-from {run}. Or name the cache that "
            "holds them in MODEL_FOUNDRY_CACHE."
        )
    holds.add(folder)
    return open_prepared(folder, name=item["name"])
