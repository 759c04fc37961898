"""Models of 1 and 7 billion parameters on 8 and 32 devices: what a plan says, held to arithmetic on paper."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from model_foundry.config.load import load_recipe_with_sources
from model_foundry.model import Vocabulary
from model_foundry.planning.asking import Question, answer
from model_foundry.planning.need import largest_unit_bytes
from model_foundry.planning.placement import PLACEMENTS, Placement, StateBytes, on_each_device
from model_foundry.planning.states import without_contents

BYTES = 4
"""Of a number in float32, which weights, gradients and both moments of AdamW are."""


@dataclass(frozen=True)
class Olmo2:
    """OLMo 2 by its sizes: width d, feed-forward f, layers, untied embeddings of the vocabulary."""

    width: int
    feed_forward: int
    layers: int
    heads: int
    vocabulary: int = 100_352

    @property
    def layer(self) -> int:
        """Four matrices of attention, three of the feed-forward part, and four norms of width d."""
        return 4 * self.width**2 + 3 * self.width * self.feed_forward + 4 * self.width

    @property
    def rest(self) -> int:
        """Embeddings in and out, and the last norm."""
        return 2 * self.vocabulary * self.width + self.width

    @property
    def parameters(self) -> int:
        return self.layers * self.layer + self.rest

    @property
    def recipe(self) -> str:
        return (
            f"model={{type: olmo2, layers: {self.layers}, width: {self.width}, heads: {self.heads}, "
            f"feed_forward: {self.feed_forward}, positions: 4096}}"
        )

    def on_a_device(self, devices: int, placement: Placement) -> int:
        """16 bytes a parameter; with ddp 4 more, in parts a share of 16 and three of the largest unit."""
        if placement == "ddp":
            return 5 * BYTES * self.parameters
        parts = 8 if placement == "hsdp" else devices
        divided = sum(-(-count * BYTES * self.parameters // parts) for count in (1, 1, 2))
        return divided + 3 * BYTES * max(self.layer, self.rest)


MODELS = {"1B": Olmo2(2048, 8192, 16, 16), "7B": Olmo2(4096, 11_008, 32, 32)}
CASES = [(size, devices, placement) for size in MODELS for devices in (8, 32) for placement in PLACEMENTS]


@pytest.fixture(scope="module")
def built() -> dict[str, torch.nn.Module]:
    """Both models, without contents."""
    models = {}
    for size, sizes in MODELS.items():
        config = load_recipe_with_sources("olmo2_1b", [sizes.recipe]).config
        with torch.device("meta"):
            model = config.model.build(Vocabulary(sizes.vocabulary, None, 0, None), 4096)
        models[size] = without_contents(model)
    return models


@pytest.mark.parametrize(("size", "total"), [("1B", 1_484_916_736), ("7B", 7_298_617_344)])
def test_arithmetic_counts_the_parameters_that_there_are(size: str, total: int, built):
    assert MODELS[size].parameters == total  # as published for OLMo-2-0425-1B and OLMo-2-1124-7B
    assert sum(parameter.numel() for parameter in built[size].parameters()) == total


@pytest.mark.parametrize(("size", "devices", "placement"), CASES)
def test_a_device_holds_its_share_of_weights_gradients_and_moments(
    size: str, devices: int, placement: Placement, built
):
    count = BYTES * MODELS[size].parameters
    whole = StateBytes(weights=count, gradients=count, optimizer=2 * count)
    unit = largest_unit_bytes(built[size])

    found = on_each_device(whole, devices, placement, largest_unit_bytes=unit)

    assert found.total == MODELS[size].on_a_device(devices, placement)


def test_seven_billion_fit_in_parts_alone():
    seven = MODELS["7B"]

    assert [round(seven.on_a_device(8, name) / 1e9) for name in PLACEMENTS] == [146, 24, 24]
    assert [round(seven.on_a_device(32, name) / 1e9) for name in PLACEMENTS] == [146, 14, 24]
    assert (
        seven.on_a_device(32, "fsdp2") < seven.on_a_device(32, "hsdp") < 80e9 < seven.on_a_device(32, "ddp")
    )
    assert seven.on_a_device(8, "hsdp") == seven.on_a_device(8, "fsdp2") == seven.on_a_device(32, "hsdp")


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("size", MODELS)
def test_a_plan_adds_activations_and_logits_of_its_own_micro_batch(size: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = MODELS[size]
    fewer = ["data.context=512", "training.micro_batch_size=1", "training.gradient_checkpointing=true"]
    overrides = [sizes.recipe, *fewer, "tokenizer.vocab_size=100352", "evaluation=[]"]
    loaded = load_recipe_with_sources("olmo2_1b", overrides)
    for devices, placement in ((8, "ddp"), (8, "fsdp2"), (32, "fsdp2"), (32, "hsdp")):
        question = Question(
            loaded, "olmo2_1b", device="h100", devices=devices, placement=placement, with_corpus=False,
            corpus_size="1B words",
        )  # fmt: skip
        memory = answer(question, say=lambda text: None).memory

        kinds = memory.updates
        assert (kinds["weights"], kinds["optimizer"]) == (
            pytest.approx(BYTES * sizes.parameters, rel=1e-6),  # and the frequencies of RoPE
            pytest.approx(2 * BYTES * sizes.parameters, rel=1e-6),  # and a counter of steps a tensor
        )
        own = kinds["activations"] + kinds["logits"]
        assert memory.bytes == pytest.approx(sizes.on_a_device(devices, placement) + own, rel=1e-3)
