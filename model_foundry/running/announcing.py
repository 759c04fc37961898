"""Events of a run in words, for the screen: what happened beside updates, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Facts = dict[str, Any]

TOLD_OTHERWISE = {
    "start": "the summary before the first update",
    "resume": "the summary before the first update",
    "finish": "the last lines of a run",
    "preempted": "the error that ends the run",
    "failed": "the error that ends the run",
    "diverged": "the error that ends the run",
    "refused": "the error that ends the command",
    "branch": "the command that made it",
    "save": "its checkpoint, once that is published",
    "save_failed": "the log, on the console",
    "tracker_failed": "the log, on the console",
    "mirror_failed": "the log, on the console",
    "checkpoint_passed_over": "the log, on the console",
}
"""Kinds of events that a person sees in another way, and where."""


def in_words(kind: str, facts: Facts) -> str | None:
    """Return an event as a line for the screen; None for those that are told otherwise."""
    words = _WORDS.get(kind)
    return None if words is None else f"  {words(facts)}"


def _slow_data(facts: Facts) -> str:
    more = facts["workers"] * 2 or 2
    return (
        f"slow data: updates waited {facts['share']:.0%} of the last {facts['seconds']:.0f} s for their "
        f"batches (data.workers is {facts['workers']}). Raise it to {more} at the next resume, which changes "
        "no number; or move the token cache to a faster disk (MODEL_FOUNDRY_CACHE)."
    )


def _non_finite(facts: Facts) -> str:
    return (
        f"not finite: the loss or the gradient of update {facts['update']} (loss {facts['loss_nats']} nats, "
        f"norm of the gradient {facts['grad_norm']}); training.on_nonfinite: {facts['policy']}. Its windows "
        "are in events.jsonl."
    )


def _checkpoint(facts: Facts) -> str:
    return f"{facts['name']} is saved" + ("" if facts["resumable"] else " (weights alone)")


def _retention(facts: Facts) -> str:
    what = "was removed" if facts["what"] == "all" else "keeps its weights alone from now on"
    count = facts.get("keep_resumable")
    why = "it is the best no longer" if count is None else f"checkpoints.keep_resumable: {count}"
    return f"{facts['name']} {what} ({why})"


_WORDS: dict[str, Callable[[Facts], str]] = {
    "slow_data": _slow_data,
    "non_finite": _non_finite,
    "rewind": lambda facts: f"went back to {facts['checkpoint']}",
    "checkpoint": _checkpoint,
    "retention": _retention,
    "mirrored": lambda facts: f"{facts['name']} is copied to {facts['to']}",
}
