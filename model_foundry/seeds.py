"""Randomness has an owner: a seed, a purpose and a position, hashed into 64 bits.

The hash is blake2b, so it is the same in every process and version (Python's ``hash`` is not).
"""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, purpose: str, *position: int) -> int:
    """Return 63 bits that depend on nothing but the arguments.

    Args:
        seed: The recipe's seed for this purpose.
        purpose: What the randomness is for, such as ``"weights"``.
        position: Where it is used, such as (epoch, window).
    """
    text = "|".join([str(seed), purpose, *map(str, position)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
