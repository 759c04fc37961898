"""Log-probabilities of chosen tokens at chosen places of a batch, and nothing computed beside them.

Shape letters: B rows, T tokens a row, N chosen places, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model_foundry.errors import DataError

_LOGITS_AT_ONCE = 1 << 22
"""Values of one piece of logits: 16 MB in float32, which stays near the caches of a CPU."""

_MOST_LOGITS = 1 << 28
"""Values of the logits of a whole batch, where a model gives no others: 1 GB."""

_NAMES = ("n_positions", "max_position_embeddings")


class TokenLogProbabilities:
    """Runs a transformers model, in float32 from the logits on.

    Where the output layer follows the body with nothing between or after them, which is tried out once, it
    sees only the places that are asked for: for small models it is most of the work.
    """

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        assert not model.training, "a model is scored in evaluation mode"
        self._model = model
        self.device = device
        self._splits: bool | None = None

    def __call__(
        self,
        arguments: dict[str, torch.Tensor],
        places_N: torch.Tensor,
        targets_N: torch.Tensor,
        mass_of_V: torch.Tensor | None,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
        """Return ln p of each target at its place, and of the asked set at each place.

        Args:
            arguments: What the model is called with; ``input_ids`` (B, T) among it.
            places_N: Index into the rows laid end to end, B * T.
            targets_N: The token whose probability is wanted at each place.
            mass_of_V: Ids of a set of tokens.
        """
        with torch.inference_mode():
            arguments = {name: value.to(self.device) for name, value in arguments.items()}
            # A place with several targets has its logits computed once.
            places_M, index_N = torch.unique(places_N.to(self.device), return_inverse=True)
            targets_N = targets_N.to(self.device)
            asked = None if mass_of_V is None else mass_of_V.to(self.device)
            scores_N = torch.empty(len(targets_N), device=self.device)
            masses = None if mass_of_V is None else torch.empty(len(targets_N), device=self.device)
            begin = 0
            for logits_MV in self._logits(arguments, places_M):
                mine = ((index_N >= begin) & (index_N < begin + len(logits_MV))).nonzero()[:, 0]
                rows = index_N[mine] - begin
                logits_MV = logits_MV.float()
                if masses is None or asked is None:
                    log_p_MV = torch.log_softmax(logits_MV, dim=-1)
                    scores_N[mine] = log_p_MV[rows, targets_N[mine]]
                else:
                    log_totals_M, log_masses_M = _log_sums(logits_MV, asked)
                    scores_N[mine] = logits_MV[rows, targets_N[mine]] - log_totals_M[rows]
                    masses[mine] = log_masses_M[rows]
                begin += len(logits_MV)
        return _in_numpy(scores_N), None if masses is None else _in_numpy(masses)

    def rows_at_once(self, length: int, tokens: int) -> int:
        """Return how many rows of ``length`` make a batch of about ``tokens`` that fits in memory."""
        if not self._can_split():
            size = getattr(getattr(self._model, "config", None), "vocab_size", None) or 1
            tokens = min(tokens, _MOST_LOGITS // size)
        return max(1, tokens // max(1, length))

    def _logits(self, arguments: dict[str, Any], places_N: torch.Tensor) -> Iterator[torch.Tensor]:
        if not self._can_split():
            logits_NV = self._model(**arguments, use_cache=False).logits.flatten(0, 1)
            for piece_N in torch.split(places_N, max(1, _LOGITS_AT_ONCE // logits_NV.shape[-1])):
                yield logits_NV[piece_N]
            return
        body, head = self._body_and_head()
        hidden_ND = body(**arguments, use_cache=False).last_hidden_state.flatten(0, 1)[places_N]
        for piece_ND in torch.split(hidden_ND, max(1, _LOGITS_AT_ONCE // head.out_features)):
            yield head(piece_ND)

    def _body_and_head(self) -> tuple[Any, Any]:
        body = getattr(self._model, "base_model", None)
        head = self._model.get_output_embeddings() if body is not None else None  # type: ignore[operator]
        return body, head

    def _can_split(self) -> bool:
        if self._splits is None:
            with torch.inference_mode():
                self._splits = self._is_body_and_head()
        return self._splits

    def _is_body_and_head(self) -> bool:
        """Whether the output layer on the body's output gives the model's own logits, bit for bit."""
        body, head = self._body_and_head()
        if body is self._model or not isinstance(head, torch.nn.Linear):
            return False
        # Several tokens: the embedding of one that serves as padding is all zeros, and shows nothing.
        arguments = {"input_ids": torch.arange(min(8, head.out_features), device=self.device)[None]}
        hidden = getattr(body(**arguments, use_cache=False), "last_hidden_state", None)
        if hidden is None or hidden.shape[-1] != head.in_features:
            return False
        return torch.equal(head(hidden), self._model(**arguments, use_cache=False).logits)


def _log_sums(logits_MV: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ln of the sum of exp(logits), and of the share of it that ``ids`` have.

    One pass of exponentials and a product for both sums; exact sums where a share is too small for it.
    """
    of_V = torch.ones(logits_MV.shape[1], 2, device=logits_MV.device)
    of_V[:, 1] = 0
    of_V[ids, 1] = 1
    most_M1 = logits_MV.max(dim=1, keepdim=True).values
    log_sums_M2 = ((logits_MV - most_M1).exp_() @ of_V).log() + most_M1
    log_totals_M, log_masses_M = log_sums_M2[:, 0], log_sums_M2[:, 1] - log_sums_M2[:, 0]
    vanished_M = ~torch.isfinite(log_masses_M)
    if vanished_M.any() and len(ids):
        log_masses_M[vanished_M] = logits_MV[vanished_M][:, ids].logsumexp(1) - log_totals_M[vanished_M]
    return log_totals_M, log_masses_M


def _in_numpy(values: torch.Tensor) -> npt.NDArray[np.float64]:
    whole: npt.NDArray[np.float64] = values.double().cpu().numpy()
    return whole


def default_batch(device: torch.device) -> int:
    """Return how many tokens a forward pass takes best: few on a CPU, so that they stay in its caches."""
    return 1024 if device.type == "cpu" else 8192


def positions_of(model: torch.nn.Module) -> int | None:
    """Return how many positions a transformers model has, or None where its config sets no limit."""
    config = getattr(model, "config", None)
    found = next((value for name in _NAMES if (value := getattr(config, name, None))), None)
    for path, module in model.named_modules():  # RoBERTa and its heirs begin to count after the padding id
        if path.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            found = module.num_embeddings - offset
    return found


def require_positions(rows: Sequence[Sequence[int]], positions: int | None, around: str) -> None:
    """Refuse what does not fit.

    Raises:
        DataError: Naming the first sequence that is too long.
    """
    if positions is None:
        return
    for number, row in enumerate(rows):
        if len(row) > positions:
            raise DataError(
                f"sequence {number}: {len(row)} tokens ({around}), and the model has {positions} positions. "
                "Shorten it or leave it out."
            )


def batches_by_length(lengths: list[int], rows_at_once: Any, tokens: int) -> Iterator[list[int]]:
    """Yield the numbers of rows that go together, longest first; a batch is as wide as its first row."""
    order = sorted((number for number, length in enumerate(lengths) if length), key=lambda n: -lengths[n])
    begin = 0
    while begin < len(order):
        count = rows_at_once(lengths[order[begin]], tokens)
        yield order[begin : begin + count]
        begin += count
