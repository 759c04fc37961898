"""What holds for every verb, found by walking the command: heading, example, quick help, JSON, no colours.

A new verb is tested unasked. Where it needs more than its name, the failing test says what to write where.
"""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.cli._panels import PANELS
from tests.lab import FINISHED, RECIPE, Lab
from tests.texts import write_texts

WRITERS = {  # what they make is a file or a run; all other verbs read, and print JSON when asked to
    "train", "average", "branch", "import", "report", "export", "prepare", "recipe copy", "recipe init",
    "launch slurm", "launch sky", "tokenizer train",
}  # fmt: skip
RUN = "runs/tiny"
CALLS = {  # one call of each verb that reads, beside a finished run
    "acquisition": f"{RUN} --suite inside",
    "batches": f"{RUN} --update 1",
    "check": "recipe.yaml",
    "checkpoints list": RUN,
    "checkpoints prune": f"{RUN} --dry-run",
    "checkpoints verify": RUN,
    "compare": f"{RUN} {RUN}",
    "coordinate-check": "recipe.yaml training.batch_size=2 --widths 8,16 --updates 1",
    "doctor": "",
    "evaluate": f"{RUN} --suite perplexity --checkpoints last",
    "generate": f"{RUN} ba --tokens 3",
    "ngram": f"{RUN} --order 2",
    "plan": "recipe.yaml",
    "recipe diff": "recipe.yaml recipe.yaml",
    "recipe list": "",
    "recipe schema": "",
    "recipe show": "recipe.yaml",
    "runs list": "",
    "surprisal": f"{RUN} items.txt",
    "tokenizer compare": f"{RUN} recipe.yaml --on items.txt",
    "tokenizer report": f"{RUN} --on items.txt",
    "verify": RUN,
    "watch": RUN,
}
MAY_END_IN_1 = {"coordinate-check", "doctor"}  # by what they find
HERE = "tests/cli/test_every_verb.py"
ESCAPE = "\x1b"
NAME, MAIN = "model-foundry", "from model_foundry.cli import main; main()"


def leaves(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb with the words that call it; of a group, those of its verbs."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for verb, below in inner.items():
        yield from leaves(below, f"{name} {verb}".strip())


TOP = typer.main.get_command(app)
VERBS = dict(leaves(TOP))
READING = sorted(set(VERBS) - WRITERS)


def test_the_walk_finds_the_verbs():
    assert {"train", "check", "recipe show", "recipe diff", "checkpoints prune"} <= set(VERBS)
    assert len(READING) >= 18


@pytest.mark.parametrize("name", TOP.commands)  # type: ignore[attr-defined]
def test_a_verb_stands_under_a_heading(name: str):
    panel = TOP.commands[name].rich_help_panel  # type: ignore[attr-defined]

    assert panel in PANELS, (
        f'{name}: give it a heading of --help: app.command("{name}", rich_help_panel=RUN), with one of '
        f"{', '.join(PANELS)} from model_foundry/cli/_panels.py"
    )


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_has_an_example_in_its_help(name: str):
    assert f"Example: model-foundry {name}" in (VERBS[name].help or ""), (
        f"{name}: end its docstring with a line 'Example: model-foundry {name} ...'"
    )


@pytest.mark.parametrize("name", READING)
def test_a_verb_that_reads_has_json(name: str):
    options = {option for item in VERBS[name].params for option in item.opts}

    assert "--json" in options, (
        f"{name}: give it --json (one JSON object, or one a line); or, if what it makes is a file, name "
        f"it in WRITERS of {HERE}"
    )


def test_help_of_all_verbs_has_no_colours_in_a_pipe_and_waits_for_no_torch():
    code = [
        "import sys",
        "from typer.testing import CliRunner",
        "from model_foundry.cli import app",
        f"for name in {['', *VERBS]!r}:",
        "    done = CliRunner().invoke(app, [*name.split(), '--help'])",
        "    assert done.exit_code == 0, name",
        "    print(done.stdout)",
        "heavy = {'torch', 'transformers', 'accelerate', 'datasets', 'pandas'} & set(sys.modules)",
        "assert not heavy, heavy",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "coordinate-check" in done.stdout
    assert ESCAPE not in done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run and files to look at."""
    folder = tmp_path_factory.mktemp("verbs")
    write_texts(folder / "texts", documents=30, words=60)
    (folder / "items.txt").write_text("ba be bo\nbo ba\n")
    suite = "{type: surprisal, path: items.txt, at: checkpoints, name: inside}"
    recipe = RECIPE.replace("evaluation: [", f"evaluation: [{suite}, ") + FINISHED
    recipe = recipe.replace("24 updates", "8 updates").replace("4 updates, f", "1 updates, f")
    (folder / "recipe.yaml").write_text(recipe)
    Lab(folder).run()
    return folder


@pytest.mark.parametrize("name", READING)
def test_what_a_verb_prints_with_json_is_json_and_nothing_else(
    name: str, finished: Path, monkeypatch: pytest.MonkeyPatch
):
    assert name in CALLS, f"{name}: say in CALLS of {HERE} how it is called beside a finished run"
    monkeypatch.chdir(finished)

    done = CliRunner().invoke(app, [*name.split(), *shlex.split(CALLS[name]), "--json"])

    assert done.exit_code == 0 or (name in MAY_END_IN_1 and done.exit_code == 1), done
    lines = done.stdout.splitlines()
    assert lines
    for line in lines:
        assert isinstance(json.loads(line, parse_constant=refuse), dict)


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@pytest.mark.parametrize("name", sorted(set(READING) - {"coordinate-check", "doctor", "verify"}))
def test_what_a_verb_prints_in_a_pipe_has_no_escapes(
    name: str, finished: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(finished)
    monkeypatch.setenv("TERM", "xterm-256color")

    done = CliRunner().invoke(app, [*name.split(), *shlex.split(CALLS[name])])

    assert done.exit_code == 0, done
    assert done.output
    assert ESCAPE not in done.output


def test_the_files_of_a_run_have_no_escapes(finished: Path):
    files = [
        path for path in (finished / RUN).rglob("*") if path.suffix in (".txt", ".log", ".jsonl", ".json")
    ]

    assert any(path.parent.name == "logs" for path in files)
    assert [path for path in files if ESCAPE.encode() in path.read_bytes()] == []


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """Run the command on a terminal of its own and return all that it wrote there."""
    inside, outside = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "model_foundry", *arguments],
        stdin=outside, stdout=outside, stderr=outside,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment},
    )  # fmt: skip
    os.close(outside)
    written = b""
    while True:
        try:
            piece = os.read(inside, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not piece:
            break
        written += piece
    os.close(inside)
    child.wait()
    return written.decode()


def test_a_terminal_has_colours_unless_no_color_is_set():
    assert ESCAPE in on_a_terminal("check", "--help")
    plain = on_a_terminal("check", "--help", NO_COLOR="1")
    assert "Example: model-foundry check" in plain
    assert ESCAPE not in plain
    assert ESCAPE not in on_a_terminal("chekc", NO_COLOR="1")


def test_completion_is_offered_for_verbs_and_recipes():
    def asked(**variables: str) -> str:
        # The name under which the shell calls it decides the variable's.
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.argv = ['{NAME}']; {MAIN}"],
            env={**os.environ, **variables}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout

    def completed(words: str) -> list[str]:
        place = str(words.count(" "))
        return asked(_MODEL_FOUNDRY_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=place).split()

    assert "recipe" in completed("model-foundry rec")
    assert "demo" in completed("model-foundry check de")
    # What --show-completion prints, without a look for the shell: a test may run under none.
    assert "_MODEL_FOUNDRY_COMPLETE=complete_bash" in asked(_MODEL_FOUNDRY_COMPLETE="source_bash")
