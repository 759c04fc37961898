"""What a smoothing takes from the n-grams that were seen and gives to the rest, as two numbers a count."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Smoothing = Literal["witten_bell", "modified_kneser_ney"]

FALLBACK_DISCOUNTS = (0.0, 0.5, 1.0, 1.5)
"""Where counts of counts allow no estimate: all n-grams were seen often, or there are few of them."""


def discounts_of(smoothing: Smoothing, counts_R: Int64) -> tuple[tuple[float, ...], bool]:
    """Return the discount of n-grams seen 0, 1, 2, and 3 or more times, and whether it was estimated.

    Witten and Bell take nothing from a count: what unseen continuations get is added to the whole.
    Kneser and Ney's, modified: ``Y = n1 / (n1 + 2 n2)``, ``D1 = 1 - 2 Y n2 / n1``, ``D2 = 2 - 3 Y n3 / n2``,
    ``D3+ = 3 - 4 Y n4 / n3``, where ``nk`` n-grams were seen k times (Chen and Goodman 1998, TR-10-98,
    equation 26).
    """
    if smoothing == "witten_bell":
        return (0.0, 0.0, 0.0, 0.0), True
    n1, n2, n3, n4 = (int((counts_R == times).sum()) for times in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return FALLBACK_DISCOUNTS, False
    share = n1 / (n1 + 2 * n2)
    discounts = (0.0, 1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3)
    if any(not 0 <= discount <= times for times, discount in enumerate(discounts)):
        return FALLBACK_DISCOUNTS, False
    return discounts, True


def left_for_others(smoothing: Smoothing, counts_R: Int64, discounts: tuple[float, ...]) -> Float64:
    """Return what each continuation of a context leaves for the shorter context, in counts.

    Witten and Bell's is 1 for each different continuation, so ``T(h)`` in all; the denominator then is
    ``c(h) + T(h)`` (Witten and Bell 1991, method C). Kneser and Ney's is what was discounted.
    """
    if smoothing == "witten_bell":
        return (counts_R > 0).astype(np.float64)
    return np.array(discounts)[np.minimum(counts_R, 3)]
