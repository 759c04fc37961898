"""What an accelerator can do at most: its dense matrix products a second, as its maker states them.

Only what is in the table has a share of its peak (MFU, Chowdhery et al. 2022, arXiv 2204.02311, appendix B).
A CPU's peak follows from no name: clock, width and memory decide, so none is guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_BF16 = {  # longest name first where one holds another; without sparsity, from the makers' data sheets
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
    "GH200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "A800": 312e12,
    "A40": 149.7e12,
    "A30": 165e12,
    "A10G": 70e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
    "MI300X": 1307e12,
}
"""Operations a second, bf16 with sums in fp32, by a part of the name that the driver gives."""


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Return the operations a second that ``device`` can do at most, or None where that is not known.

    Args:
        device: Where a process computes.
        precision: The recipe's; only ``bf16`` has a table.
    """
    if device.type != "cuda" or precision != "bf16":
        return None
    import torch

    return named_peak(torch.cuda.get_device_name(device))


def named_peak(name: str) -> float | None:
    """Return the peak of an accelerator by its driver's name, or None where the table does not have it."""
    words = f" {name.replace('-', ' ')} "
    if " Laptop " in words:  # sold under the same number, with less inside
        return None
    return next((peak for part, peak in _BF16.items() if f" {part} " in words), None)
