from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from model_foundry.errors import CheckpointError
from model_foundry.objective import Batch
from model_foundry.training.carried import CarriedState, LaneStates
from model_foundry.training.checkpoint_files import CARRIED_FILE


def carried(lanes: int = 4) -> CarriedState:
    return CarriedState(Accelerator(cpu=True), [(1, 2), (1, 2)], lanes=lanes, micro_batch_size=2)


def rows(lanes: list[int], *, goes_on: bool = True) -> Batch:
    return {"lanes_B": torch.tensor(lanes), "continues_B": torch.tensor([goes_on] * len(lanes))}


def after(lanes: list[int], value: float) -> tuple[torch.Tensor, ...]:
    return (torch.full((1, len(lanes), 2), value), torch.full((1, len(lanes), 2), -value))


def given(
    state: CarriedState, lanes: list[int], *, goes_on: bool = True, is_first: bool = True
) -> LaneStates:
    found: LaneStates = state.give(rows(lanes, goes_on=goes_on), is_first=is_first)["state"]
    return found


def values(state: CarriedState) -> list[float]:
    return given(state, [0, 1, 2, 3]).states[0][0, :, 0].tolist()


def test_a_lane_goes_on_with_what_was_committed_and_begins_with_zeros():
    state = carried()
    assert values(state) == [0, 0, 0, 0]

    given(state, [0, 1]).advanced(after([0, 1], 1.0))
    given(state, [2, 3], is_first=False).advanced(after([2, 3], 2.0))
    state.commit()

    assert values(state) == [1, 1, 2, 2]
    assert given(state, [3, 0]).states[1][0, :, 0].tolist() == [-2, -1]
    assert given(state, [3, 0], goes_on=False).states[0].tolist() == [[[0, 0], [0, 0]]]


def test_an_attempt_that_is_not_committed_is_forgotten_where_the_next_begins():
    state = carried()
    given(state, [0]).advanced(after([0], 1.0))
    state.commit()
    given(state, [0]).advanced(after([0], float("nan")))

    given(state, [1]).advanced(after([1], 3.0))
    state.commit()

    assert values(state) == [1, 3, 0, 0]


def test_the_states_of_all_lanes_are_read_back_to_the_bit(tmp_path):
    state, other = carried(), carried()
    for lane in range(4):
        given(state, [lane]).advanced(after([lane], 1 / (lane + 3)))
    state.commit()

    state.save(tmp_path)
    other.load(tmp_path)

    assert values(other) == values(state) != [0, 0, 0, 0]


def test_states_of_another_batch_are_refused(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"found states of shape nothing, expected \[\(1, 4, 2\), \(1, 4, 2\)\]"
    ):
        carried().load(tmp_path)

    save_file({"0": torch.zeros(1, 3, 2), "1": torch.zeros(1, 3, 2)}, tmp_path / CARRIED_FILE)
    with pytest.raises(
        CheckpointError, match=r"found states of shape \[\(1, 3, 2\), \(1, 3, 2\)\], expected"
    ):
        carried().load(tmp_path)


def test_a_model_that_remembers_nothing_has_no_states(tmp_path):
    nothing = CarriedState(Accelerator(cpu=True), [], lanes=4, micro_batch_size=2)

    batch = nothing.give(rows([0, 1]), is_first=True)
    nothing.commit()
    nothing.save(tmp_path)
    nothing.load(tmp_path)

    assert "state" not in batch
    assert not list(tmp_path.iterdir())
