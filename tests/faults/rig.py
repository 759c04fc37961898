"""A tiny model in training around the real checkpoint manager: small enough to be killed a thousand times.

Its updates draw from the process's own generators (Python, NumPy, torch), so a resumed run takes the path of
an unbroken one only if every random state came back, beside weights, moments and clock.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import GPT2Config, GPT2LMHeadModel

from model_foundry.manifest import ManifestError, read_manifest
from model_foundry.training.carried import CarriedState
from model_foundry.training.checkpoint_files import Checkpoint, find_checkpoint
from model_foundry.training.checkpointing import CheckpointManager
from model_foundry.training.disk import CheckpointSizes
from model_foundry.training.state import TrainState

RUN_ID = "rig"
SEED = 20261123


class Rig:
    """One process's share of a run: ``update``, ``save``, ``resume``.

    Args:
        run: The run's folder; ``checkpoints`` and a tokenizer's folder are made in it.
        keep: Resumable states to keep.
        run_id: The run's name.
        width: Of the model; with 8 a checkpoint has about 25 kB.
    """

    def __init__(self, run: Path, *, keep: int = 2, run_id: str = RUN_ID, width: int = 8) -> None:
        self.folder = run / "checkpoints"
        tokenizer = run / "tokenizer"
        if not tokenizer.is_dir():
            self.folder.mkdir(parents=True)
            tokenizer.mkdir()
            (tokenizer / "tokenizer.json").write_text('{"model": {}}')
        random.seed(SEED)
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        config = GPT2Config(
            vocab_size=16, n_positions=4, n_embd=width, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
        )
        self.model = GPT2LMHeadModel(config)
        self.accelerator = Accelerator(cpu=True)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.prepared, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        facts = {
            "run_id": run_id,
            "recipe": {"name": "rig"},
            "recipe_sha256": "0" * 64,
            "tokenizer_sha256": "1" * 64,
            "data_sha256": "2" * 64,
            "world_size": self.accelerator.num_processes,
            "micro_batch_size": 2,
        }
        weights = 4 * sum(tensor.numel() for tensor in self.model.parameters())
        self.sizes = CheckpointSizes(weights, 2 * weights, beside=64 * 1024)
        self.manager = CheckpointManager(
            self.folder,
            self.accelerator,
            tokenizer=tokenizer,
            facts=facts,
            keep_resumable=keep,
            carried=CarriedState(self.accelerator, [], lanes=2, micro_batch_size=2),
            sizes=self.sizes,
        )
        self.state = TrainState()

    def update(self) -> None:
        """Take one update on tokens drawn by Python's and NumPy's generators, with dropout from torch's."""
        tokens = [[random.randrange(16), *np.random.randint(0, 16, size=3).tolist()] for _ in range(2)]
        self.prepared.train()
        batch = torch.tensor(tokens)
        loss = self.prepared(input_ids=batch, labels=batch).loss
        self.accelerator.backward(loss)
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-2 / (1 + self.state.updates)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state = self.state.after([6, 2, 12, 0])

    def save(self, *, resumable: bool = True, milestone: bool = False) -> None:
        """Publish the state."""
        self.manager.save(self.state, self.model, resumable=resumable, milestone=milestone, record={})

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.state = self.manager.load(checkpoint)

    def resume(self) -> int:
        """Go on from the newest checkpoint that holds; returns its updates, -1 where there is none."""
        checkpoint = find_checkpoint(self.folder, RUN_ID)
        if checkpoint is None:
            return -1
        self.load(checkpoint)
        return self.state.updates

    def train(self, updates: int, *, save: Callable[[int], bool] = lambda update: True) -> None:
        """Go on to a number of updates, saving after each that ``save`` wants."""
        while self.state.updates < updates:
            self.update()
            if save(self.state.updates):
                self.save()

    def digest(self) -> str:
        """Identify weights, moments, step counts, clock and randomness by one hash."""
        digest = hashlib.sha256(json.dumps(self.state.as_json()).encode())
        for name, tensor in self.model.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        for parameter in self.model.parameters():
            for key, value in sorted(self.optimizer.state.get(parameter, {}).items()):
                digest.update(key.encode() + value.numpy().tobytes())
        digest.update(repr(random.getstate()).encode() + np.random.get_state(legacy=True)[1].tobytes())
        digest.update(torch.get_rng_state().numpy().tobytes())
        return digest.hexdigest()


def trajectory(run: Path, updates: int) -> list[str]:
    """Return the digests after 0, 1, ... updates of a run that is never broken."""
    rig = Rig(run)
    digests = [rig.digest()]
    for _ in range(updates):
        rig.update()
        digests.append(rig.digest())
    return digests


def litter(folder: Path) -> list[str]:
    """Return what a killed save may leave and the next start must remove."""
    found = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    for checkpoint in folder.glob("checkpoint-*"):
        with suppress(ManifestError):
            if read_manifest(checkpoint)["dropped"] and (checkpoint / "state").exists():
                found.append(f"{checkpoint.name}/state")
    return found


@dataclass
class Child:
    """A forked process and what it says, one JSON value a line."""

    pid: int
    reader: int
    go: int
    text: bytes = b""
    status: int | None = field(default=None)

    def start(self) -> None:
        """Let it begin: it waits until whoever traces it is there."""
        os.write(self.go, b"g")

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)

    def read_until(self, value: Any) -> None:
        """Wait until it says something."""
        while value not in self.said:
            chunk = os.read(self.reader, 65536)
            assert chunk, f"ended before it said {value}: {self.said}"
            self.text += chunk

    def wait(self) -> list[Any]:
        """Wait for its end and return all that it said."""
        while chunk := os.read(self.reader, 65536):
            self.text += chunk
        os.close(self.reader)
        os.close(self.go)
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.said

    @property
    def said(self) -> list[Any]:
        """What it has said so far; a line torn by a kill is none."""
        return [json.loads(line) for line in self.text.split(b"\n")[:-1]]


def fork(work: Callable[[Callable[[], None], Callable[[Any], None]], None]) -> Child:
    """Run ``work(ready, say)`` in a process forked from this one, which has the libraries loaded.

    ``ready()`` says "ready" and waits for ``start``; ``say`` sends a JSON value. An exception is said, too.
    """
    reader, writer = os.pipe()
    wait, go = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(writer)
        os.close(wait)
        return Child(pid, reader, go)
    status = 1
    try:
        os.close(reader)
        os.close(go)

        def say(value: Any) -> None:
            os.write(writer, json.dumps(value).encode() + b"\n")

        def ready() -> None:
            say("ready")
            os.read(wait, 1)

        torch.set_num_threads(1)  # the parent's other threads did not come along
        work(ready, say)
        status = 0
    except BaseException:
        os.write(writer, json.dumps({"traceback": traceback.format_exc()}).encode() + b"\n")
    finally:
        os._exit(status)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def result_of(work: Callable[[Callable[[Any], None]], None]) -> Any:
    """Run ``work(say)`` in a forked process and return the last thing that it said."""
    child = fork(lambda ready, say: work(say))
    said = child.wait()
    assert child.status == 0, said
    return said[-1]
