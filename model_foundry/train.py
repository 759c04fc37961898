"""The contract: ``accelerate launch -m model_foundry.train RECIPE [a.b=c ...] [--resume-from ...]``.

Also reached by ``python -m model_foundry.train``, ``torchrun -m model_foundry.train`` and ``model-foundry
train``. The recipe is checked before anything heavy is imported.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from model_foundry.errors import ModelFoundryError, RecipeError
from model_foundry.run_directory import RunDirectory

_EPILOG = """\
examples:
  python -m model_foundry.train recipes/demo.yaml
  python -m model_foundry.train my.yaml optimizer.learning_rate=3e-4 training.duration="50 updates"
  python -m model_foundry.train my.yaml --resume-from latest
  python -m model_foundry.train my.yaml --placement cpu_2_processes

exit status: 0 finished, 2 recipe or usage, 3 data, 4 diverged, 75 stopped and resumable, 1 anything else.
Launchers turn all but 0 into 1; the run's status.json has the exact outcome.
"""


def build_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=program,
        allow_abbrev=False,
        description="Train the language model that a recipe describes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", help="a recipe file, or the name of a shipped recipe such as demo")
    parser.add_argument("overrides", nargs="*", metavar="a.b=c", help="values that replace the recipe's")
    parser.add_argument("--run-dir", metavar="PATH", help="the run's folder (default: runs/<name>)")
    parser.add_argument(
        "--resume-from",
        metavar="latest|RUN|CHECKPOINT|URL",
        help="go on from the newest checkpoint that holds, or one; a URL is a mirror's folder for the run",
    )
    parser.add_argument(
        "--accept-changes",
        metavar="KEY",
        action="append",
        default=[],
        help="resume although this key of the recipe changed since the checkpoint",
    )
    parser.add_argument(
        "--placement",
        metavar="NAME|FILE",
        help="run accelerate launch with this file of accelerate_configs/, or your own: where it runs",
    )
    parser.add_argument(
        "--processes", type=int, metavar="N", help="with --placement: processes in place of the file's"
    )
    parser.add_argument(
        "--max-restarts",
        type=int,
        default=0,
        metavar="N",
        help="with --placement: after a failure start again, up to N times, from the newest checkpoint",
    )
    parser.add_argument(
        "--expect-manifest",
        metavar="SHA256",
        help="resume only from the checkpoint whose manifest has this digest (events.jsonl has each one's)",
    )
    _add_measuring(parser)
    parser.add_argument(
        "--allow-custom-code",
        action="store_true",
        help="let 'type: my_lab.part' in the recipe import your own module",
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="train the recipe's own small size (its section 'smoke') to see that everything works",
    )
    # For replays by ``model-foundry verify``: the recipe's folders, and the update to end at.
    parser.add_argument("--look-in", type=Path, action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--stop-at", type=int, help=argparse.SUPPRESS)
    return parser


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    """Add what changes how fast a run is, or shows it, and no number."""
    parser.add_argument(
        "--allocator",
        metavar="tcmalloc|PATH",
        help="begin anew under this memory allocator (LD_PRELOAD); refused where it cannot be loaded",
    )
    parser.add_argument(
        "--profile",
        metavar="FIRST..LAST",
        help="trace these updates with torch.profiler into the run's folder profile/, to open in Perfetto",
    )


def main(arguments: Sequence[str] | None = None, program: str = "python -m model_foundry.train") -> None:
    """Check the recipe, train, and end the process with the status that tells how it went."""
    options = build_parser(program).parse_intermixed_args(arguments)
    status = 0
    try:
        if options.placement is None and (options.processes is not None or options.max_restarts):
            raise RecipeError(
                "--processes and --max-restarts are for --placement NAME, which starts several processes. "
                "Name a placement such as cpu_2_processes or ddp."
            )
        if options.allocator is not None:
            from model_foundry.launching.allocator import run_under

            run_under(options.allocator, sys.argv[1:] if arguments is None else arguments)
        from model_foundry.config.load import load_recipe_with_sources

        recipe = load_recipe_with_sources(
            options.recipe,
            options.overrides,
            allow_custom_code=options.allow_custom_code,
            smoke=options.smoke,
        )
        from model_foundry.trainer import Trainer
        from model_foundry.training.stopping import die_with_parent

        die_with_parent()
        trainer = Trainer(
            recipe.config,
            run_dir=options.run_dir,
            resume_from=options.resume_from,
            recipe=recipe,
            accept_changes=tuple(options.accept_changes),
            expect_manifest=options.expect_manifest,
            look_in=options.look_in,
            stop_at=options.stop_at,
            profile=options.profile,
        )
        if options.placement is not None:
            status = _launch(options, trainer.run, sys.argv[1:] if arguments is None else arguments)
        else:
            trainer.train()
    except ModelFoundryError as error:
        _tell(error)
        status = error.exit_status
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several or multiprocessing.active_children() or is_tracker_left_behind():
        # A gloo run that succeeded may abort while Python shuts down (a callback outlives the
        # interpreter), and the shutdown would wait for a worker that is stuck. So these flush and leave
        # without it; the workers go with their parent. A tracker that hangs may wait there for its service.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _launch(options: argparse.Namespace, run: RunDirectory, arguments: Sequence[str]) -> int:
    """Start ``accelerate launch`` with the placement, and this program under it with the other arguments."""
    from model_foundry.launching.command import (
        launch,
        launch_command,
        launch_environment,
        require_no_launcher,
    )
    from model_foundry.launching.placements import find_placement

    require_no_launcher()
    placement = find_placement(options.placement)
    command = launch_command(
        placement,
        _without(arguments, ("--placement", "--processes", "--max-restarts")),
        processes=options.processes,
        max_restarts=options.max_restarts,
    )
    return launch(command, launch_environment(placement, options.processes), run)


def _without(arguments: Sequence[str], options: tuple[str, ...]) -> list[str]:
    """Return the arguments without those options and their values."""
    left: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in options:
            next(rest)
        elif not argument.startswith(tuple(f"{option}=" for option in options)):
            left.append(argument)
    return left


def is_tracker_left_behind() -> bool:
    """Whether a tracker did not finish in its time; asked without loading anything."""
    following = sys.modules.get("model_foundry.training.following")
    return following is not None and following.is_one_left_behind()


def _tell(error: ModelFoundryError) -> None:
    _tell_torchrun(error)
    if "MODEL_FOUNDRY_OUTCOME" in os.environ:
        from model_foundry.launching.command import keep_outcome

        keep_outcome(error.exit_status, str(error))
    if int(os.environ.get("RANK", "0")) == 0 or error.exit_status == 1:
        print(f"error: {error}", file=sys.stderr, flush=True)


def _tell_torchrun(error: ModelFoundryError) -> None:
    """Leave the message where torchrun looks for it: its summary, last on the screen, then shows it."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        text = f"error: {error}"
        content = {"message": text, "extraInfo": {"py_callstack": text, "timestamp": str(int(time.time()))}}
        with suppress(OSError):  # what matters is said above, too
            Path(path).write_text(json.dumps({"message": content}), encoding="utf-8")


if __name__ == "__main__":
    main()
