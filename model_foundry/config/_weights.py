"""Rules on how weights begin: taken from a folder, drawn, or scaled by the width."""

from __future__ import annotations

from collections.abc import Iterator

from model_foundry.config._problems import Finding
from model_foundry.config.schema import ExperimentConfig


def init_from(config: ExperimentConfig) -> Iterator[Finding]:
    """Refuse two ways to begin."""
    path, name = config.init_from, config.initialization.part_name()
    if path is not None and (name != "pretrained" or getattr(config.initialization, "path", None) != path):
        yield Finding(
            ("init_from",),
            f"found '{path}' beside initialization {name}, expected one of the two: the weights are taken or "
            "drawn. Leave one out",
            (("initialization",),),
        )


def scaling(config: ExperimentConfig) -> Iterator[Finding]:
    """Refuse what settles the width beside what does so, too."""
    if config.scaling is None:
        return
    initialization, optimizer = config.initialization.part_name(), config.optimizer.part_name()
    if initialization == "pretrained":
        yield Finding(
            ("scaling",),
            "found scaling beside weights that are taken from a folder, expected none: it settles what is "
            "drawn. Leave it out",
            (("initialization",),),
        )
    if config.initialization.depends_on_width:
        yield Finding(
            ("initialization",),
            f"found {initialization}, which follows the width by itself, expected gpt2, truncated_normal or "
            "zero_residual beside scaling: what the width does is settled there",
            (("scaling",),),
        )
    if optimizer != "adamw":
        yield Finding(
            ("optimizer", "type"),
            f"found {optimizer}, expected adamw beside scaling, whose learning rates are derived for Adam",
            (("scaling",),),
        )
