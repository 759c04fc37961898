"""The same architecture at another width: heads keep their size, so there are more or fewer of them."""

from __future__ import annotations

from typing import TypeVar

from model_foundry.errors import RecipeError
from model_foundry.model import Architecture

WIDTHS = ("width", "hidden_size", "n_embd", "d_model")
PROPORTIONAL = (
    *("heads", "num_attention_heads", "n_head"),
    *("kv_heads", "num_key_value_heads"),
    *("feed_forward", "intermediate_size", "n_inner", "moe_intermediate_size"),
)
"""What grows with the width, by the names that architectures give it."""

AnyArchitecture = TypeVar("AnyArchitecture", bound=Architecture)


def width_of(architecture: Architecture) -> int:
    """Return the width that a recipe's ``model`` states.

    Raises:
        RecipeError: When it states none.
    """
    for name in WIDTHS:
        value = getattr(architecture, name, None)
        if isinstance(value, int):
            return value
    raise RecipeError(
        f"model: {architecture.part_name()} states no width ({', '.join(WIDTHS)}), so there are no narrow "
        "copies of it. State width, heads and feed-forward size in the recipe."
    )


def at_width(architecture: AnyArchitecture, width: int) -> AnyArchitecture:
    """Return ``architecture`` with another width, and all that is proportional to it.

    Raises:
        RecipeError: When it states no width, or a number of heads or a size would not be whole.
    """
    old = width_of(architecture)
    section = architecture.model_dump(exclude_none=True)
    section.pop("type")
    for name in [*WIDTHS, *PROPORTIONAL]:
        value = section.get(name)
        if isinstance(value, int):
            scaled, rest = divmod(value * width, old)
            if rest or not scaled:
                raise RecipeError(
                    f"model.{name}: {value} at width {old} is {value * width / old:g} at width {width}, and "
                    "must be whole. Choose widths that are multiples of "
                    f"{old // _common(architecture, old)}."
                )
            section[name] = scaled
    return type(architecture).model_validate(section)


def _common(architecture: Architecture, width: int) -> int:
    """Return the greatest number that divides the width and all that is proportional to it."""
    import math

    sizes = [getattr(architecture, name, None) for name in PROPORTIONAL]
    return math.gcd(width, *(size for size in sizes if isinstance(size, int)))
