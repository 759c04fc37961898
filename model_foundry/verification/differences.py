"""Where two states of a run differ: weights, optimizer, randomness, clock and metrics, bit by bit."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils.other import load
from safetensors.torch import load_file

STATE = "state"
_WEIGHTS, _OPTIMIZER, _RECORD = "model.safetensors", "optimizer.bin", "trainer_state.json"
_GENERATORS = {
    "random_state": "Python's generator",
    "numpy_random_seed": "NumPy's generator",
    "torch_manual_seed": "torch's generator",
}
_CLOCK = (
    "updates",
    "tokens",
    "words",
    "bytes",
    "documents",
    "skipped_updates",
    "passed_over",
    "epoch",
    "learning_rate",
    "max_steps",
    "data_position",
)
_EXPOSURE = ("tokens", "words", "bytes", "documents")
_OF_THE_MACHINE = re.compile(r"^time$|seconds|per_second|memory|mfu|utili[sz]ation")


@dataclass(frozen=True)
class Difference:
    """One value that is another one in the second state."""

    update: int
    """The update after which it was seen."""

    name: str
    then: object
    now: object
    equal_until: int | None = None
    """The last update before it at which the value was still equal; where None, the one before it."""

    @property
    def when(self) -> str:
        """The update, or the range in which it lies where not every one was recorded."""
        if self.equal_until is None or self.equal_until == self.update - 1:
            return f"update {self.update}"
        return f"one of updates {self.equal_until + 1} to {self.update}"

    @property
    def size(self) -> float:
        """How far apart the two are; infinite where that has no meaning."""
        if isinstance(self.then, int | float) and isinstance(self.now, int | float):
            gap = abs(self.then - self.now)
            return math.inf if math.isnan(gap) else gap
        return math.inf

    def __str__(self) -> str:
        return f"{self.name}: {self.then} then, {self.now} now"


@dataclass(frozen=True)
class Compared:
    """What was compared of one kind, and the values that differ: of each tensor the one that differs most."""

    kind: str
    what: str
    differences: tuple[Difference, ...]


def compare_checkpoints(then: Path, now: Path, update: int, *, has_state: bool = True) -> list[Compared]:
    """Compare two checkpoints of ``update`` bit by bit.

    Args:
        then: The first checkpoint's folder.
        now: The second one's.
        update: Their number.
        has_state: Whether both hold optimizer and random state beside the weights.
    """
    weights = _compare(load_file(then / _WEIGHTS), load_file(now / _WEIGHTS), update)
    compared = [Compared("weights", *_counted(weights, "tensors"))]
    if not has_state:
        return compared
    optimizer = _compare(_optimizer(then / STATE), _optimizer(now / STATE), update)
    randomness = _compare(_randomness(then / STATE), _randomness(now / STATE), update)
    clock = _compare(_clock(then), _clock(now), update)
    return [
        *compared,
        Compared("optimizer", *_counted(optimizer, "values and tensors")),
        Compared("randomness", *_counted(randomness, "states of generators")),
        Compared("clock", *_counted(clock, "counters")),
    ]


def compare_metrics(then: Path, now: Path, *, after: int, until: int) -> Compared:
    """Compare the lines of two ``metrics.jsonl`` from update ``after + 1`` to ``until``.

    Lines of updates must be in both. Measures (a line without a loss) are compared where both have them: a
    run that was stopped may have taken them later.
    """
    old, new = _metrics(then, after, until), _metrics(now, after, until)
    differences: list[Difference] = []
    logged = [after, *sorted(update for update, is_measure in old if not is_measure)]
    for key in sorted({*old, *new}):
        update, is_measure = key
        equal_until = logged[bisect_left(logged, update) - 1]
        if key not in old or key not in new:
            if not is_measure:
                found = ["a line" if key in lines else "none" for lines in (old, new)]
                differences.append(Difference(update, "metrics.jsonl", found[0], found[1], equal_until))
            continue
        names = sorted({*old[key], *new[key]}, key=_importance)
        for name in names:
            before, now_ = old[key].get(name), new[key].get(name)
            # JSON spells every float so that it reads back the same, and NaN as itself.
            if json.dumps(before) != json.dumps(now_):
                differences.append(Difference(update, name, before, now_, equal_until))
    updates = sum(not is_measure for _, is_measure in old)
    return Compared("windows and losses", f"{updates} logged updates", tuple(differences))


def _metrics(path: Path, after: int, until: int) -> dict[tuple[int, bool], dict[str, Any]]:
    lines: dict[tuple[int, bool], dict[str, Any]] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # the torn last line of a killed process
        if after < line["update"] <= until:
            kept = {name: value for name, value in line.items() if not _OF_THE_MACHINE.search(name)}
            lines.setdefault((line["update"], "loss" not in line), {}).update(kept)
    return lines


def _importance(name: str) -> tuple[bool, bool, str]:
    """What was shown stands before what came of it."""
    return name not in _EXPOSURE, name != "loss", name


def _optimizer(folder: Path) -> dict[str, Any]:
    """Name the optimizer's values by the parameters that they belong to."""
    content = load(folder / _OPTIMIZER, map_location="cpu")
    names: dict[Any, str] = {}
    values: dict[str, Any] = {}
    for number, group in enumerate(content["param_groups"]):
        names |= dict(zip(group["params"], group.get("param_names", ()), strict=False))
        options = {key: value for key, value in group.items() if key not in ("params", "param_names")}
        values |= dict(_leaves(options, f"optimizer group {number}"))
    for parameter, state in content["state"].items():
        for key, value in state.items():
            values |= dict(_leaves(value, f"{key} of {names.get(parameter, f'parameter {parameter}')}"))
    return values


def _randomness(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for path in sorted(folder.glob("random_states_*.pkl")):
        rank = path.stem.rpartition("_")[2]
        for key, state in load(path, map_location="cpu").items():
            values |= dict(_leaves(state, f"{_GENERATORS.get(key, key)} of rank {rank}"))
    return values


def _clock(checkpoint: Path) -> dict[str, Any]:
    record = json.loads((checkpoint / _RECORD).read_text(encoding="utf-8"))
    return dict(_leaves({key: record[key] for key in _CLOCK if key in record}, "clock"))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, np.ndarray):
        yield name, torch.from_numpy(value.astype(np.int64) if value.dtype == np.uint32 else value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{name} {key}")
    elif isinstance(value, list | tuple) and len(value) > 16 and all(type(item) is int for item in value):
        yield name, torch.tensor(value, dtype=torch.int64)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{name}[{index}]")
    else:
        yield name, value


def _compare(then: dict[str, Any], now: dict[str, Any], update: int) -> tuple[int, list[Difference]]:
    names = list({**then, **now})
    differences = []
    for name in names:
        if name not in then or name not in now:
            found = ["there" if name in values else "missing" for values in (then, now)]
            differences.append(Difference(update, name, found[0], found[1]))
            continue
        difference = _compare_values(then[name], now[name], name, update)
        if difference is not None:
            differences.append(difference)
    return len(names), differences


def _compare_values(then: Any, now: Any, name: str, update: int) -> Difference | None:
    if not (isinstance(then, torch.Tensor) and isinstance(now, torch.Tensor)):
        return (
            None
            if type(then) is type(now) and repr(then) == repr(now)
            else Difference(update, name, then, now)
        )
    if then.dtype != now.dtype or then.shape != now.shape:
        kinds = [f"{tensor.dtype} of shape {list(tensor.shape)}" for tensor in (then, now)]
        return Difference(update, name, kinds[0], kinds[1])
    # Bits, not values: 0.0 equals -0.0, and NaN does not equal itself.
    differs = (_bits(then) != _bits(now)).any(dim=1)
    if not bool(differs.any()):
        return None
    gap = (then.reshape(-1).double() - now.reshape(-1).double()).abs().nan_to_num(nan=math.inf)
    index = int(torch.where(differs, gap, -1.0).argmax())
    place = ", ".join(str(int(at)) for at in np.unravel_index(index, then.shape)) if then.ndim else ""
    values = [tensor.reshape(-1)[index].item() for tensor in (then, now)]
    return Difference(update, f"{name}[{place}]" if place else name, values[0], values[1])


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.reshape(-1).contiguous()
    return flat.view(torch.uint8).reshape(flat.numel(), flat.element_size())


def _counted(found: tuple[int, list[Difference]], what: str) -> tuple[str, tuple[Difference, ...]]:
    count, differences = found
    return f"{count} {what}", tuple(differences)
