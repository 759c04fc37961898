"""Real training in real processes: a tiny recipe, and functions that start, kill and compare runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

RECIPE = """\
schema: 1
name: tiny
seed: 3
corpus:
  sources: [{type: text_files, path: "texts/*.txt"}]
  validation: {fraction: 10%}
tokenizer: {type: byte_bpe, vocab_size: 300}
data: {context: 16}
model: {type: gpt2, layers: 2, width: 16, heads: 2, dropout: 0.1}
optimizer: {type: adamw, learning_rate: 3e-3}
schedule: {type: cosine, warmup: 4 updates, floor: 10%}
training: {duration: 24 updates, batch_size: 8}
checkpoints: {rolling: 5 updates}
evaluation: [{type: perplexity, every: 6 updates}]
logging: {every: 1 updates}
"""
_TIMES = {"tokens_per_second", "peak_memory_bytes", "evaluation_seconds"}


@dataclass
class Lab:
    """A folder with a corpus and a recipe, and runs of it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: str, processes: int = 1) -> list[str]:
        """The command line of a run."""
        launcher = [sys.executable, "-m", "model_foundry.train"]
        if processes > 1:
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
            launcher = [*torchrun, "-m", "model_foundry.train"]
        return [*launcher, "recipe.yaml", *arguments]

    def start(self, *arguments: str, processes: int = 1) -> subprocess.Popen[str]:
        """Start a run and return at once."""
        return subprocess.Popen(
            self.command(*arguments, processes=processes),
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR", **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, processes: int = 1, status: int = 0) -> str:
        """Run to the end and return what it printed; the exit status must be the one expected."""
        process = self.start(*arguments, processes=processes)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == status, output
        return output

    def kill_at(self, update: int, run: str, *arguments: str, processes: int = 1) -> None:
        """Run until every process kills itself in ``update``."""
        _, output = self.fail_at(f"update.{update}=kill", f"--run-dir={run}", *arguments, processes=processes)
        assert max((line["update"] for line in self.metrics(run)), default=0) == update - 1, output

    def fail_at(self, failpoint: str, *arguments: str, processes: int = 1) -> tuple[int, str]:
        """Run with a failpoint; returns exit status and output."""
        environment = {**self.environment, "MODEL_FOUNDRY_FAILPOINT": failpoint}
        process = Lab(self.folder, environment).start(*arguments, processes=processes)
        output, _ = process.communicate(timeout=240)
        return process.returncode, output

    def metrics(self, run: str) -> list[dict[str, float]]:
        """The lines of ``metrics.jsonl``, without what depends on the clock on the wall; torn lines left out."""
        path = self.folder / run / "metrics.jsonl"
        lines = []
        for text in path.read_text().splitlines() if path.exists() else []:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            lines.append({key: value for key, value in line.items() if key not in _TIMES})
        return lines

    def weights(self, run: str, update: int = 24) -> bytes:
        """The weights of a checkpoint, byte for byte."""
        return (self.folder / run / "checkpoints" / f"checkpoint-{update}" / "model.safetensors").read_bytes()

    def status(self, run: str) -> dict[str, object]:
        """The run's ``status.json``."""
        content: dict[str, object] = json.loads((self.folder / run / "status.json").read_text())
        return content


@pytest.fixture
def lab(tmp_path: Path, text_corpus: Callable[..., Path]) -> Iterator[Lab]:
    """A tiny corpus and recipe in a folder of their own."""
    text_corpus(documents=30, words=60)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    yield Lab(tmp_path)
