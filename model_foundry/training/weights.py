"""Which weights a model holds: those that are trained, or those that are meant for use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def weights_for_use(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Have the weights for use in the model: what is measured and saved within holds them.

    Most optimizers train the weights that are used. One that does not, such as ``schedule_free``, exchanges
    them in ``eval()`` and ``train()``.
    """
    exchange = getattr(optimizer, "eval", None)
    if exchange is not None:
        exchange()
    try:
        yield
    finally:
        weights_for_training(optimizer)


def weights_for_training(optimizer: torch.optim.Optimizer) -> None:
    """Have the trained weights in the model; also after a load, since a checkpoint holds those for use."""
    exchange = getattr(optimizer, "train", None)
    if exchange is not None:
        exchange()
