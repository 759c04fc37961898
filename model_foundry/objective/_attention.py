"""What each place of an arranged row may see, as models take it.

Shape letters: B windows, T places a window.
"""

from __future__ import annotations

from typing import Any

import torch

from model_foundry.objective import Batch


def with_mask(arguments: dict[str, Any], batch: Batch) -> dict[str, Any]:
    """Add positions and a mask where the batch needs them; nothing where every place sees its whole row.

    A mask is (B, T), one where a place may be seen, where rows are only padded; else (B, 1, T, T), true where
    the row's place may see the column's. Padding sees padding, so that no place sees nothing.
    """
    segments_BT, causal_B = batch.get("segments_BT"), batch.get("causal_B")
    if "positions_BT" in batch:
        arguments["position_ids"] = batch["positions_BT"]
    elif causal_B is None:
        if segments_BT is not None:
            is_empty_B1 = (segments_BT == 0).all(dim=1, keepdim=True)
            arguments["attention_mask"] = ((segments_BT > 0) | is_empty_B1).long()
        return arguments
    if segments_BT is None:
        segments_BT = torch.ones_like(batch["ids_BT"])
    may_see_BTT = segments_BT[:, :, None] == segments_BT[:, None, :]
    if causal_B is not None:
        length = segments_BT.shape[1]
        behind_TT = torch.ones(length, length, dtype=torch.bool, device=segments_BT.device).triu(1)
        may_see_BTT &= ~(causal_B[:, None, None] & behind_TT)
    arguments["attention_mask"] = may_see_BTT[:, None]
    return arguments
