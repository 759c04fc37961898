"""What is committed holds nothing of the machine that it was written on, and nothing that is made anew."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Written in pieces, so that this file does not hold what it looks for.
PATHS_OF_A_MACHINE = re.compile(
    r"(?<![\w.~-])/(?:root|work|farm|" + r"home/\w+|Users/\w+|opt/pypi)(?:/|\b(?=['\"`\s]))"
)
HOSTS_OF_REGISTRIES = re.compile(
    "|".join(["pypi" + r"\.org", "files" + r"\.pythonhosted", "registry" + r"\.npmjs", "deb" + r"\.debian"])
)
LARGEST_FILE_BYTES = 200_000


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Every file that git knows and that is there."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout: what is tracked cannot be told")
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],  # CI may run as another user than the owner
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file()]


def lines_with(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    """Return file, line and text of every match, in pictures too."""
    texts = ((file, file.read_text(encoding="utf-8", errors="replace")) for file in files)
    return [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for file, text in texts
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_file_holds_a_path_of_one_machine(tracked: list[Path]):
    assert lines_with(PATHS_OF_A_MACHINE, tracked) == []


def test_no_file_names_the_host_of_a_package_registry(tracked: list[Path]):
    assert lines_with(HOSTS_OF_REGISTRIES, tracked) == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (PATHS_OF_A_MACHINE, "cd /" + "work/main"),
        (PATHS_OF_A_MACHINE, 'path = "/' + 'root/.cache"'),
        (PATHS_OF_A_MACHINE, "in /" + "home/ada/texts"),
        (HOSTS_OF_REGISTRIES, "https://" + "pypi" + ".org/simple"),
    ],
)
def test_what_may_not_stand_there_would_be_noticed(pattern: re.Pattern[str], line: str):
    assert pattern.search(line)


@pytest.mark.parametrize(
    "line",
    ["a rank/" + "work split", "./" + "work/x", "https://example.org/" + "root-cause", "runs/" + "root/x"],
)
def test_ordinary_words_are_not_taken_for_paths_of_a_machine(line: str):
    assert not PATHS_OF_A_MACHINE.search(line)


def test_nothing_large_is_tracked(tracked: list[Path]):
    large = [str(file.relative_to(ROOT)) for file in tracked if file.stat().st_size > LARGEST_FILE_BYTES]

    assert large == []


def test_every_dependency_is_pinned_exactly_and_within_its_range():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    versions = {canonicalize_name(name): version for name, version in pins.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [
        Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["dev"]
    ]

    wrong = [
        str(requirement)
        for requirement in declared
        if not requirement.specifier.contains(versions.get(canonicalize_name(requirement.name), "0"))
    ]

    assert declared
    assert wrong == []
    assert all("+" not in version for version in pins.values()), "a local version exists on one index only"
