"""Trainer of transformers, at its defaults: it shifts the labels itself and computes all logits at once."""

from __future__ import annotations

from benchmarks.systems import Clock, Request

FLAGS = {
    "compile": "torch_compile=True",
    "fused": "optim=adamw_torch_fused (the default from torch 2.8 on)",
    "tanh": "activation gelu_pytorch_tanh: GPT-2's own function in one kernel",
}


def run(request: Request, clock: Clock) -> int:
    """Train with what run_clm sets, and no evaluation, checkpoint or tracker."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from benchmarks.systems import _peers as peers

    class Stamp(TrainerCallback):
        def on_step_end(self, args, state, control, **others):  # type: ignore[no-untyped-def]
            clock.stamp(state.global_step)

    model = peers.gpt2(request, "gelu_pytorch_tanh" if "tanh" in request.flags else "gelu_new")
    chosen = {"optim": "adamw_torch_fused"} if "fused" in request.flags else {}
    arguments = TrainingArguments(
        output_dir=request.folder,
        per_device_train_batch_size=request.windows,
        max_steps=request.updates,
        learning_rate=1e-3,
        weight_decay=0.1,
        adam_beta2=0.95,
        lr_scheduler_type="cosine",
        bf16=request.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        torch_compile="compile" in request.flags,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **chosen,
    )
    Trainer(model, arguments, train_dataset=peers.Windows(request), callbacks=[Stamp()]).train()
    return peers.number_of_parameters(model)
