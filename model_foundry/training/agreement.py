"""What the processes of a run tell each other around a checkpoint, as tensors of bytes: no pickle travels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from model_foundry.errors import ResourceError

_LONGEST_NAME = 128


class Agreement:
    """Steps that all processes take, or none.

    Args:
        accelerator: The run's accelerator.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    def on_main(self, step: Callable[[], object]) -> None:
        """Take a step on the main process alone; its failure is the failure of all."""
        self.together(step if self._accelerator.is_main_process else lambda: None)

    def together(self, step: Callable[[], object]) -> None:
        """Take a step so that the failure of one process is the failure of all, and nobody waits for ever.

        Raises:
            ResourceError: When another process failed and this one did not.
        """
        problem: Exception | None = None
        try:
            step()
        except Exception as error:
            problem = error
        if self._accelerator.num_processes > 1:
            failed = torch.tensor([problem is not None], dtype=torch.int64, device=self._accelerator.device)
            if int(self._accelerator.reduce(failed, "sum")) and problem is None:
                problem = ResourceError("another process could not do its part; its own log says why")
        if problem is not None:
            raise problem

    def name(self, name: str | None) -> str:
        """Return the name that the main process gives; the others pass None."""
        if self._accelerator.num_processes == 1:
            assert name is not None
            return name
        buffer = torch.zeros(_LONGEST_NAME, dtype=torch.int64, device=self._accelerator.device)
        if name is not None:
            encoded = name.encode()
            buffer[: len(encoded)] = torch.tensor(list(encoded), dtype=torch.int64)
        received: torch.Tensor = broadcast(buffer)
        return bytes(int(byte) for byte in received.tolist() if byte).decode()

    def digests(self, digest: str) -> list[str]:
        """Return every process's digest (hexadecimal, of equal length), by rank."""
        mine = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.int64, device=self._accelerator.device)
        gathered: torch.Tensor = self._accelerator.gather(mine.unsqueeze(0))
        return [bytes(row).hex() for row in gathered.tolist()]
