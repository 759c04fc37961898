"""Text that a causal model writes, drawn from a generator of its own."""

from __future__ import annotations

from collections.abc import Callable

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

    def next_logits(ids: list[int]) -> torch.Tensor:
        window = torch.tensor([ids[-context:]], device=device)
        logits_V: torch.Tensor = model(input_ids=window, use_cache=False).logits[0, -1, :vocabulary]
        return logits_V.float().cpu()

    return write_ids(
        next_logits, prompt, tokens=tokens, temperature=temperature, top_p=top_p, seed=seed, stop_id=stop_id
    )


def write_ids(
    next_logits: Callable[[list[int]], torch.Tensor],
    prompt: list[int],
    *,
    tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
    stop_id: int | None = None,
) -> list[int]:
    """Return up to ``tokens`` ids that continue ``prompt``, whatever says how probable the next ones are.

    Args:
        next_logits: Gives the logits (V,) of the id after those before it.
        prompt: At least one id.
        tokens: Length of the continuation.
        temperature: 0 takes the most probable id each time.
        top_p: Draw among the most probable ids that hold this share.
        seed: Equal seeds give equal text.
        stop_id: End at this id.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = list(prompt)
    for _ in range(tokens):
        logits_V = next_logits(ids)
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
