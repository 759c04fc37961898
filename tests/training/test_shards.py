"""Tensors in parts are read back as they were, and nothing that their table or their bytes bring is run."""

from __future__ import annotations

import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as distributed_checkpoint

from model_foundry.errors import CheckpointError
from model_foundry.training.shards import read_into, read_tree, read_whole, require_plain_table


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A tree of tensors and values, as one process writes it."""
    state = {"a.b": {"step": torch.tensor(3.0), "mean": torch.arange(6.0).view(2, 3)}}
    groups = [{"params": ["a.b"], "lr": 0.1, "betas": (0.9, 0.95)}]
    tree = {"optimizer": {"state": state, "param_groups": groups}}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is")
        writer = distributed_checkpoint.FileSystemWriter(tmp_path / "parts")
        distributed_checkpoint.save(tree, storage_writer=writer, no_dist=True)
    return tmp_path / "parts"


class Hostile:
    """What runs a command when it is read back."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.mark)!r}, 'w')",)


def test_a_tree_comes_back_as_it_was(parts: Path) -> None:
    tree = read_tree(parts, lambda place, shape, dtype: torch.empty(shape, dtype=dtype))["optimizer"]

    assert torch.equal(tree["state"]["a.b"]["mean"], torch.arange(6.0).view(2, 3))
    assert tree["state"]["a.b"]["step"] == 3.0
    [group] = tree["param_groups"].values()
    assert (group["lr"], group["betas"]) == (0.1, (0.9, 0.95))
    assert read_whole(parts).keys() == {"optimizer.state.a.b.step", "optimizer.state.a.b.mean"}


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_table_that_names_anything_else_is_refused_before_it_is_loaded(parts: Path, protocol: int) -> None:
    mark = parts / "ran"
    (parts / ".metadata").write_bytes(pickle.dumps(Hostile(mark), protocol=protocol))

    with pytest.raises(
        CheckpointError, match=r"\.metadata: it names .*, which no table of tensors does, and"
    ):
        read_whole(parts)

    assert not mark.exists()


def test_a_name_that_is_put_together_out_of_sight_is_refused(parts: Path) -> None:
    """The name is fetched from below: what stands before the opcode is not what it takes."""
    hidden = b"\x80\x04\x8c\x08builtins\x8c\x04exec\x8c\x05torch\x8c\x04Size00\x93."

    (parts / ".metadata").write_bytes(hidden)

    with pytest.raises(CheckpointError, match=r"it names None\.None, which no table of tensors does"):
        require_plain_table(parts)


def test_values_that_are_no_tensors_are_read_without_code(parts: Path) -> None:
    mark, [data] = parts / "ran", list(parts.glob("*.distcp"))
    good, hostile = io.BytesIO(), io.BytesIO()
    torch.save(0.1, good)
    torch.save(Hostile(mark), hostile)
    content = data.read_bytes()
    assert good.getvalue() in content
    table = pickle.loads((parts / ".metadata").read_bytes())
    for about in table.storage_data.values():
        if content[about.offset : about.offset + about.length] == good.getvalue():
            about.offset, about.length = len(content), len(hostile.getvalue())
    data.write_bytes(content + hostile.getvalue())
    (parts / ".metadata").write_bytes(pickle.dumps(table))

    with pytest.raises(distributed_checkpoint.CheckpointException, match="Weights only load failed"):
        read_tree(parts, lambda place, shape, dtype: torch.empty(shape, dtype=dtype))

    assert not mark.exists()


def test_another_shape_or_name_is_said(parts: Path) -> None:
    name = "optimizer.state.a.b.mean"

    with pytest.raises(CheckpointError, match=r"found shape \(2, 3\) for .*mean, expected shape \(3, 2\)"):
        read_into(parts, {name: torch.zeros(3, 2)})
    with pytest.raises(CheckpointError, match=r"found nothing for other, expected shape \(1,\)"):
        read_into(parts, {"other": torch.zeros(1)})


def test_a_table_that_is_no_table_is_said(parts: Path) -> None:
    (parts / ".metadata").write_bytes(b"\x80")

    with pytest.raises(CheckpointError, match=r"\.metadata: it cannot be read"):
        read_whole(parts)
