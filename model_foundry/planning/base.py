"""What a training process takes on a CPU beside its tensors: interpreter, libraries, their buffers.

A small reference run is trained in a process of its own, and the peak of its resident memory is taken, less
what its tensors need. So it is measured on the machine, with the versions and threads that the run will have.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model_foundry.config.load import load_recipe
from model_foundry.corpus.cache import default_cache_folder
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.errors import ResourceError
from model_foundry.manifest import json_sha256, write_atomically
from model_foundry.model import Vocabulary
from model_foundry.objective import Tokens
from model_foundry.planning.memory import Shape, trace
from model_foundry.planning.probe import NOT_INHERITED
from model_foundry.training.environment import package_versions

if TYPE_CHECKING:
    from model_foundry.config.schema import ExperimentConfig

HOLES = 1.25
"""What a heap takes beyond the one that is simulated: small objects of Python lie between the tensors."""

_METHOD = 2  # counts up where the same run is measured in another way
_VOCABULARY = 300
_RECIPE = f"""\
schema: 1
name: reference
corpus:
  sources: [{{type: text_files, path: words.txt, document: line}}]
  validation: {{fraction: 20%}}
tokenizer: {{type: byte_bpe, vocab_size: {_VOCABULARY}}}
data: {{context: 64}}
model: {{type: gpt2, layers: 2, width: 64, heads: 2}}
training: {{duration: 6 updates, batch_size: 8}}
checkpoints: {{rolling: 2 updates}}
evaluation: [{{type: perplexity, every: 3 updates}}]
samples: {{prompts: [The], every: 3 updates, tokens: 8}}
"""


def base_bytes() -> int:
    """Return the memory that a training process takes beside its tensors; measured once, then from the cache.

    Raises:
        ResourceError: When the reference run fails.
    """
    key = json_sha256([package_versions(), torch.get_num_threads(), sys.version, _RECIPE, HOLES, _METHOD])
    kept = default_cache_folder() / "plan" / f"base-{key}.json"
    if kept.is_file():
        return int(json.loads(kept.read_text(encoding="utf-8"))["bytes"])
    found = _measure()
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, json.dumps({"bytes": found}))
    return found


def heap_of(config: ExperimentConfig, shape: Shape) -> int:
    """Return what the tensors of a run take of the heap."""
    return round(HOLES * trace(config, shape).heap_bytes)


def _measure() -> int:
    with tempfile.TemporaryDirectory(prefix="model-foundry-plan-") as name:
        folder = Path(name)
        (folder / "recipe.yaml").write_text(_RECIPE, encoding="utf-8")
        lines = (
            f"Sentence {number} says what the one before it has said, and adds {number * 7}."
            for number in range(4000)
        )
        (folder / "words.txt").write_text("\n".join(lines), encoding="utf-8")
        config = load_recipe(folder / "recipe.yaml")
        prepare_corpus(  # here, since a run that prepares its text takes more, and the one to come will not
            sources=config.corpus.sources,
            validation=config.corpus.validation,
            tokenizer=config.tokenizer,
            seed=config.seed_of("data"),
            folders=[folder],
            cache=folder / "cache",
        )
        inherited = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "model_foundry.train",
                str(folder / "recipe.yaml"),
                "--run-dir",
                str(folder / "run"),
            ],
            cwd=folder,
            env={**inherited, "MODEL_FOUNDRY_CACHE": str(folder / "cache")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        words = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stderr.close()
        if process.returncode:
            last = words.strip().splitlines()[-1:] or ["it said nothing"]
            raise ResourceError(
                f"the small run that measures what a process takes beside its tensors failed: {last[0]}. "
                "`model-foundry doctor` looks at this machine; --device plans for another one."
            )
    tokens = Tokens(_VOCABULARY, frozenset({0}), None)
    taken = heap_of(config, Shape(Vocabulary(_VOCABULARY, eos_id=0), tokens, 8, rounds=1))
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) - taken
