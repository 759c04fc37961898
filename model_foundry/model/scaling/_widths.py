"""The same architecture at another width: heads keep their size, so there are more or fewer of them."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from model_foundry.errors import RecipeError
from model_foundry.model import Architecture

WIDTHS = ("width", "hidden_size", "n_embd", "d_model")
HEADS = ("heads", "num_attention_heads", "n_head")
FEED_FORWARD = ("feed_forward", "intermediate_size", "n_inner", "moe_intermediate_size")
PROPORTIONAL = (*HEADS, "kv_heads", "num_key_value_heads", *FEED_FORWARD)
"""What grows with the width, by the names that architectures give it."""

AnyArchitecture = TypeVar("AnyArchitecture", bound=Architecture)


def at_width(architecture: AnyArchitecture, width: int) -> AnyArchitecture:
    """Return ``architecture`` with another width, and all that is proportional to it.

    Raises:
        RecipeError: When it states no width, or a number of heads or a size would not be whole.
    """
    section = architecture.model_dump(exclude_none=True)
    section.pop("type")
    old = section[_stated(architecture, section, "width", WIDTHS)]
    if architecture.model_extra is not None:  # what is not stated has a default that no width moves
        _stated(architecture, section, "number of heads", HEADS)
        _stated(architecture, section, "feed-forward size", FEED_FORWARD)
    for name in [*WIDTHS, *PROPORTIONAL]:
        value = section.get(name)
        if isinstance(value, int):
            scaled, rest = divmod(value * width, old)
            if rest or not scaled:
                raise RecipeError(
                    f"model.{name}: {value} at width {old} is {value * width / old:g} at width {width}, and "
                    "must be whole. Choose widths that are multiples of "
                    f"{old // math.gcd(old, *(section[key] for key in PROPORTIONAL if key in section))}."
                )
            section[name] = scaled
    return type(architecture).model_validate(section)


def _stated(architecture: Architecture, section: dict[str, Any], what: str, names: tuple[str, ...]) -> str:
    """Return the name under which a size is stated."""
    found = next((name for name in names if isinstance(section.get(name), int)), None)
    if found is None:
        raise RecipeError(
            f"model: {architecture.part_name()} states no {what} ({', '.join(names)}), so there are no "
            "copies of other widths. State width, heads and feed-forward size in the recipe."
        )
    return found
