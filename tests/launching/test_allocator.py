"""``--allocator``: the process has the library in its memory, or says that it has not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from model_foundry.errors import RecipeError
from model_foundry.launching import allocator
from tests.lab import Lab

STAND_IN = next((path for folder in ("/lib", "/usr/lib") for path in Path(folder).rglob("libdl.so.2")), None)


@pytest.mark.skipif(STAND_IN is None, reason="no library of glibc to stand in for an allocator")
def test_a_run_has_the_library_in_its_memory_and_records_it(lab: Lab) -> None:
    assert STAND_IN is not None
    library = lab.folder / "liballocator.so"
    shutil.copy(STAND_IN.resolve(), library)
    short = ("training.duration=2 updates", "schedule.warmup=0 updates", "checkpoints={}", "evaluation=[]")

    output = lab.run("--run-dir=run", f"--allocator={library}", *short)

    variables = json.loads((lab.folder / "run" / "environment.json").read_text())["variables"]
    assert variables["LD_PRELOAD"] == str(library)
    assert lab.status("run")["state"] == "finished"
    assert "cannot be preloaded" not in output


def test_what_the_loader_does_not_take_ends_the_run(lab: Lab) -> None:
    library = lab.folder / "liballocator.so"
    library.write_text("not a library")

    output = lab.run("--run-dir=run", f"--allocator={library}", status=2)

    assert f"error: --allocator {library}: the loader did not take {library} (another" in output
    assert not (lab.folder / "run").exists()


def test_an_allocator_that_is_not_there_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allocator, "_FOLDERS", ())

    with pytest.raises(RecipeError) as error:
        allocator.find_allocator("tcmalloc")

    assert str(error.value) == (
        "--allocator tcmalloc: not found. Install tcmalloc (libtcmalloc-minimal4 on Debian and Ubuntu, "
        "gperftools-libs on Fedora), give the path of its library, or leave it out."
    )


def test_the_small_tcmalloc_is_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("libtcmalloc.so.4", "libtcmalloc_minimal.so.4"):
        (tmp_path / name).touch()
    monkeypatch.setattr(allocator, "_FOLDERS", (str(tmp_path),))

    assert allocator.find_allocator("tcmalloc").name == "libtcmalloc_minimal.so.4"


def test_other_libraries_that_are_preloaded_stay() -> None:
    library = Path("/usr/lib/libtcmalloc.so.4")

    assert allocator.preloaded(library, {"LD_PRELOAD": "/a.so", "A": "b"}) == {
        "LD_PRELOAD": "/usr/lib/libtcmalloc.so.4:/a.so",
        "A": "b",
    }
