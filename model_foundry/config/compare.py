"""What differs between two recipes, and what each difference means for a run that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from model_foundry.errors import CheckpointError

Meaning = Literal["free", "trajectory", "identity"]

_FREE = (
    "schema", "name", "logging", "evaluation", "samples", "tracking", "checkpoints",
    "training.max_time", "data.workers",
    "training.on_nonfinite", "training.hang_timeout", "training.start_timeout",
    "training.replica_check",
)  # fmt: skip
_IDENTITY = (
    "model",
    "tokenizer",
    "corpus",
    "seed",
    "seeds",
    "data",
    "init_from",
    "initialization",
    "scaling",
    "objective",
    "training.batch_size",
    "training.batch_warmup",
)
_MISSING = "not set"


@dataclass(frozen=True)
class Change:
    """One key whose value is another one now."""

    key: str
    then: Any
    now: Any
    meaning: Meaning

    def __str__(self) -> str:
        return f"{self.key} was {self.then} then and is {self.now} now"


def recipe_changes(then: dict[str, Any], now: dict[str, Any]) -> list[Change]:
    """Return the differences of two resolved recipes, in the order of their keys.

    ``free``: cannot touch the weights. ``identity``: the run would be another one. All else changes the
    trajectory; so does the duration, except under a schedule that does not depend on it. The batch size is of
    the run's identity because the place in the data follows from updates: with another one, text would be
    lost or repeated. So is the duration where the batch grows over a share of it.
    """
    old, new = dict(leaves(then)), dict(leaves(now))
    changed = [key for key in {**old, **new} if old.get(key, _MISSING) != new.get(key, _MISSING)]
    duration: Meaning = "trajectory"
    if _is_independent_of_duration(then) and _is_independent_of_duration(now):
        duration = "free"
    if _grows_over_a_share(then):
        duration = "identity"
    return [
        Change(key, old.get(key, _MISSING), new.get(key, _MISSING), _meaning(key, duration))
        for key in sorted(changed)
    ]


def refuse_changes(changes: list[Change], accepted: tuple[str, ...], where: str) -> None:
    """Refuse to go on where a difference needs a decision.

    Args:
        changes: What differs.
        accepted: Keys (or sections) whose change of trajectory the user accepts.
        where: Name of the checkpoint, for the message.

    Raises:
        CheckpointError: Naming every difference that stands in the way, and what to do about it.
    """
    identity = [change for change in changes if change.meaning == "identity"]
    trajectory = [
        change for change in changes if change.meaning == "trajectory" and not _is_under(change.key, accepted)
    ]
    lines = []
    if identity:
        lines += [f"  {change}" for change in identity]
        lines.append(
            "  These make it another run: restore them to resume this one, or start a new run folder."
        )
    if trajectory:
        lines += [f"  {change}" for change in trajectory]
        keys = " ".join(f"--accept-changes {change.key}" for change in trajectory)
        lines.append(f"  These change the trajectory from here on. To accept that: {keys}")
    if lines:
        raise CheckpointError(
            f"{where} belongs to another recipe:\n" + "\n".join(lines), reason="recipe_changed"
        )


def _meaning(key: str, duration: Meaning) -> Meaning:
    if key == "training.duration":
        return duration
    if _is_under(key, _FREE):
        return "free"
    return "identity" if _is_under(key, _IDENTITY) else "trajectory"


def _is_independent_of_duration(recipe: dict[str, Any]) -> bool:
    schedule = recipe.get("schedule", {})
    if any(stage["until"].endswith("%") for stage in recipe.get("data", {}).get("context_warmup", [])):
        return False
    if any(source.get("max_epochs") for source in recipe.get("corpus", {}).get("sources", [])):
        return False  # how much of each source is left depends on the length
    return schedule.get("type") == "constant" and not str(schedule.get("warmup", "")).endswith("%")


def _grows_over_a_share(recipe: dict[str, Any]) -> bool:
    warmup = recipe.get("training", {}).get("batch_warmup")
    return warmup is not None and str(warmup["over"]).endswith("%")


def _is_under(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(section + ".") for section in sections)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every single value of nested sections and lists with its dotted key."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}.{index}")
    else:
        yield path, value
