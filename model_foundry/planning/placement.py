"""What of weights, gradients and optimizer state lies on each of several devices: arithmetic alone.

``ddp``: everything is on every device, and gradients lie a second time in the buckets that are summed
(PyTorch's DistributedDataParallel, without ``gradient_as_bucket_view``). ``fsdp2``: each tensor is divided
among the devices; while a unit (a layer, as a rule) is computed it is there as a whole, and the next one is
fetched meanwhile (Zhao et al. 2023, arXiv 2304.11277, section 3; torch's ``fully_shard``). ``hsdp``: the same
within each machine, and machines are copies of each other; what they exchange lies in place. Activations,
logits and temporaries belong to a device's own micro-batch and are not divided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Placement = Literal["ddp", "fsdp2", "hsdp"]
PLACEMENTS: tuple[Placement, ...] = get_args(Placement)

MACHINE = 8
"""Devices of a machine, among which ``hsdp`` divides."""


@dataclass(frozen=True)
class StateBytes:
    """Bytes that outlive a micro-batch."""

    weights: int
    gradients: int
    optimizer: int
    communication: int = 0
    """Copies for the exchange with the other devices."""

    @property
    def total(self) -> int:
        """All together."""
        return self.weights + self.gradients + self.optimizer + self.communication


def on_each_device(
    whole: StateBytes, devices: int, placement: Placement, *, largest_unit_bytes: int = 0
) -> StateBytes:
    """Return what lies on the fullest device.

    Args:
        whole: What one device would have alone.
        devices: How many there are.
        placement: How they share.
        largest_unit_bytes: Weights of the largest unit that ``fsdp2`` and ``hsdp`` gather at once; with the
            next one fetched ahead, and a unit's whole gradient before it is divided, three are there.
    """
    if devices < 1:
        raise ValueError(f"devices: {devices}, expected 1 or more")
    if devices == 1:
        return whole
    if placement == "ddp":
        return StateBytes(whole.weights, whole.gradients, whole.optimizer, communication=whole.gradients)
    parts = min(devices, MACHINE) if placement == "hsdp" else devices
    weights, gradients, optimizer = (
        -(-part // parts) for part in (whole.weights, whole.gradients, whole.optimizer)
    )
    return StateBytes(weights, gradients, optimizer, communication=3 * largest_unit_bytes)
