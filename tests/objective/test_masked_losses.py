"""The masked objectives on real models: what places see, and that what is hidden can be learnt."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from model_foundry.errors import RecipeError
from model_foundry.objective import IGNORED, Batch, Objective, Row, Tokens
from model_foundry.objective.causal_lm import CausalLM
from model_foundry.objective.hybrid import Hybrid
from model_foundry.objective.masked_lm import MaskedLM
from model_foundry.training.isolation import require_isolation

VOCABULARY, LENGTH = 40, 12
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def llama() -> PreTrainedModel:
    """Obeys a mask of its own for each pair of places, so it can be trained in any direction."""
    torch.manual_seed(1)
    model: PreTrainedModel = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **SIZES))
    return model.eval()


def bert() -> PreTrainedModel:
    torch.manual_seed(1)
    config = BertConfig(vocab_size=VOCABULARY, max_position_embeddings=32, **SIZES)
    config._attn_implementation = "sdpa"
    return BertForMaskedLM(config).eval()


def ids_of(rows: int, length: int = LENGTH) -> torch.Tensor:
    return torch.randint(2, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(4))


def arranged(objective: Objective, direction: Any, rows: int) -> Batch:
    arrangement = objective.arrangement(
        Tokens(VOCABULARY, frozenset({0, 1}), 1), direction, seed=2, positions=rows
    )
    assert arrangement is not None
    tokens = ids_of(rows, LENGTH + objective.shared_tokens).numpy()
    ids = tokens[:, :LENGTH].copy()
    targets = tokens[:, 1:].copy() if objective.shared_tokens else np.full_like(ids, IGNORED)
    causal = [
        arrangement.arrange(
            Row(ids[row], targets[row], tokens[row], lambda: np.ones(LENGTH + 1, np.int64), 0, row, LENGTH)
        )
        for row in range(rows)
    ]
    batch = Batch(ids_BT=torch.from_numpy(ids), targets_BT=torch.from_numpy(targets))
    if arrangement.gives_direction:
        batch["causal_B"] = torch.tensor(causal)
    return batch


KINDS = {
    "masked_lm of a bidirectional model": (MaskedLM(mask_ratio=0.3), "bidirectional", bert),
    "masked_lm of a model that obeys masks": (MaskedLM(mask_ratio=0.3), "any", llama),
    "hybrid": (Hybrid(mask_ratio=0.3, masked="1/2"), "any", llama),
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_batch_is_learnt_by_heart(kind: str) -> None:
    objective, direction, build = KINDS[kind]
    model, batch = build(), arranged(objective, direction, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    counted = (batch["targets_BT"] != IGNORED).sum()

    for _ in range(60):
        loss = objective.loss(model, batch).total / counted
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss.item() < 0.05


@pytest.mark.parametrize("chunk", [5, 10**6])
def test_masked_nats_are_the_cross_entropy_at_the_masked_places(chunk: int) -> None:
    model, batch = bert(), arranged(MaskedLM(mask_ratio=0.3), "bidirectional", 4)

    loss = MaskedLM(mask_ratio=0.3, chunk_tokens=chunk).loss(model, batch)

    chosen = batch["targets_BT"] != IGNORED
    logits = model(input_ids=batch["ids_BT"]).logits[chosen]
    expected = functional.cross_entropy(logits, batch["targets_BT"][chosen], reduction="sum")
    assert loss.nats.item() == pytest.approx(expected.item(), rel=1e-6)


def test_causal_rows_of_a_hybrid_cost_what_they_cost_under_causal_lm() -> None:
    model, objective = llama(), Hybrid(masked="1/2")
    batch = arranged(objective, "any", 4)
    causal = batch["causal_B"]
    rows = Batch(ids_BT=batch["ids_BT"][causal], targets_BT=batch["targets_BT"][causal])

    loss = objective.loss(model, Batch(**rows, causal_B=torch.ones(2, dtype=torch.bool)))

    assert loss.nats.item() == pytest.approx(CausalLM().loss(model, rows).nats.item(), rel=1e-6)


def sees(objective: Objective, model: PreTrainedModel, batch: Batch, row: int) -> np.ndarray[Any, Any]:
    """Return a matrix: whether the logits of a place (first index) move with the token at another one."""
    with torch.no_grad():
        before = model(**objective.arguments(batch)).logits[row]
        moved = []
        for place in range(LENGTH):
            changed = Batch(**batch)
            changed["ids_BT"] = batch["ids_BT"].clone()
            changed["ids_BT"][row, place] = (batch["ids_BT"][row, place] + 1) % VOCABULARY
            logits = model(**objective.arguments(changed)).logits[row]
            moved.append(((logits - before).abs().amax(-1) > 1e-6).numpy())
    return np.stack(moved, axis=1)


def test_a_hybrids_rows_see_what_their_kind_may_see() -> None:
    model, objective = llama(), Hybrid(masked="1/2")
    batch = arranged(objective, "any", 2)

    assert batch["causal_B"].tolist() == [True, False]
    assert (sees(objective, model, batch, 0) == np.tri(LENGTH, dtype=bool)).all()
    assert sees(objective, model, batch, 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_documents_of_a_window_see_themselves_alone(kind: str) -> None:
    objective, direction, build = KINDS[kind]
    batch = arranged(objective, direction, 2)
    batch["positions_BT"] = torch.tensor([[*range(5), *range(7)]] * 2)
    batch["segments_BT"] = torch.tensor([[1] * 5 + [2] * 7] * 2)

    seen = sees(objective, build(), batch, 1)

    assert not seen[:5, 5:].any()
    assert not seen[5:, :5].any()
    assert seen[:5, :5].all()


def test_padding_is_not_seen_and_a_row_of_padding_harms_nothing() -> None:
    model, objective = bert(), MaskedLM()
    ids_BT = ids_of(3)
    segments_BT = torch.ones(3, LENGTH, dtype=torch.long)
    segments_BT[1, 7:] = segments_BT[2] = 0
    batch = Batch(ids_BT=ids_BT, segments_BT=segments_BT)

    arguments = objective.arguments(batch)
    logits = model(**arguments).logits

    assert arguments["attention_mask"].tolist() == [[1] * 12, [1] * 7 + [0] * 5, [1] * 12]
    torch.testing.assert_close(logits[1, :7], model(input_ids=ids_BT[1:2, :7]).logits[0], atol=1e-5, rtol=0)
    assert logits.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_isolation_is_proved_on_the_model_as_the_objective_calls_it(kind: str) -> None:
    objective, direction, build = KINDS[kind]

    require_isolation(build(), objective, direction, VOCABULARY, 32)


@pytest.mark.parametrize("turned", [False, True])
def test_a_leak_from_either_side_is_found(turned: bool) -> None:
    class OneSided(torch.nn.Module):
        """Sums all tokens up to a place, or from it on."""

        def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
            ids_BT = input_ids.flip(1) if turned else input_ids
            sums_BT = ids_BT.double().cumsum(1)
            return SimpleNamespace(logits=(sums_BT.flip(1) if turned else sums_BT)[..., None])

    with pytest.raises(RecipeError, match="isolate cannot be kept by OneSided"):
        require_isolation(OneSided(), MaskedLM(), "bidirectional", VOCABULARY, 32)  # type: ignore[arg-type]


def test_a_bidirectional_model_that_is_given_no_mask_is_refused() -> None:
    """The first document's logits move with the second one: what a causal model cannot do."""
    with pytest.raises(RecipeError, match=r"isolate cannot be kept by BertForMaskedLM.*document beside it"):
        require_isolation(bert(), CausalLM(), "causal", VOCABULARY, 32)
