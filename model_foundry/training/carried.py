"""What a recurrent model remembers from one update to the next, lane by lane, and where it is kept.

Lane i of an update goes on with the text of lane i of the update before (``data.order: streams``). The state
after a window is taken without its gradient (Zaremba et al. 2014, arXiv 1409.2329, section 4) and becomes the
lane's own when the update is applied; an attempt that is passed over leaves none.

Shape letters: L layers, H size of the state, N lanes, B rows of a micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from model_foundry.errors import CheckpointError
from model_foundry.objective import Batch
from model_foundry.training.checkpoint_files import CARRIED_FILE


class LaneStates:
    """States that the rows of one micro-batch go on from; stands where a model takes its cache.

    Args:
        states: (L, B, H) each.
    """

    def __init__(self, states: tuple[torch.Tensor, ...]) -> None:
        self.states = states

    def advanced(self, states: tuple[torch.Tensor, ...]) -> LaneStates:
        """Take note of the states after the last token of each row, where the gradient ends."""
        self.states = tuple(state.detach() for state in states)
        return self


class CarriedState:
    """The states of all lanes; a process knows those of its own, which never leave it.

    Args:
        accelerator: The run's.
        shapes: (L, H) of each part of a state: hidden states, and for an LSTM the cells; none for models that
            remember nothing.
        lanes: Windows of an update.
        micro_batch_size: Windows a forward pass.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        shapes: Sequence[tuple[int, int]],
        *,
        lanes: int,
        micro_batch_size: int,
    ) -> None:
        self._accelerator = accelerator
        self._micro_batch_size = micro_batch_size
        self._table = tuple(
            torch.zeros(layers, lanes, size, device=accelerator.device) for layers, size in shapes
        )
        self._given: list[tuple[torch.Tensor, LaneStates]] = []

    def give(self, batch: Batch, *, is_first: bool) -> Batch:
        """Return a micro-batch with what its rows go on from: zeros where nothing stands before them.

        The first one of an attempt makes an end of what an attempt left that was not applied.
        """
        if is_first:
            self._given.clear()
        if not self._table or "lanes_B" not in batch:
            return batch
        lanes_B, goes_on_1B1 = batch["lanes_B"], batch["continues_B"].view(1, -1, 1)
        before = LaneStates(tuple(torch.where(goes_on_1B1, table[:, lanes_B], 0.0) for table in self._table))
        self._given.append((lanes_B, before))
        return {**batch, "state": before}

    def commit(self) -> None:
        """Keep the states after the windows of the update that was applied."""
        for lanes_B, after in self._given:
            for table, state in zip(self._table, after.states, strict=True):
                table[:, lanes_B] = state.to(table.dtype)
        self._given.clear()

    def save(self, folder: Path) -> None:
        """Write the states of all lanes, each as the process has it that the lane is dealt to.

        All processes call this; the main one writes.
        """
        parts = {}
        for number, table in enumerate(self._table):
            everyone = table[None]
            if self._accelerator.num_processes > 1:
                everyone = self._accelerator.gather(everyone)
            lanes_N = torch.arange(table.shape[1], device=table.device)
            owners_N = lanes_N // self._micro_batch_size % len(everyone)
            parts[str(number)] = everyone[owners_N, :, lanes_N].transpose(0, 1).cpu().contiguous()
        if parts and self._accelerator.is_main_process:
            save_file(parts, folder / CARRIED_FILE)

    def load(self, folder: Path) -> None:
        """Read the states of all lanes back; lanes may be dealt to other processes than before.

        Raises:
            CheckpointError: When they are missing, or those of another model or batch.
        """
        path = folder / CARRIED_FILE
        found = load_file(path) if path.is_file() else {}
        shapes = [tuple(part.shape) for part in found.values()]
        expected = [tuple(table.shape) for table in self._table]
        if shapes != expected:
            raise CheckpointError(
                f"{path}: found states of shape {shapes or 'nothing'}, expected {expected}: layers, lanes, "
                "size. Use another checkpoint."
            )
        self._given.clear()
        for table, part in zip(self._table, found.values(), strict=True):
            table.copy_(part)
