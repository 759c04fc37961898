"""The pages: what they show can be done, what they link to is there, what is made from code is fresh."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, blocks, follow, links

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("*/README.md")])
ELSEWHERE = {ROOT / "README.md", DOCS / "tutorial" / "first_run.md"}
"""Followed by ``test_readme.py`` and, from a fresh clone, by ``test_newcomer.py``."""

PLACES = ("tutorial/", "how_to/", "reference/", "explanation/")
TO_FOLLOW = [page for page in PAGES if page not in ELSEWHERE and any(blocks(page))]


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("page", TO_FOLLOW, ids=lambda page: page.stem)
def test_a_page_can_be_followed_as_it_is_printed(page: Path, tmp_path: Path):
    follow(page, tmp_path, timeout=280)


def test_the_tutorial_and_every_how_to_are_among_the_pages_that_are_followed():
    expected = {DOCS / "tutorial" / "first_run.md", *(DOCS / "how_to").glob("*.md")}

    assert len(expected) >= 5
    assert expected <= {*TO_FOLLOW, *ELSEWHERE}


def test_the_index_names_every_page_but_decisions_once():
    named = [target for target in links(DOCS / "index.md") if target.startswith(PLACES)]

    assert len(named) > 20
    assert sorted(named) == sorted(
        str(page.relative_to(DOCS)) for place in PLACES for page in (DOCS / place).glob("*.md")
    )


def test_every_kind_of_part_has_an_example_that_is_followed():
    from tests.test_contracts import CONTRACTS

    told = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "how_to").glob("add_a*.md"))
    folders = {contract.__module__.replace(".", "/") for contract in CONTRACTS}

    assert len(folders) > 8
    assert sorted(folder for folder in folders if f"{folder}/__init__.py" not in told) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path):
    missing = [target for target in links(page) if not (page.parent / target).exists()]

    assert missing == []


def test_every_page_is_reached_from_the_index():
    reached, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            targets = [(page.parent / target).resolve() for target in links(page)]
            waiting += [target for target in targets if target.suffix == ".md" and target.exists()]

    assert sorted(set(DOCS.rglob("*.md")) - reached) == []


def test_the_reference_of_recipes_is_what_the_code_says():
    script = DOCS / "generate_reference.py"
    spec = importlib.util.spec_from_file_location("generate_reference", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    fresh = module.TARGET.read_text(encoding="utf-8") == module.reference()

    assert fresh, "run: python docs/generate_reference.py"


def test_every_key_of_every_part_is_explained():
    rows = [
        line.split(" | ")
        for line in (DOCS / "reference" / "recipe.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]

    assert len(rows) > 80
    assert [row[0] for row in rows if len(row[3].strip(" |")) < 6] == []


def test_every_decision_has_a_number_of_its_own_and_is_listed():
    numbers = sorted(path.name[:4] for path in (DOCS / "decisions").glob("[0-9]*.md"))
    listed = re.findall(r"\((\d{4})-", (DOCS / "decisions" / "README.md").read_text(encoding="utf-8"))

    assert numbers == sorted(set(numbers))
    assert sorted(listed) == numbers


def test_exit_statuses_are_those_of_the_errors():
    from model_foundry import errors

    page = (DOCS / "reference" / "exit_statuses.md").read_text(encoding="utf-8")
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type)]

    assert len(classes) > 5
    for kind in classes:
        assert re.search(rf"^\| {kind.exit_status} \|.*`{kind.__name__}`", page, re.MULTILINE), kind


def commands_of(command: Any, name: str) -> dict[str, Any]:
    """Return the command, or those of a group with those of its groups, by how they are called."""
    found = {name: command}
    for verb, inner in getattr(command, "commands", {}).items():
        found |= commands_of(inner, f"{name} {verb}")
    return found


def test_the_page_of_commands_has_every_verb_and_option():
    import typer

    from model_foundry.cli import app
    from model_foundry.train import build_parser

    page = (DOCS / "reference" / "command_line.md").read_text(encoding="utf-8")
    verbs = commands_of(typer.main.get_command(app), "model-foundry")
    options = [option for verb in verbs.values() for item in verb.params for option in item.opts]
    hidden = "==SUPPRESS=="
    options += [
        option for item in build_parser("x")._actions if item.help != hidden for option in item.option_strings
    ]

    assert {f"model-foundry {verb}" for verb in ("train", "generate", "batches", "verify")} <= set(verbs)
    assert [verb for verb in verbs if verb not in page] == []
    assert [option for option in options if option.startswith("--") and option not in page] == []
