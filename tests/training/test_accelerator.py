"""How the Accelerator is built for an accelerator that is not here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from model_foundry.training import accelerator


@pytest.mark.parametrize("has_gpu", [True, False])
def test_batches_are_copied_without_blocking_where_there_is_a_gpu(
    has_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def construct(**named: Any) -> SimpleNamespace:
        asked.update(named)
        return SimpleNamespace(gradient_accumulation_steps=1, is_fsdp2=False)

    monkeypatch.setattr(accelerator, "Accelerator", construct)
    monkeypatch.setattr(accelerator, "require_as_launched", lambda made: None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)

    accelerator.build_accelerator("bf16", timeout_seconds=1)

    assert asked["dataloader_config"].non_blocking is has_gpu
    assert asked["cpu"] is not has_gpu
    assert asked["mixed_precision"] == "bf16"
