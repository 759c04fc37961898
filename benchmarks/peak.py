"""How fast this machine multiplies matrices: the most that training could reach.

    python -m benchmarks.peak [--precision bf16|fp32] [--size small]

Square products into memory that is there already, with the threads that torch takes (OMP_NUM_THREADS); of
each size the median, of the sizes the fastest. Prints one JSON object, with what a token of the model costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from benchmarks.sizes import SIZES

EDGES = (1024, 2048, 4096)
_UNTIMED = 3


def operations_a_second(edge: int, dtype: torch.dtype, device: str, seconds: float) -> float:
    """Return 2 * edge^3 over the median time of products, which are repeated for so many seconds."""
    left, right = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))
    into = torch.empty_like(left)
    took: list[float] = []
    while len(took) < _UNTIMED + 3 or sum(took[_UNTIMED:]) < seconds:
        began = time.perf_counter()
        torch.mm(left, right, out=into)
        if device == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - began)
    return 2 * edge**3 / statistics.median(took[_UNTIMED:])


def flops_per_token(size: dict[str, int]) -> int:
    """Return the operations that a token costs, by the formula of ``model-foundry plan``."""
    from transformers.models.gpt2 import GPT2Config, GPT2LMHeadModel

    from benchmarks.overhead import settings_of
    from model_foundry.model.counting import flops_per_token as counted

    with torch.device("meta"):
        return counted(GPT2LMHeadModel(GPT2Config(**settings_of(size)["model"])), size["context"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--size", choices=SIZES, default="small")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    edges, seconds = (EDGES[:1], 0.05) if options.size == "tiny" else (EDGES, 1.0)
    found = {edge: operations_a_second(edge, dtype, device, seconds) for edge in edges}
    content = {
        "by_edge": found,
        "operations_per_second": max(found.values()),
        "flops_per_token": flops_per_token(SIZES[options.size]),
    }
    print(json.dumps(content))


if __name__ == "__main__":
    main()
