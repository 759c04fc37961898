"""The pattern of Accelerate's own examples: prepare everything, then a loop over batches."""

from __future__ import annotations

from benchmarks.systems import Clock, Request

FLAGS = {
    "fused": "AdamW with fused=True",
    "tanh": "activation gelu_pytorch_tanh: GPT-2's own function in one kernel",
}


def run(request: Request, clock: Clock) -> int:
    """Train as ``examples/nlp_example.py`` of Accelerate does, with clipping at 1.0."""
    import torch
    from accelerate import Accelerator
    from torch.utils.data import DataLoader
    from transformers import get_cosine_schedule_with_warmup

    from benchmarks.systems import _peers as peers

    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), mixed_precision="bf16" if request.precision == "bf16" else "no"
    )
    model = peers.gpt2(request, "gelu_pytorch_tanh" if "tanh" in request.flags else "gelu_new")
    parameters = peers.number_of_parameters(model)
    chosen = {"fused": True} if "fused" in request.flags else {}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, **chosen)
    loader = DataLoader(peers.Windows(request), batch_size=request.windows, shuffle=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, 1, request.updates)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    updates = 0
    while True:
        for batch in loader:
            loss = model(**batch).loss
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            updates += 1
            clock.stamp(updates)
            if updates == request.updates:
                return parameters
