"""An optimizer around another one: the same steps, and an average of the weights in the state."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch

from model_foundry.errors import RecipeError

AVERAGE, RECENT, TRAINED = "average", "recent_weights", "trained_weights"


class Kept(torch.optim.Optimizer):
    """Lends groups and state to the optimizer inside before every step, since a load puts new ones in place.

    With ``use``, ``eval`` puts the average into the parameters and keeps the trained weights in the state,
    and ``train`` puts those back, to the last bit.
    """

    def __init__(self, inside: torch.optim.Optimizer, *, use: bool) -> None:
        if hasattr(inside, "eval"):
            raise RecipeError(
                f"averaging: {type(inside).__name__} averages its weights itself. Leave averaging out, or "
                "choose another optimizer."
            )
        self._inside, self._use = inside, use
        super().__init__(inside.param_groups, {})

    def step(self, closure: None = None) -> None:  # type: ignore[override]  # none is ever asked for
        """Let the optimizer inside take its step, and bring the average up to date."""
        moving = [
            (parameter, group)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        before = [
            None if self.state.get(parameter) else parameter.detach().clone() for parameter, _ in moving
        ]
        self._inside.param_groups, self._inside.state = self.param_groups, self.state
        self._inside.step()
        for group in self.param_groups:
            group["averaged_updates"] = group.get("averaged_updates", 0) + 1
        with torch.no_grad():
            for (parameter, group), initial in zip(moving, before, strict=True):
                self.include(parameter.detach(), self.state[parameter], group, initial)

    def eval(self) -> None:
        """Have the averaged weights in the parameters, where that was asked for."""
        if not self._use:
            return
        for parameter, state in self.state.items():
            if AVERAGE in state and TRAINED not in state:
                state[TRAINED] = parameter.detach().clone()
                parameter.detach().copy_(state[AVERAGE])

    def train(self) -> None:
        """Have the trained weights in the parameters."""
        for parameter, state in self.state.items():
            if TRAINED in state:
                parameter.detach().copy_(state.pop(TRAINED))

    @abstractmethod
    def include(
        self,
        weights: torch.Tensor,
        state: dict[str, Any],
        group: dict[str, Any],
        initial: torch.Tensor | None,
    ) -> None:
        """Bring ``state["average"]`` of a parameter up to date.

        Args:
            weights: After the update.
            state: The parameter's.
            group: Its group's; ``averaged_updates`` counts this update.
            initial: The weights before the parameter's first update, at that update.
        """


class Moving(Kept):
    """Exponential moving average."""

    def __init__(self, inside: torch.optim.Optimizer, *, use: bool, decay: float) -> None:
        super().__init__(inside, use=use)
        self._decay = decay

    def include(
        self,
        weights: torch.Tensor,
        state: dict[str, Any],
        group: dict[str, Any],
        initial: torch.Tensor | None,
    ) -> None:
        """Move the average towards the weights."""
        if initial is not None:
            state[AVERAGE] = initial
        state[AVERAGE].lerp_(weights, 1 - self._decay)


class Latest(Kept):
    """Mean of the latest weights; the oldest of them gives way to the newest."""

    def __init__(self, inside: torch.optim.Optimizer, *, use: bool, last: int, every: int) -> None:
        super().__init__(inside, use=use)
        self._last, self._every = last, every

    def include(
        self,
        weights: torch.Tensor,
        state: dict[str, Any],
        group: dict[str, Any],
        initial: torch.Tensor | None,
    ) -> None:
        """Take the weights in where their turn has come."""
        if initial is not None:
            state[RECENT] = torch.stack([torch.zeros_like(weights)] * self._last)
            state[AVERAGE] = weights.clone()
        taken, rest = divmod(group["averaged_updates"], self._every)
        if rest == 0:
            state[RECENT][(taken - 1) % self._last] = weights
        if taken == 0:
            state[AVERAGE].copy_(weights)
        elif rest == 0:
            state[AVERAGE].copy_(mean(state[RECENT][: min(taken, self._last)]))


def mean(weights: torch.Tensor) -> torch.Tensor:
    """Return the mean over the first axis, summed in float64: that of equal values is that value."""
    return weights.double().mean(dim=0).to(weights.dtype)
