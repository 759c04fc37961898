"""``model-foundry checkpoints``: what checkpoints a run has, whether they hold, and which may go."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model_foundry.cli._panels import RUN
from model_foundry.errors import CheckpointError, RunDirectoryError

if TYPE_CHECKING:
    from model_foundry.training.checkpoint_files import Checkpoint

_COLUMNS = ("updates", "tokens", "words", "epoch", "size", "holds", "resumable", "milestone", "alias")
Run = Annotated[Path, typer.Argument(help="The folder of a run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verbs."""
    group = typer.Typer(no_args_is_help=True, help="List, verify and prune the checkpoints of a run.")
    group.command("list")(_list)
    group.command("verify")(_verify)
    group.command("prune")(_prune)
    app.add_typer(group, name="checkpoints", rich_help_panel=RUN)


def _list(run: Run, as_json: AsJson = False) -> None:
    """Show the checkpoints of a run, newest first; every byte of each is checked.

    Example: model-foundry checkpoints list runs/demo
    """
    rows = [_row(path) for path in _published(run)]
    if as_json:
        typer.echo(json.dumps({"run": str(run), "checkpoints": rows}, ensure_ascii=False))
        return
    typer.echo(_table(rows) if rows else f"{run}: no checkpoint yet.")


def _verify(run: Run, as_json: AsJson = False) -> None:
    """Check every byte of every checkpoint of a run; exit status 2 where one does not hold.

    Example: model-foundry checkpoints verify runs/demo
    """
    rows = [_row(path) for path in _published(run)]
    bad = [row for row in rows if not row["verified"]]
    if as_json:
        typer.echo(json.dumps({"run": str(run), "checked": len(rows), "bad": bad}, ensure_ascii=False))
    elif not bad:
        typer.echo(f"{run}: {len(rows)} checkpoints, all of them hold.")
    if bad:
        lines = "\n  ".join(f"{row['name']}: {row['problem']}" for row in bad)
        raise CheckpointError(
            f"{run}: {len(bad)} of {len(rows)} checkpoints do not hold:\n  {lines}\n"
            "Restore them from a copy, or remove their folders; a resume passes over them."
        )


def _prune(
    run: Run,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Resumable states to keep (default: the recipe's keep_resumable)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what the run itself would: resumable states but the newest; milestones keep their weights.

    Damaged checkpoints and those of other runs are left alone, and do not count as kept.

    Example: model-foundry checkpoints prune runs/demo --keep 1 --dry-run
    """
    from model_foundry.run_directory import RunDirectory
    from model_foundry.training.retention import Retention

    _published(run)
    directory = RunDirectory(run)
    if not dry_run:
        directory.open(resume=True)  # nobody else may be writing here
    try:
        run_id = directory.status().get("run_id")
        if not isinstance(run_id, str):
            raise RunDirectoryError(
                f"{run}: status.json does not say which run this is, so no checkpoint can be told to be its "
                "own. Remove folders by hand."
            )
        retention = Retention(directory.checkpoints, run_id, keep or _kept_by_recipe(directory.checkpoints))
        gone = [
            _removal(checkpoint, keeps_weights=retention.keeps_weights(checkpoint))
            for checkpoint in retention.outdated()
        ]
        if not dry_run:
            retention.prune()
            retention.settle()
    finally:
        directory.close()
    if as_json:
        typer.echo(json.dumps({"run": str(run), "dry_run": dry_run, "removed": gone}, ensure_ascii=False))
        return
    for item in gone:
        what = "whole" if item["removed"] == "checkpoint" else "resumable state; the weights stay"
        typer.echo(f"{item['name']}: {what}, {_size(item['bytes'])}")
    total = _size(sum(item["bytes"] for item in gone))
    typer.echo(f"{'would free' if dry_run else 'freed'} {total} ({len(gone)} checkpoints)")


def _published(run: Path) -> list[Path]:
    from model_foundry.training.checkpoint_files import published

    if not (run / "checkpoints").is_dir():
        raise RunDirectoryError(
            f"{run}: not a run: there is no folder checkpoints in it. Name a run's folder."
        )
    return published(run / "checkpoints")


def _row(path: Path) -> dict[str, Any]:
    from model_foundry.manifest import ManifestError
    from model_foundry.training.aliases import read_aliases
    from model_foundry.training.best import read_best
    from model_foundry.training.checkpoint_files import verify_checkpoint

    names = [name for name, target in read_aliases(path.parent).items() if target == path.name]
    try:
        checkpoint = verify_checkpoint(path)
    except (ManifestError, OSError) as error:
        return {"name": path.name, "verified": False, "problem": str(error), "aliases": names}
    record, best = checkpoint.record, read_best(path.parent)
    return {
        "name": path.name,
        **{key: record[key] for key in ("updates", "tokens", "words")},
        "epoch": record.get("epoch"),
        "bytes": checkpoint.bytes,
        "verified": True,
        "resumable": checkpoint.is_resumable,
        "milestone": bool(checkpoint.manifest.get("milestone")),
        "best": best is not None and best.checkpoint == path.name,
        "aliases": names,
        "manifest": checkpoint.manifest["digest"],
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [_COLUMNS, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    cells = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in cells)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if not row["verified"]:
        number = row["name"].removeprefix("checkpoint-")
        return (number, "", "", "", "", f"NO: {row['problem']}", "", "", " ".join(row["aliases"]))
    epoch = "" if row["epoch"] is None else f"{row['epoch']:.2f}"
    counts = (f"{row['updates']:,}", f"{row['tokens']:,}", f"{row['words']:,}", epoch, _size(row["bytes"]))
    flags = tuple("yes" if row[key] else "no" for key in ("verified", "resumable", "milestone"))
    names = [*row["aliases"], *(["best"] if row["best"] else [])]
    return (*counts, *flags, " ".join(names))


def _removal(checkpoint: Checkpoint, *, keeps_weights: bool) -> dict[str, Any]:
    """Say what pruning takes from a checkpoint."""
    files = checkpoint.manifest["files"].items()
    size = sum(facts["size"] for name, facts in files if not keeps_weights or name.startswith("state/"))
    removed = "state" if keeps_weights else "checkpoint"
    return {"name": checkpoint.path.name, "removed": removed, "bytes": size}


def _kept_by_recipe(folder: Path) -> int:
    """Return how many resumable states the recipe of the newest checkpoint that holds says to keep."""
    from model_foundry.manifest import ManifestError
    from model_foundry.training.checkpoint_files import published, verify_checkpoint

    for path in published(folder):
        with suppress(ManifestError, OSError):
            checkpoints = verify_checkpoint(path).record["recipe"].get("checkpoints", {})
            if isinstance(kept := checkpoints.get("keep_resumable"), int) and kept > 0:
                return kept
    return 2


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
