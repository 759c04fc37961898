from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model_foundry.batch_schedule import BatchRamp
from model_foundry.config.compare import recipe_changes
from model_foundry.data.loader import PADDING, UpdateSampler
from model_foundry.errors import RecipeError
from model_foundry.model import Vocabulary
from model_foundry.model.gpt2 import GPT2
from model_foundry.model.gru import GRU
from model_foundry.training import compiling
from model_foundry.training.compiling import as_written, blocks, decide
from tests.lab import Lab

CPU = torch.device("cpu")
WORDS = Vocabulary(64, None, 0, None)


@pytest.fixture
def small_model() -> Any:
    model = GPT2(layers=2, width=16, heads=2).build(WORDS, 16)
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2, generator=generator)
    return model


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A backend without a compiler: runs what was captured, and notes each capture."""
    seen: list[int] = []

    def run(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        seen.append(len(inputs))
        return graph.forward

    monkeypatch.setattr(compiling, "BACKEND", run)
    yield seen
    torch.compiler.reset()


def plan(**facts: Any) -> Any:
    known = {"micro_batch_size": 8, "processes": 1, "flops": 1e12, "batch_warmup": None, "context_warmup": ()}
    return SimpleNamespace(**{**known, **facts})


def ids(rows: int, places: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(rows)
    return {"input_ids": torch.randint(64, (rows, places), generator=generator), "use_cache": False}


@pytest.mark.parametrize("mode", ["regions", "model"])
def test_what_is_compiled_gives_the_same_logits_gradients_and_names(mode, small_model, captures):
    small_model.eval()  # no dropout
    plain = small_model(**ids(4, 16)).logits
    plain.sum().backward()
    gradients = {name: weight.grad.clone() for name, weight in small_model.named_parameters()}
    names = list(small_model.state_dict())
    small_model.zero_grad()

    decide(mode, small_model, plan(), "fp32", CPU).apply(small_model)
    compiled = small_model(**ids(4, 16)).logits
    compiled.sum().backward()

    assert captures
    torch.testing.assert_close(compiled, plain, rtol=0, atol=1e-6)
    for name, weight in small_model.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-5, atol=1e-6)
    assert list(small_model.state_dict()) == names


def test_blocks_share_what_is_compiled_and_each_shape_is_compiled_once(small_model, captures):
    decide("regions", small_model, plan(), "fp32", CPU).apply(small_model)

    for shape in [(4, 16), (4, 16), (8, 8), (4, 16), (8, 8)]:
        small_model(**ids(*shape))

    assert len(captures) == 2


def test_a_model_runs_as_it_is_written_for_a_while(small_model, captures):
    decide("regions", small_model, plan(), "fp32", CPU).apply(small_model)

    with as_written(small_model):
        small_model(**ids(2, 16))
    assert captures == []

    small_model(**ids(2, 16))
    assert len(captures) == 1


def test_blocks_are_the_layers_with_attention(small_model):
    assert blocks(small_model) == list(small_model.transformer.h)


def test_auto_compiles_where_the_run_is_long_enough_to_repay_it(small_model, captures):
    long = decide("auto", small_model, plan(flops=1.5e14), "fp32", CPU)  # 1,500 s, of which 75 are saved
    short = decide("auto", small_model, plan(flops=9e13), "fp32", CPU)
    shared = decide("auto", small_model, plan(flops=1.5e14, processes=2), "fp32", CPU)

    assert (long.mode, long.because) == ("regions", "about 75 s saved, and 60 s for 1 shape")
    assert (short.mode, short.because) == (False, "about 45 s saved, and 60 s for 1 shape")
    assert short.sizes == ()
    assert shared.mode is False


def test_a_growing_batch_has_micro_batches_of_half_the_size_too(small_model, captures):
    stages = (SimpleNamespace(until=5, context=8),)
    grows = plan(micro_batch_size=6, batch_warmup=BatchRamp(2, 5, None), context_warmup=stages)

    found = decide("regions", small_model, grows, "fp32", CPU)

    assert found.sizes == (6, 3, 2, 1)
    assert found.shapes == 8


def test_micro_batches_are_filled_up_to_the_next_size():
    course: Any = SimpleNamespace(span=lambda update: range(update * 11, update * 11 + 11))
    sampler = UpdateSampler(course, start=0, stop=1, micro_batch_size=4, processes=2, sizes=(4, 2))

    assert list(sampler) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, PADDING], [PADDING, PADDING]]


def test_a_recurrent_model_is_not_compiled(captures):
    model = GRU(layers=1, hidden=16).build(WORDS, 16)

    with pytest.raises(RecipeError, match=r"training\.compile: regions: .* has no blocks with attention, .*"):
        decide("regions", model, plan(), "fp32", CPU)

    assert decide("auto", model, plan(flops=1e20), "fp32", CPU).mode is False


def test_a_missing_compiler_is_named_and_auto_does_without(small_model, monkeypatch):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))

    with pytest.raises(RecipeError) as error:
        decide("model", small_model, plan(), "fp32", CPU)

    assert str(error.value) == (
        "training.compile: model: compiling for a CPU needs a C++ compiler, and none was found (g++, or what "
        "the variable CXX names). Install g++ (the package build-essential on Debian and Ubuntu), or name "
        "one in CXX. Or set training.compile to false, or to auto."
    )
    assert decide("auto", small_model, plan(flops=1e20), "fp32", CPU).mode is False


def test_another_compilation_changes_the_trajectory_of_a_run():
    then, now = ({"training": {"compile": value}} for value in (False, "regions"))

    assert [change.meaning for change in recipe_changes(then, now)] == ["trajectory"]


DRY = ("model.dropout=0.0", "training.gradient_checkpointing=true", "training.micro_batch_size=3")
CHUNKS = "objective={type: causal_lm, chunk_tokens: 16}"


def names_of(lab: Lab, run: str) -> list[str]:
    return sorted(load_file(lab.folder / run / "checkpoints/checkpoint-8/model.safetensors"))


def losses(lab: Lab, run: str) -> list[float]:
    return [line["loss"] for line in lab.metrics(run) if "loss" in line]


def test_a_compiled_run_has_the_losses_of_a_plain_one(lab, monkeypatch):
    """With recomputed activations, the loss in chunks, a growing batch, evaluations and checkpoints."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    warmup = "training.batch_warmup={from: 2, over: 50%}"
    always = (*DRY, CHUNKS, warmup, "training.duration=8 updates")
    status, output = lab.ends("--run-dir=plain", *always)
    assert status == 0, output

    for mode, processes in (("regions", 2), ("model", 1)):
        compiled = (f"--run-dir={mode}", f"training.compile={mode}")
        status, output = lab.ends(*compiled, *always, processes=processes)

        assert status == 0, output
        assert f"compile {mode} (the recipe says so)" in output
        assert "Warning" not in output
        assert losses(lab, mode) == pytest.approx(losses(lab, "plain"), abs=2e-5)
        plan = json.loads((lab.folder / mode / "plan.json").read_text())
        assert plan["compile"] == {
            **{"mode": mode, "because": "the recipe says so"},
            **{"sizes": [3, 2, 1], "shapes": 3},
        }
        assert names_of(lab, mode) == names_of(lab, "plain")


@pytest.mark.nightly
def test_inductor_keeps_losses_and_a_killed_run_goes_on_bit_by_bit(lab: Lab, tmp_path: Path):
    lab.environment["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path / "cache")
    always, compiled = (CHUNKS, "training.micro_batch_size=3"), "training.compile=regions"
    lab.run("--run-dir=plain", *always, "model.dropout=0.0")
    lab.run("--run-dir=dry", *always, "model.dropout=0.0", compiled)
    lab.run("--run-dir=straight", *always, compiled)

    lab.kill_at(14, "killed", *always, compiled)
    lab.run("--run-dir=killed", "--resume-from=latest", *always, compiled)

    assert losses(lab, "dry") == pytest.approx(losses(lab, "plain"), abs=1e-4)
    assert lab.weights("killed") == lab.weights("straight")
    assert lab.metrics("killed") == lab.metrics("straight")
