"""The memory of updates beside what torch keeps for real, and the heap beside arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model_foundry.config.load import load_recipe
from model_foundry.config.schema import ExperimentConfig
from model_foundry.model import Vocabulary
from model_foundry.objective import Batch, Tokens
from model_foundry.planning.heap import Heap
from model_foundry.planning.memory import MicroBatches, Shape, trace

CONTEXT, ROWS, SIZE = 32, 4, 64
MODELS = {
    "gpt2": "{type: gpt2, layers: 2, width: 32, heads: 2, dropout: 0.1}",
    "llama": "{type: llama, layers: 2, width: 32, heads: 2, feed_forward: 64}",
    "bert": "{type: bert, layers: 2, width: 32, heads: 2, feed_forward: 64}",
    "lstm": "{type: lstm, layers: 1, hidden: 32, embedding: 32}",
}
TINY = [f"data.context={CONTEXT}", f"tokenizer.vocab_size={SIZE + 256}", "evaluation=[]", "samples=null"]


def tiny(*overrides: str, model: str = "gpt2") -> ExperimentConfig:
    return load_recipe("demo", [f"model={MODELS[model]}", *TINY, *overrides])


def shape(rounds: int = 1) -> Shape:
    return Shape(Vocabulary(SIZE, eos_id=0), Tokens(SIZE, frozenset({0}), 1), ROWS, rounds)


def saved_for_backward(config: ExperimentConfig) -> tuple[int, int]:
    """The bytes that a real forward pass saves, parameters left out, and those of the parameters."""
    model = config.model.build(shape().vocabulary, CONTEXT).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(0, SIZE, (ROWS, CONTEXT))
    batch: Batch = {"ids_BT": ids, "targets_BT": ids}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = config.objective.loss(model, batch)
    assert loss.total.requires_grad
    return sum(storage.nbytes() for storage in saved.values()), sum(t.nbytes for t in model.parameters())


@pytest.mark.parametrize("model", ["gpt2", "llama", "lstm"])
def test_activations_are_what_a_real_forward_pass_saves_and_a_little_more(model: str):
    config = tiny(model=model)
    saved, weights = saved_for_backward(config)

    found = trace(config, shape(), updates=1).fullest["updates"]

    # Beside what is saved there are, at the fullest moment, the batch and what one operation works on.
    assert found["weights"] >= weights
    assert saved <= found["activations"] + found["logits"] + found["gradients"] <= 1.35 * saved


def test_gradients_and_moments_are_as_large_as_the_weights_where_micro_batches_follow():
    found = trace(tiny(), shape(rounds=3)).fullest["updates"]

    parameters = sum(tensor.nbytes for tensor in tiny().model.build(shape().vocabulary, CONTEXT).parameters())
    assert found["gradients"] == parameters
    assert 2 * parameters <= found["optimizer"] <= 2.01 * parameters


def test_recomputing_and_half_precision_keep_fewer_activations():
    deep = ["model.layers=6", *TINY]
    plain, recomputed, half = (
        trace(load_recipe("demo", [*deep, *changed]), shape()).fullest["updates"]["activations"]
        for changed in ([], ["training.gradient_checkpointing=true"], ["training.precision=bf16"])
    )

    assert recomputed < plain / 2
    assert half < plain


def test_chunks_of_the_loss_hold_fewer_logits():
    few = trace(tiny("objective={type: causal_lm, chunk_tokens: 16}"), shape()).fullest["updates"]
    all_at_once = trace(tiny(), shape()).fullest["updates"]

    assert few["logits"] < all_at_once["logits"] or few["logits"] <= 2 * 16 * SIZE * 4


def test_evaluations_hold_the_logits_of_a_whole_batch():
    config = load_recipe("demo", ["model.layers=1", "data.context=32"])
    large = Shape(Vocabulary(2048, eos_id=0), Tokens(2048, frozenset({0}), None), ROWS, rounds=1)

    found = trace(config, large).fullest["evaluations"]

    assert found["logits"] == 2 * 8192 * 2048 * 4  # the logits, and their log-probabilities


@pytest.mark.parametrize("ratio", ["5%", "40%", "95%"])
def test_masked_objectives_count_the_share_of_places_that_they_mask(ratio: str):
    config = tiny(f"objective={{type: masked_lm, mask_ratio: {ratio}}}", model="bert")

    full = MicroBatches(config, shape()).counted_share
    half_padded = MicroBatches(config, replace(shape(), filled_share=0.5)).counted_share

    assert full == pytest.approx(float(ratio[:-1]) / 100, abs=0.05)
    assert half_padded == full / 2


def test_nothing_is_allocated_for_a_model_that_no_machine_here_holds():
    config = load_recipe("olmo2_1b", ["model.layers=2"])

    found = trace(config, Shape(Vocabulary(100_278, eos_id=0), Tokens(100_278, frozenset({0}), None), 4, 2))

    assert found.fullest["updates"]["weights"] > 10**9
    assert found.fullest["updates"]["optimizer"] == pytest.approx(
        2 * found.fullest["updates"]["weights"], rel=0.01
    )


def test_a_heap_takes_the_smallest_hole_that_is_large_enough_and_grows_else():
    heap = Heap()
    first, wall, second, last = (heap.allocate(size) for size in (100_000, 64, 50_000, 64))
    end = heap.most_bytes

    heap.free(first)
    heap.free(second)
    inside = heap.allocate(40_000)
    again = heap.allocate(90_000)

    assert wall[0] < inside[0] < last[0]
    assert again[0] < wall[0]
    assert heap.most_bytes == end
    heap.allocate(100_000)
    assert heap.most_bytes > end


def test_a_hole_does_not_hold_a_tensor_of_its_own_size():
    heap = Heap()
    first, _ = heap.allocate(100_000), heap.allocate(64)
    heap.free((first[0], first[1]))
    before = heap.most_bytes

    heap.allocate(100_000)
    heap.allocate(100_000)

    assert heap.most_bytes >= before + 100_000


def test_neighbours_that_are_free_become_one():
    heap = Heap()
    blocks = [heap.allocate(50_000) for _ in range(3)]
    heap.allocate(64)
    for block in blocks:
        heap.free(block)
    end = heap.most_bytes

    heap.allocate(140_000)

    assert heap.most_bytes == end
