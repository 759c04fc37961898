from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from model_foundry import load_recipe
from model_foundry.errors import DataError, ModelFoundryError, ResourceError
from model_foundry.running.outcome import as_known
from tests.lab import RECIPE

RUN = Path("runs/tiny")


@pytest.fixture
def config(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return load_recipe(tmp_path / "recipe.yaml", ["training.micro_batch_size=4"])


def test_an_error_of_ours_is_told_as_it_is(config):
    error = DataError("a.txt: no such file")

    assert as_known(error, config, RUN) is error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 1.2 GiB for an array"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you ..."
        ),
        RuntimeError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB."
        ),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
    ],
)
def test_memory_that_ran_out_says_what_was_asked_what_there_is_and_what_to_lower(config, error):
    known = as_known(error, config, RUN)

    assert isinstance(known, ResourceError)
    assert (known.exit_status, known.reason) == (1, "out_of_memory")
    text = str(known)
    assert text.startswith(
        f"memory ran out: {str(error).rstrip('.') or 'no size is known'}. This machine has "
    )
    assert text.endswith(
        " Lower training.micro_batch_size (now 4; an update stays what it is), or data.context (now 16), or "
        "set training.gradient_checkpointing: true, or take a smaller model."
    )


def test_what_is_set_already_is_not_advised(config):
    training = config.training.model_copy(update={"gradient_checkpointing": True})

    known = as_known(MemoryError(), config.model_copy(update={"training": training}), RUN)

    assert "gradient_checkpointing" not in str(known)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG])
def test_a_disk_that_refuses_is_named_with_the_file(config, number):
    known = as_known(OSError(number, os.strerror(number), "runs/tiny/metrics.jsonl"), config, RUN)

    assert isinstance(known, ResourceError)
    assert known.reason == "io_error"
    assert str(known) == (
        f"runs/tiny/metrics.jsonl: {os.strerror(number)}. Make room or let it be written, then go on with "
        "--resume-from latest."
    )


def test_a_write_without_a_name_is_the_run_s(config):
    assert str(as_known(OSError(errno.ENOSPC, "No space left on device"), config, RUN)).startswith(
        "runs/tiny: No "
    )


def test_anything_else_says_where_the_traceback_is(config):
    known = as_known(ZeroDivisionError("division by zero"), config, RUN)

    assert type(known) is ModelFoundryError
    assert (known.exit_status, known.reason) == (1, "internal")
    assert str(known) == (
        "ZeroDivisionError: division by zero. No mistake of the recipe is known to give this; please report "
        "it with the traceback in runs/tiny/logs."
    )
