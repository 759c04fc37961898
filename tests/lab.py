"""Real training in real processes: a tiny recipe, and functions that start, kill and compare runs."""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.texts import write_texts

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
FINISHED = """\
samples: {prompts: [The, ba], every: 10 updates, tokens: 12}
"""
_LONGEST, _GRACE = 240.0, 30.0
QUIET = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
_TIMES = {
    *("tokens_per_second", "flops_per_second", "data_wait_seconds", "peak_memory_bytes"),
    *(f"{phase}_seconds" for phase in ("data", "forward", "backward", "optimizer", "other")),
    *("evaluation_seconds", "checkpoint_stall_seconds", "time"),
}


@dataclass
class Lab:
    """A folder with a corpus and a recipe, and runs of it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str, processes: int = 1) -> subprocess.Popen[str]:
        """Start a run as a user does, in a new interpreter (or torchrun); return at once."""
        command = [sys.executable, "-m", "model_foundry.train"]
        if processes > 1:
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            command = [*torchrun, f"--nproc-per-node={processes}", "-m", "model_foundry.train"]
        return subprocess.Popen(
            [*command, "recipe.yaml", *arguments],
            cwd=self.folder,
            env={**os.environ, **QUIET, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, processes: int = 1, status: int = 0, sharded: bool = False) -> str:
        """Run to the end and return what it printed; the exit status must be the one expected."""
        found, output = self.ends(*arguments, processes=processes, sharded=sharded)
        assert found == status, output
        return output

    def ends(
        self,
        *arguments: str,
        processes: int = 1,
        failpoint: str = "",
        recipe: str = "recipe.yaml",
        memory_bytes: int | None = None,
        sharded: bool = False,
    ) -> tuple[int, str]:
        """Run to whatever end; return the first exit status that is not 0, and the output.

        The processes are forked from this one, which has the libraries loaded: seconds less each.
        ``sharded`` has them run FSDP2, which Accelerate has for GPUs alone.
        ``memory_bytes`` is what each may take beyond what it has at its start.
        """
        return self.wait(
            self.begin(
                *arguments,
                processes=processes,
                failpoint=failpoint,
                recipe=recipe,
                memory_bytes=memory_bytes,
                sharded=sharded,
            )
        )

    def begin(
        self,
        *arguments: str,
        processes: int = 1,
        failpoint: str = "",
        recipe: str = "recipe.yaml",
        memory_bytes: int | None = None,
        sharded: bool = False,
    ) -> list[int]:
        """Fork the processes of a run and return their ids at once; ``wait`` for them."""
        port = str(_free_port())
        outputs = [self.folder / f".output-{rank}" for rank in range(processes)]
        children = []
        for rank in range(processes):
            environment = {**QUIET, **self.environment, "MODEL_FOUNDRY_FAILPOINT": failpoint}
            if processes > 1:
                environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
                environment |= {
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": port,
                    "LOCAL_WORLD_SIZE": str(processes),
                }
            children.append(
                _fork([recipe, *arguments], self.folder, environment, outputs[rank], memory_bytes, sharded)
            )
        return children

    def wait(self, children: list[int]) -> tuple[int, str]:
        """Wait for forked processes; return the first exit status that is not 0, and what they printed."""
        statuses = _reap(children)
        outputs = [self.folder / f".output-{rank}" for rank in range(len(children))]
        output = "".join(path.read_text(errors="replace") for path in outputs)
        return next((status for status in statuses if status), 0), output

    def kill_at(
        self, update: int, run: str, *arguments: str, processes: int = 1, sharded: bool = False
    ) -> None:
        """Run until every process kills itself in ``update``."""
        failpoint = f"update.{update}=kill"
        options = {"processes": processes, "failpoint": failpoint, "sharded": sharded}
        status, output = self.ends(f"--run-dir={run}", *arguments, **options)
        assert status == -signal.SIGKILL, output
        assert max((line["update"] for line in self.metrics(run)), default=0) == update - 1, output

    def metrics(self, run: str) -> list[dict[str, float]]:
        """The lines of ``metrics.jsonl`` without what depends on the time of day; torn lines left out."""
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


def _reap(children: list[int]) -> list[int]:
    """Wait for all; as a launcher does, end the others some time after one has failed."""
    statuses: dict[int, int] = {}
    deadline = time.monotonic() + _LONGEST
    while len(statuses) < len(children):
        for child in children:
            if child not in statuses and (waited := os.waitpid(child, os.WNOHANG))[0]:
                statuses[child] = os.waitstatus_to_exitcode(waited[1])
                if statuses[child]:
                    deadline = min(deadline, time.monotonic() + _GRACE)
            elif child not in statuses and time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return [statuses[child] for child in children]


def _fork(
    arguments: list[str],
    folder: Path,
    environment: dict[str, str],
    output: Path,
    memory_bytes: int | None,
    sharded: bool,
) -> int:
    import torch.distributed  # noqa: F401 - loaded before the fork, not after each

    import model_foundry.running.pipeline  # noqa: F401
    from model_foundry import failpoints, train

    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ.update(environment)
        os.chdir(folder)
        importlib.reload(failpoints)  # it reads the environment once
        warnings.simplefilter("default")
        if memory_bytes is not None:
            _limit_memory(memory_bytes)
        if sharded:
            from tests import fsdp2

            fsdp2.install()
        train.main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _limit_memory(more_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def lab(tmp_path: Path, text_corpus: Callable[..., Path]) -> Lab:
    """A tiny corpus and recipe in a folder of their own."""
    text_corpus(documents=30, words=60)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return Lab(tmp_path)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lab with one finished run in ``runs/tiny``, for the tests of a file to read and to leave as it is."""
    folder = tmp_path_factory.mktemp("finished")
    write_texts(folder / "texts", documents=30, words=60)
    (folder / "recipe.yaml").write_text(RECIPE + FINISHED)
    lab = Lab(folder)
    lab.run()
    return lab
