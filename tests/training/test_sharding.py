"""Optimizers and averages on tensors in parts, on two real processes: same steps, and states that move."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as distributed_checkpoint
from accelerate import Accelerator
from pydantic import TypeAdapter

from model_foundry.averaging import Averaging
from model_foundry.optim import Optimizer
from model_foundry.parts import PartOf, find_part, known_parts
from model_foundry.training.sharded_state import by_name, load_optimizer, load_weights
from model_foundry.training.sharding import as_part_of, gathered, is_sharded
from tests.faults.rig import fork, free_port
from tests.fsdp2 import as_fsdp2
from tests.optim.test_states import OWN, small

AVERAGES = [{"type": "ema", "decay": 0.5, "use": True}, {"type": "lawa", "last": 2, "every": 1}]
SHARDING = [name for name in known_parts(Optimizer) if find_part(Optimizer, name).shards]
CASES = [(name, None) for name in SHARDING] + [("sgd", average) for average in AVERAGES]


def optimizer_of(case: tuple[str, Any], model: torch.nn.Module) -> Any:
    name, average = case
    section = {"type": name, "learning_rate": 1e-2, **OWN.get(name, {})}
    optimizer = TypeAdapter(PartOf[Optimizer]).validate_python(section).build(model)
    return TypeAdapter(PartOf[Averaging]).validate_python(average).around(optimizer) if average else optimizer


def go_on(model: Any, optimizer: Any, updates: range) -> None:
    """All processes have the same batch, so that their mean gradient is that of one, bit by bit."""
    for update in updates:
        ids = torch.randint(11, (4, 6), generator=torch.Generator().manual_seed(update))
        torch.nn.functional.cross_entropy(model(input_ids=ids).logits.flatten(0, 1), ids.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()


def farthest(model: torch.nn.Module, whole: torch.nn.Module, *optimizers: Any) -> float:
    """How far weights, and everything in the optimizers' states, are apart."""
    pairs = [(dict(model.named_parameters())[name], other) for name, other in whole.named_parameters()]
    states = [
        [
            value
            for _, state in sorted(one.state_dict()["state"].items())
            for _, value in sorted(state.items())
        ]
        for one in optimizers
    ]
    pairs += list(zip(*states, strict=True))
    with torch.no_grad():
        return max(float((gathered(one) - other).abs().max()) for one, other in pairs)


def distances(case: tuple[str, Any], accelerator: Accelerator, folder: Path) -> list[float]:
    """How far parts are from whole tensors: after 3 updates, moved to one process, and moved back."""
    whole, model, moved = small(), small(), small()
    optimizers = [optimizer_of(case, one) for one in (whole, model, moved)]
    whole_optimizer, _, moved_optimizer = optimizers
    model, optimizer = accelerator.prepare(model, optimizers[1])
    assert is_sharded(model)
    go_on(whole, whole_optimizer, range(3))
    go_on(model, optimizer, range(3))
    found = [farthest(model, whole, optimizer, whole_optimizer)]
    state, names = folder / "state", ("pytorch_model_fsdp_0", "optimizer_0")
    for name, tree in zip(
        names, ({"model": model.state_dict()}, {"optimizer": by_name(optimizer, model)}), strict=True
    ):
        distributed_checkpoint.save(
            tree, storage_writer=distributed_checkpoint.FileSystemWriter(state / name)
        )
    load_weights(moved, folder)
    load_optimizer(moved_optimizer, moved, state)
    go_on(whole, whole_optimizer, range(3, 4))
    go_on(moved, moved_optimizer, range(3, 4))
    found.append(farthest(moved, whole, moved_optimizer, whole_optimizer))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(state / "optimizer_0")
        torch.save(moved_optimizer.state_dict(), state / "optimizer.bin")
    accelerator.wait_for_everyone()
    load_optimizer(optimizer, model, state)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(as_part_of(moved.get_parameter(name).detach(), parameter))
    go_on(whole, whole_optimizer, range(4, 5))
    go_on(model, optimizer, range(4, 5))
    accelerator.free_memory()
    return [*found, farthest(model, whole, optimizer, whole_optimizer)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Distances of every case, from two processes that shard."""
    port, folder = str(free_port()), tmp_path_factory.mktemp("parts")

    def process(rank: int) -> Callable[..., None]:
        def run(ready: Any, say: Callable[[Any], None]) -> None:
            address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ.update(address, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
            accelerator = Accelerator(cpu=True)
            as_fsdp2(accelerator)
            for number, case in enumerate(CASES):
                say([str(case), distances(case, accelerator, folder / str(number))])

        return run

    children = [fork(process(rank)) for rank in (0, 1)]
    said = [child.wait() for child in children]
    assert [child.status for child in children] == [0, 0], said
    return dict(said[0])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_steps_on_parts_are_those_on_whole_tensors_and_states_move_between_them(
    found: dict[str, list[float]], case: tuple[str, Any]
) -> None:
    exact = {"lion", "schedule_free", "sgd"}  # the others sum, or have kernels that round by length

    assert found[str(case)] == pytest.approx([0, 0, 0], abs=0 if case[0] in exact else 5e-6)


def test_what_needs_whole_tensors_is_not_among_them() -> None:
    assert {"adamw", "lion", "sgd"} <= set(SHARDING)
    assert not {"muon", "adafactor"} & set(SHARDING)
