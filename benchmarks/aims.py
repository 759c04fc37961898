"""What speed and memory shall be beside other systems, and whether the measured turns reach it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.ratios import MEMORY, SPEED, Spread, Turn, best_arm, neighbours, shares_of_peak

BEST = "best"
"""In place of flags: the fastest arm of that system with tcmalloc."""


@dataclass(frozen=True)
class Aim:
    """Ours beside another arm; without an aim for a size the ratio is reported and judged by nobody."""

    what: str
    ours: str
    other: str
    precisions: tuple[str, ...]
    speed: dict[str, float] = field(default_factory=dict)
    """By size, the least ratio of tokens a second."""

    memory: dict[str, float] = field(default_factory=dict)
    """By size, the largest ratio of peak memory."""


AIMS = (
    Aim(
        "HF Trainer, both at their defaults",
        "ours",
        "hf_trainer",
        ("bf16",),
        {"small": 1.4, "medium": 1.9},
        {"small": 0.62, "medium": 0.55},
    ),
    Aim("HF Trainer, both at their defaults", "ours", "hf_trainer", ("fp32",), {"small": 1.2, "medium": 1.2}),
    Aim(
        "HF Trainer, both at their best with tcmalloc",
        f"ours+{BEST}",
        f"hf_trainer+{BEST}",
        ("bf16",),
        {"small": 1.08, "medium": 1.15},
    ),
    Aim(
        "nanoGPT's compiled script, both with tcmalloc",
        f"ours+{BEST}",
        "nanogpt+compile+tcmalloc",
        ("fp32",),
        {"small": 1.1, "medium": 1.1},
    ),
    Aim(
        "a bare loop with the same settings",
        "ours",
        "bare_loop",
        ("bf16", "fp32"),
        {"small": 0.98, "medium": 0.98},
    ),
    Aim("Accelerate's example pattern", "ours", "accelerate_example", ("bf16", "fp32")),
    Aim("two processes of one thread beside one of two", "ours+processes2", "ours", ("bf16", "fp32")),
)

SHARES = {("small", "bf16"): 0.55, ("medium", "bf16"): 0.65}
"""Least share of the matrix-multiply peak, for our best arm with tcmalloc."""


def resolved(arm: str, turns: Sequence[Turn]) -> str | None:
    """Return the arm that is meant, or None where it was not measured."""
    system, *flags = arm.split("+")
    return best_arm(turns, system, "tcmalloc") if flags == [BEST] else arm


def rows(turns: Sequence[Turn], peaks: Sequence[Turn], size: str, precision: str) -> Iterator[str]:
    """Yield a row of Markdown for each aim of a size and precision; ``turns`` and ``peaks`` are theirs."""
    for aim in (aim for aim in AIMS if precision in aim.precisions):
        ours, other = resolved(aim.ours, turns), resolved(aim.other, turns)
        for key, name, wanted in ((SPEED, "tokens/s", aim.speed), (MEMORY, "peak memory", aim.memory)):
            found = neighbours(turns, ours, other, key) if ours and other else None
            arms = f"`{ours or aim.ours}` / `{other or aim.other}`"
            yield row(f"{aim.what}: {name}", arms, found, wanted.get(size), at_least=key == SPEED)
    if (size, precision) in SHARES:
        best = best_arm(turns, "ours", "tcmalloc")
        share = shares_of_peak(turns, peaks, best) if best else None
        arm = f"`{best or 'ours+' + BEST}`"
        yield row("share of the matrix-multiply peak", arm, share, SHARES[size, precision], at_least=True)


def row(what: str, arms: str, found: Spread | None, wanted: float | None, *, at_least: bool) -> str:
    """Return a row: what is compared, its ratio, the aim and whether it is reached."""
    aim = "-" if wanted is None else f"at {'least' if at_least else 'most'} {wanted:g}"
    if found is None:
        return f"| {what} | {arms} | not measured | | {aim} | |"
    reached = "" if wanted is None else verdict(found, wanted, at_least=at_least)
    return f"| {what} | {arms} | {found.text()} | {found.count} | {aim} | {reached} |"


def verdict(found: Spread, wanted: float, *, at_least: bool) -> str:
    """Return whether the median reaches the aim."""
    is_reached = found.median >= wanted if at_least else found.median <= wanted
    return "reached" if is_reached else "**missed**"
