"""A plain PyTorch loop with our settings: what the package costs above it is the package's overhead."""

from __future__ import annotations

from benchmarks.systems import Clock, Request

FLAGS = {"plain": "without our settings: gelu_new, all logits at once, AdamW not fused, glibc as it comes"}


def run(request: Request, clock: Clock) -> int:
    """Train with the same activation, loss in chunks, fused AdamW and allocator setting as ours."""
    import torch

    from benchmarks import bare_loop
    from benchmarks.systems import _peers as peers
    from model_foundry.training.accelerator import keep_large_blocks

    plain = "plain" in request.flags
    if not plain:
        keep_large_blocks()
    model = peers.gpt2(request, "gelu_new" if plain else "gelu_pytorch_tanh")
    optimizer = bare_loop.optimizer_of(model, fused=not plain)
    windows = torch.utils.data.DataLoader(peers.Windows(request), batch_size=request.windows, shuffle=True)

    def batches():  # type: ignore[no-untyped-def]
        while True:
            for batch in windows:
                ids = batch["input_ids"]
                yield ids, torch.cat([ids[:, 1:], ids[:, :1]], dim=1)

    endless = batches()
    for update in range(request.updates):
        bare_loop.train(
            model,
            optimizer,
            endless,
            updates=range(update, update + 1),
            total=request.updates,
            peak=1e-3,
            loss_of=bare_loop.all_at_once if plain else bare_loop.in_chunks,
            precision=request.precision,
        )
        clock.stamp(update + 1)
    return peers.number_of_parameters(model)
