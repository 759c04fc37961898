from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model_foundry.verification.differences import compare_checkpoints, compare_metrics

NAN = float("nan")


def checkpoint(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    """A checkpoint of weights alone."""
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    return folder


def differences(tmp_path: Path, then: dict[str, torch.Tensor], now: dict[str, torch.Tensor]) -> list[str]:
    """What is said to differ between two sets of weights."""
    folders = checkpoint(tmp_path / "then", then), checkpoint(tmp_path / "now", now)
    (weights,) = compare_checkpoints(*folders, 7, has_state=False)
    assert weights.what == f"{len({**then, **now})} tensors"
    return [str(difference) for difference in weights.differences]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_equal_bits_are_equal(tmp_path: Path, dtype: torch.dtype):
    tensor = torch.tensor([[1, 0], [0, 1]]).to(dtype)

    assert differences(tmp_path, {"a": tensor}, {"a": tensor.clone()}) == []


def test_nan_equals_itself(tmp_path: Path):
    assert differences(tmp_path, {"a": torch.tensor([NAN, 1.0])}, {"a": torch.tensor([NAN, 1.0])}) == []


def test_the_element_that_differs_most_is_named(tmp_path: Path):
    then = torch.zeros(2, 3)
    now = torch.tensor([[0.0, 0.25, 0.0], [0.0, 0.0, -0.5]])

    assert differences(tmp_path, {"a": then, "b": then.clone()}, {"a": now, "b": then}) == [
        "a[1, 2]: 0.0 then, -0.5 now"
    ]


def test_zero_and_minus_zero_differ(tmp_path: Path):
    assert differences(tmp_path, {"a": torch.tensor([1.0, 0.0])}, {"a": torch.tensor([1.0, -0.0])}) == [
        "a[1]: 0.0 then, -0.0 now"
    ]


def test_a_value_that_became_nan_differs_most(tmp_path: Path):
    then, now = torch.tensor([1.0, 2.0]), torch.tensor([9.0, NAN])

    assert differences(tmp_path, {"a": then}, {"a": now}) == ["a[1]: 2.0 then, nan now"]


def test_one_bit_of_a_scalar_is_seen(tmp_path: Path):
    then = torch.tensor(1.0, dtype=torch.bfloat16)
    now = (then.view(torch.int16) ^ 1).view(torch.bfloat16)

    assert differences(tmp_path, {"a": then}, {"a": now}) == ["a: 1.0 then, 1.0078125 now"]


def test_missing_tensors_shapes_and_types_are_named(tmp_path: Path):
    then = {"a": torch.zeros(2), "b": torch.zeros(2), "c": torch.zeros(2)}
    now = {"a": torch.zeros(3), "b": torch.zeros(2, dtype=torch.float64), "d": torch.zeros(2)}

    assert differences(tmp_path, then, now) == [
        "a: torch.float32 of shape [2] then, torch.float32 of shape [3] now",
        "b: torch.float32 of shape [2] then, torch.float64 of shape [2] now",
        "c: there then, missing now",
        "d: missing then, there now",
    ]


def lines(path: Path, *content: dict[str, float], torn: str = "") -> Path:
    """A ``metrics.jsonl``."""
    path.write_text("".join(json.dumps(line) + "\n" for line in content) + torn)
    return path


def update(number: int, loss: float = 2.0, **values: float) -> dict[str, float]:
    """The line of an update."""
    return {"update": number, "tokens": number * 128, "loss": loss, **values}


def said(tmp_path: Path, then: list[dict[str, float]], now: list[dict[str, float]]) -> list[str]:
    """What is said to differ after update 2, until update 30."""
    paths = lines(tmp_path / "then", *then, torn='{"update": 30, "lo'), lines(tmp_path / "now", *now)
    found = compare_metrics(*paths, after=2, until=30).differences
    return [f"{difference.when}: {difference}" for difference in found]


def test_what_depends_on_the_machine_is_not_compared(tmp_path: Path):
    then = [update(3, tokens_per_second=10.0, peak_memory_bytes=5, evaluation_seconds=1.0, mfu=0.3, time=1.5)]
    now = [update(3, tokens_per_second=11.0, peak_memory_bytes=6, evaluation_seconds=2.0, mfu=0.4, time=2.5)]

    assert said(tmp_path, then, now) == []


def test_only_updates_in_the_range_are_compared(tmp_path: Path):
    assert said(tmp_path, [update(2, 1.0), update(31, 1.0)], [update(2, 2.0), update(31, 3.0)]) == []


def test_what_was_shown_is_named_before_what_came_of_it(tmp_path: Path):
    then, now = [update(3, 2.0, grad_norm=1.0, bytes=9)], [update(3, 2.5, grad_norm=1.5, bytes=8)]

    assert said(tmp_path, then, now) == [
        "update 3: bytes: 9 then, 8 now",
        "update 3: loss: 2.0 then, 2.5 now",
        "update 3: grad_norm: 1.0 then, 1.5 now",
    ]


def test_a_difference_between_two_logged_updates_is_said_to_lie_between_them(tmp_path: Path):
    then, now = [update(10), update(20, 2.0)], [update(10), update(20, 2.5)]

    assert said(tmp_path, then, now) == ["one of updates 11 to 20: loss: 2.0 then, 2.5 now"]


def test_a_line_that_is_missing_is_a_difference(tmp_path: Path):
    assert said(tmp_path, [update(3), update(4)], [update(3)]) == [
        "update 4: metrics.jsonl: a line then, none now"
    ]


def test_a_measure_that_one_run_took_later_is_none(tmp_path: Path):
    measure = {"update": 3, "perplexity/loss": 2.0}

    assert said(tmp_path, [update(3), measure], [update(3)]) == []
    assert said(tmp_path, [update(3), measure], [update(3), {**measure, "perplexity/loss": 2.5}]) == [
        "update 3: perplexity/loss: 2.0 then, 2.5 now"
    ]


def test_a_loss_that_is_not_a_number_equals_itself(tmp_path: Path):
    assert said(tmp_path, [update(3, NAN)], [update(3, NAN)]) == []


def test_the_size_of_a_difference_without_numbers_is_infinite(tmp_path: Path):
    paths = lines(tmp_path / "then", update(3)), lines(tmp_path / "now", update(3, NAN), update(4))

    sizes = [difference.size for difference in compare_metrics(*paths, after=2, until=30).differences]

    assert sizes == [math.inf, math.inf]
