"""Memory of a run, followed on fake tensors: shapes, types and lifetimes without contents.

The recipe's own model, objective and optimizer take updates, so whatever they keep and for how long is what
the run keeps: activations for the backward pass, logits in chunks, moments, averages. Nothing is allocated,
whatever the size. What kernels take inside and give back before they return is not seen.

Shape letters: B rows, T tokens a row, V vocabulary.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model_foundry.planning.heap import Block, Heap
from model_foundry.planning.states import pretended

Kind = Literal["weights", "gradients", "optimizer", "activations", "logits"]
KINDS: tuple[Kind, ...] = ("weights", "gradients", "optimizer", "activations", "logits")
"""``activations`` are what the backward pass needs, and everything that lives for a moment."""

_aten = torch.ops.aten


Stage = Literal["updates", "evaluations"]
Bytes = dict[Kind, int]


@dataclass(frozen=True)
class Traced:
    """The fullest moments of what was followed."""

    fullest: dict[Stage, Bytes]
    """By what went on: the bytes of each kind at that moment."""

    heap_bytes: int
    """Where a heap's end would have been at most, holes between tensors included."""

    def most_bytes(self) -> int:
        """Return the bytes of the fullest moment of all."""
        return max(sum(kinds.values()) for kinds in self.fullest.values())


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every piece of memory that comes and goes while it is entered.

    Args:
        vocabulary: Size of the last axis by which logits are known.
        counted_share: Share of the places of a row whose targets are counted, for selections by a mask.
    """

    def __init__(self, vocabulary: int, counted_share: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._vocabulary, self._counted_share = vocabulary, counted_share
        self.stage: Stage = "updates"
        """What goes on now."""

        self._events: list[tuple[int, int, Stage]] = []
        self._kinds: list[Kind] = []
        self._known: weakref.WeakKeyDictionary[torch.UntypedStorage, int] = weakref.WeakKeyDictionary()

    def note(self, tensors: Iterable[Any], kind: Kind | None = None) -> None:
        """Say of which kind some tensors are; those that are not known yet come into being here."""
        for tensor in tensors:
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            number = self._known.get(storage)
            if number is None:
                number, size = len(self._kinds), storage.nbytes()
                self._known[storage] = number
                self._kinds.append(kind or self._kind_of(tensor))
                self._events.append((number, size, self.stage))
                weakref.finalize(storage, self._gone, number, size)
            elif kind is not None:
                self._kinds[number] = kind

    def traced(self) -> Traced:
        """Return what was followed so far."""
        live = dict.fromkeys(KINDS, 0)
        total, most = 0, dict[Stage, int]()
        fullest: dict[Stage, Bytes] = {}
        heap, blocks = Heap(), dict[int, Block]()
        for number, size, stage in self._events:
            live[self._kinds[number]] += size
            total += size
            if total > most.get(stage, -1):
                most[stage], fullest[stage] = total, dict(live)
            if size > 0:
                blocks[number] = heap.allocate(size)
            elif number in blocks:
                heap.free(blocks.pop(number))
        return Traced(fullest, heap.most_bytes)

    def _gone(self, number: int, size: int) -> None:
        self._events.append((number, -size, self.stage))

    def _kind_of(self, tensor: torch.Tensor) -> Kind:
        is_logits = tensor.ndim >= 2 and tensor.shape[-1] == self._vocabulary
        return "logits" if is_logits else "activations"

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation on fake tensors, and note what it made."""
        if func is _aten._local_scalar_dense.default:
            dtype = args[0].dtype
            return self._counted_share >= 1 if dtype == torch.bool else pretended(dtype)
        made = self._selected(args) if _selects(func, args) else func(*args, **(kwargs or {}))
        if func is _aten.mkldnn_rnn_layer.default:
            made = (*made[:3], self._workspace(*args))
        self.note(tree_leaves(made))
        return made

    def _selected(self, args: tuple[Any, ...]) -> torch.Tensor:
        """Return what a mask selects, by the share that it selects in the mean."""
        tensor, (mask, *_) = args
        chosen = max(1, round(mask.numel() * self._counted_share))
        selected: torch.Tensor = tensor.new_empty((chosen, *tensor.shape[mask.ndim :]))
        return selected

    def _workspace(self, tokens_TBD: torch.Tensor, *args: Any) -> torch.Tensor:
        """Return what oneDNN keeps of a recurrent layer for its backward pass, which torch's meta leaves out.

        About 16 numbers for each place and hidden unit: 15.4 to 16.5 in torch 2.13, for widths 32 to 650.
        """
        length, rows, hidden = *tokens_TBD.shape[:2], args[9]
        return tokens_TBD.new_empty(16 * 4 * length * rows * hidden, dtype=torch.uint8)


def _selects(func: Any, args: tuple[Any, ...]) -> bool:
    return func is _aten.index.Tensor and args[1][0] is not None and args[1][0].dtype == torch.bool


@contextmanager
def without_memory() -> Iterator[None]:
    """Make every tensor a fake one on the CPU: it has shape, type and lifetime, and no contents."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # heavy; a run does not need it

    with FakeTensorMode(allow_non_fake_inputs=True):
        yield
