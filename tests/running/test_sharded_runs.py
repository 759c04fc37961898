"""What a placement in parts refuses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType
from accelerate.utils.deepspeed import DeepSpeedEngineWrapper

from model_foundry.config.load import load_recipe
from model_foundry.errors import RecipeError
from model_foundry.running.saving import exports
from model_foundry.running.sharded_runs import measured_model, require_shardable
from tests.lab import RECIPE


@pytest.fixture
def recipe(tmp_path: Any) -> Any:
    """Loads the recipe of the lab with settings of one's own."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return lambda *settings: load_recipe(tmp_path / "recipe.yaml", list(settings))


def sharding(version: int = 2, kind: str = "SHARDED_STATE_DICT") -> Any:
    plugin = SimpleNamespace(fsdp_version=version, state_dict_type=SimpleNamespace(name=kind))
    return SimpleNamespace(distributed_type=DistributedType.FSDP, state=SimpleNamespace(fsdp_plugin=plugin))


def test_all_that_does_not_go_with_parts_is_said_at_once(recipe: Any) -> None:
    config = recipe(
        "checkpoints.background=true",
        "training.replica_check=5 updates",
        "training.compile=auto",
        "training.precision=fp16",
        "optimizer={type: muon, learning_rate: 1e-2}",
    )

    with pytest.raises(RecipeError) as refused:
        require_shardable(config, sharding(1, "FULL_STATE_DICT"))

    for text in (
        "fsdp_config.fsdp_version is 1, expected 2",
        "fsdp_config.fsdp_state_dict_type is FULL_STATE_DICT, expected SHARDED_STATE_DICT",
        "checkpoints.background copies whole tensors; set it to false",
        "training.replica_check compares copies, and there is one of each part; leave it out",
        "training.precision fp16 was not tried on parts; use bf16",
        "training.compile was not tried on parts; set it to false",
        "optimizer muon needs whole tensors",
        "or take a placement with whole copies, such as ddp",
    ):
        assert text in str(refused.value)


def test_what_goes_with_parts_and_what_has_copies_is_not_refused(recipe: Any) -> None:
    require_shardable(recipe(), sharding())
    copies = SimpleNamespace(distributed_type=DistributedType.MULTI_CPU)
    require_shardable(recipe("checkpoints.background=true"), copies)


def test_deepspeed_is_refused_since_it_would_step_at_each_micro_batch(recipe: Any) -> None:
    accelerator = SimpleNamespace(distributed_type=DistributedType.DEEPSPEED)

    with pytest.raises(RecipeError, match=r"step inside each backward pass.*Take fsdp2.*or ddp\."):
        require_shardable(recipe(), accelerator)


def test_accelerate_still_has_deepspeed_step_in_its_backward_pass() -> None:
    """What the refusal is for; where this fails, look whether it is needed any more."""
    done: list[str] = []
    engine = SimpleNamespace(
        set_gradient_accumulation_boundary=lambda is_boundary: done.append(f"boundary {is_boundary}"),
        backward=lambda loss: done.append("backward"),
        step=lambda: done.append("step"),
    )
    wrapper = DeepSpeedEngineWrapper(engine)

    for _ in range(2):  # as Accelerator.backward calls it, whose sync_gradients stays true in no_sync
        wrapper.backward(torch.zeros(()), sync_gradients=True)

    assert done == ["boundary True", "backward", "step"] * 2


def test_recurrent_layers_are_refused() -> None:
    model = torch.nn.Sequential(torch.nn.LSTM(2, 2))

    with pytest.raises(RecipeError, match=r"recurrent layers, which a Sequential has.*such as ddp"):
        measured_model(model, sharding())


@pytest.mark.parametrize(
    ("setting", "wanted"), [("each", [True, True]), ("last", [False, True]), ("never", [False, False])]
)
def test_a_recipe_says_which_checkpoints_hold_whole_weights(recipe: Any, setting: str, wanted: Any) -> None:
    says = exports(recipe(f"checkpoints.export={setting}"), SimpleNamespace(updates=24))

    assert [says(23), says(24)] == wanted
