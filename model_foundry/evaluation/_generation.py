"""Text that a causal model writes, drawn from a generator of its own."""

from __future__ import annotations

import torch


@torch.no_grad()
def continue_ids(
    model: torch.nn.Module,
    prompt: list[int],
    *,
    tokens: int,
    context: int,
    temperature: float,
    top_p: float,
    seed: int,
    device: torch.device,
    stop_id: int | None = None,
    vocabulary: int | None = None,
) -> list[int]:
    """Return up to ``tokens`` ids that continue ``prompt``; the ambient generators are not touched.

    Args:
        model: A causal model in evaluation mode.
        prompt: At least one id.
        tokens: Length of the continuation.
        context: Positions of the model; older ids leave the window.
        temperature: 0 takes the most probable id each time.
        top_p: Draw among the most probable ids that hold this share (Holtzman et al. 2020, section 3.1).
        seed: Equal seeds give equal text.
        device: Where the model is.
        stop_id: End at this id.
        vocabulary: Entries of the tokenizer; a model's further rows are padding, and are never written.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = list(prompt)
    for _ in range(tokens):
        window = torch.tensor([ids[-context:]], device=device)
        logits_V = model(input_ids=window, use_cache=False).logits[0, -1, :vocabulary].float().cpu()
        if temperature == 0:
            chosen = int(logits_V.argmax())
        else:
            probabilities_V, order_V = torch.softmax(logits_V / temperature, 0).sort(
                descending=True, stable=True
            )
            outside_V = probabilities_V.cumsum(0) - probabilities_V >= top_p
            probabilities_V[outside_V] = 0
            chosen = int(order_V[torch.multinomial(probabilities_V, 1, generator=generator)])
        if chosen == stop_id:
            break
        ids.append(chosen)
    return ids[len(prompt) :]
