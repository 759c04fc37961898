"""Whatever a recipe holds, it is right or refused with its places: no traceback, no hang."""

from __future__ import annotations

import collections
import random
import signal
import time
from pathlib import Path
from types import FrameType

import pytest

from model_foundry.config._problems import MOST_TOLD
from model_foundry.config.load import load_recipe, load_recipe_with_sources
from model_foundry.errors import RecipeError
from tests.config.mutator import KINDS, RESOLVED, WRONG, Mutant, leaves, mutant, put, yaml

SECONDS = 30  # beyond this a recipe is said to hang
ESCAPE = "\x1b"


class Hang(BaseException):
    """Not an Exception, so that nothing swallows it."""


def hang(number: int, frame: FrameType | None) -> None:
    raise Hang


def judge(case: Mutant) -> str:
    """Load a mutant: ``right``, or ``refused`` with a message that is fit to read."""
    Path("r.yaml").write_bytes(case.data)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        loaded = load_recipe_with_sources("r.yaml", case.overrides, smoke=case.smoke)
    except RecipeError as error:
        head, *lines = str(error).split("\n")
        if len(lines) > MOST_TOLD:
            assert lines.pop().endswith(" more: mend these first")
            assert int(head.split()[1]) > len(lines) == MOST_TOLD
        else:
            assert head == f"r.yaml: {len(lines)} problem{'s' * (len(lines) != 1)}"
        assert all(line.startswith("  ") and ": " in line for line in lines)
        assert all(len(line) < 900 and ESCAPE not in line for line in lines)
        return "refused"
    except BaseException as error:
        pytest.fail(f"{type(error).__name__}: {error} of {repr(case)[:1500]}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    Path("again.yaml").write_text(loaded.resolved_text)
    assert load_recipe("again.yaml") == loaded.config
    return "right"


def judged(seed: int, number: int) -> tuple[collections.Counter[str], float]:
    """How many of so many mutants are what, and the longest that one took, in seconds."""
    draw, counts, longest = random.Random(seed), collections.Counter[str](), 0.0
    before = signal.signal(signal.SIGALRM, hang)
    try:
        for _ in range(number):
            case = mutant(draw)
            began = time.perf_counter()
            outcome = judge(case)
            longest = max(longest, time.perf_counter() - began)
            counts.update([outcome, case.kind, f"{case.kind} {outcome}"])
            if outcome == "right" or case.is_yaml():
                counts["yaml"] += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    return counts, longest


@pytest.mark.parametrize("seed", range(6))
def test_a_mutated_recipe_is_right_or_refused(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    counts, _ = judged(seed, 60)

    assert {path.name for path in tmp_path.iterdir()} <= {"r.yaml", "again.yaml"}
    assert counts["refused"] > 20
    assert counts["yaml"] >= 18
    assert counts["right"] > 0


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 110))
def test_ten_thousand_mutated_recipes_are_right_or_refused(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A thousand for each seed."""
    monkeypatch.chdir(tmp_path)
    began = time.perf_counter()

    counts, longest = judged(seed, 1_000)

    told = ", ".join(f"{kind} {counts[f'{kind} right']}/{counts[kind]}" for kind in KINDS)
    print(
        f"seed {seed}: 1000 in {time.perf_counter() - began:.0f} s, the longest {longest:.2f} s; "
        f"{counts['yaml']} are YAML, {counts['right']} right, {counts['refused']} refused; "
        f"right by kind: {told}"
    )
    assert {path.name for path in tmp_path.iterdir()} <= {"r.yaml", "again.yaml"}
    assert counts["right"] + counts["refused"] == 1_000
    assert counts["yaml"] >= 300
    assert all(counts[kind] > 50 for kind in KINDS)


@pytest.mark.parametrize("path", list(leaves(RESOLVED)), ids=lambda path: ".".join(map(str, path)))
def test_a_strange_value_is_right_or_refused_by_its_path(path: tuple[str | int, ...], tmp_path: Path):
    recipe = tmp_path / "r.yaml"
    messages = []
    for value in WRONG:
        recipe.write_text(yaml(put(RESOLVED, path, value)))

        try:
            load_recipe(recipe)
        except RecipeError as error:
            messages.append(str(error))

    assert len(messages) >= 5
    assert all(f" {path[0]}" in message for message in messages)
