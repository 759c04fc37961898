"""A few devices by their makers' data sheets: peak operations a second without sparsity, and memory.

The time of a run on one of them is an estimate: operations over the peak times an assumed share of it (model
FLOPs utilisation; Chowdhery et al. 2022, arXiv 2204.02311, appendix B). ``probe`` measures instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_foundry.errors import RecipeError
from model_foundry.parts import did_you_mean
from model_foundry.training.device_peaks import named_peak

ASSUMED_MFU = 0.35
"""Share of the peak that training reaches. PaLM reports 46 % (arXiv 2204.02311, table 3), OPT 175B about 21 %
by the same count; small models and short contexts reach less."""


@dataclass(frozen=True)
class Device:
    """Dense operations a second, and memory in 10^9 bytes."""

    name: str
    half: float
    """bf16 (fp16 where it has no bf16) on tensor cores, accumulated in float32."""

    single: float
    """float32 as it is, without TF32."""

    memory: int
    source: str

    def flops_per_second(self, precision: str) -> float:
        """Return its peak in the precision of a recipe."""
        if precision == "tf32" and self.half > self.single:  # half of bf16, where there are tensor cores
            return self.half / 2
        return self.single if precision in ("fp32", "tf32") else self.half


def _bf16(name: str) -> float:
    """Return the peak that ``training.device_peaks`` states, by which a run tells its MFU."""
    peak = named_peak(name)
    assert peak is not None, name
    return peak


DEVICES = {
    device.name: device
    for device in (
        Device("b200", _bf16("B200"), 75e12, 180, "NVIDIA DGX B200 data sheet"),
        Device("h200", _bf16("H200"), 67e12, 141, "NVIDIA H200 data sheet"),
        Device("h100", _bf16("H100"), 67e12, 80, "NVIDIA H100 data sheet, SXM"),
        Device("h100-pcie", _bf16("H100 PCIe"), 51e12, 80, "NVIDIA H100 data sheet, PCIe"),
        Device("a100", _bf16("A100"), 19.5e12, 80, "NVIDIA A100 data sheet, 80 GB"),
        Device("a100-40gb", _bf16("A100"), 19.5e12, 40, "NVIDIA A100 data sheet, 40 GB"),
        Device("mi300x", _bf16("MI300X"), 163.4e12, 192, "AMD Instinct MI300X data sheet"),
        Device("l40s", _bf16("L40S"), 91.6e12, 48, "NVIDIA L40S data sheet"),
        Device("a10", _bf16("A10"), 31.2e12, 24, "NVIDIA A10 data sheet"),
        Device("rtx4090", _bf16("RTX 4090"), 82.6e12, 24, "NVIDIA Ada GPU architecture paper, appendix A"),
        Device("rtx3090", _bf16("RTX 3090"), 35.6e12, 24, "NVIDIA GA102 architecture paper, appendix A"),
        Device("v100", 125e12, 15.7e12, 32, "NVIDIA V100 data sheet, SXM2 (fp16)"),
        Device("t4", 65e12, 8.1e12, 16, "NVIDIA T4 data sheet (fp16)"),
    )
}


def find_device(name: str) -> Device:
    """Return a device of the table.

    Raises:
        RecipeError: When it is not in it.
    """
    device = DEVICES.get(name.lower().replace("_", "-"))
    if device is None:
        raise RecipeError(
            f"--device {name}: no such device in the table.{did_you_mean(name, list(DEVICES))} "
            f"Known: {', '.join(DEVICES)}. For any other use --probe on a machine that has it."
        )
    return device
