"""Every tracker's settings become what its service is told; a missing package is told before training."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from model_foundry.errors import RecipeError
from model_foundry.parts import find_part
from model_foundry.tracking import TrackedRun, Tracker
from model_foundry.training.following import require_packages


class Heard:
    """Stands in for a service that cannot be had here: it writes down how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.hash = "h1"
        self.info = self
        self.run_id = "m1"
        self.config = self

    def update(self, values: dict[str, Any], **options: Any) -> None:
        self.calls.append(("config", dict(values)))

    def log(self, values: dict[str, float], **options: Any) -> None:
        self.calls.append(("log", {**values, **options}))

    def finish(self) -> None:
        self.calls.append(("finish", {}))


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Modules called wandb and trackio, whose ``init`` is heard."""
    service = Heard()

    def init(**options: Any) -> Heard:
        service.calls.append(("init", options))
        return service

    for name in ("wandb", "trackio"):
        module = ModuleType(name)
        vars(module).update(init=init, config=service)
        monkeypatch.setitem(sys.modules, name, module)
    from accelerate import PartialState

    PartialState(cpu=True)
    return service


def tracked(folder: Path, *, resumed_at: int | None = None) -> TrackedRun:
    return TrackedRun("tiny", "abc123", folder, {"seed": 1, "evaluation": []}, resumed_at)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wandb", {"project": "mine", "name": "tiny", "id": "abc123", "resume": "allow"}),
        ("trackio", {"project": "mine", "name": "tiny", "resume": "allow"}),
    ],
)
def test_a_run_keeps_its_name_in_the_service_when_it_is_resumed(
    name: str, expected: dict[str, str], heard: Heard, tmp_path: Path
):
    tracker = find_part(Tracker, name).model_validate({"project": "mine"})

    for resumed_at in (None, 10):
        service = tracker.open(tracked(tmp_path, resumed_at=resumed_at))
        service.log({"loss": 2.0}, 11)
        service.finish()

    kinds = [kind for kind, _ in heard.calls]
    assert kinds == ["init", "config", "log", "finish", "init", "log", "finish"]
    for kind, options in heard.calls:
        if kind == "init":
            assert expected.items() <= options.items()
    assert heard.calls[1] == ("config", {"seed": 1, "evaluation": "[]"})
    assert heard.calls[2] == ("log", {"loss": 2.0, "step": 11})


def test_a_package_that_is_not_installed_is_named_before_training():
    tracker = find_part(Tracker, "aim")()

    with pytest.raises(RecipeError, match=r"tracking: aim needs the package aim.*pip install aim"):
        require_packages([tracker])
