"""Published initialisations: each class of tensors has its formula's deviation, on all architectures."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPTNeoXConfig, PreTrainedModel

from model_foundry.errors import RecipeError
from model_foundry.model import Vocabulary
from model_foundry.model.initialization import Drawing, Initialization, verify
from model_foundry.model.initialization._distributions import (
    Constant,
    Normal,
    TimeStep,
    TruncatedNormal,
    Uniform,
)
from model_foundry.model.initialization.gpt2 import GPT2Initialization
from model_foundry.model.initialization.inverse_sqrt_width import InverseSqrtWidth
from model_foundry.model.initialization.ltg import LTGInitialization
from model_foundry.model.initialization.mamba import MambaInitialization
from model_foundry.model.initialization.recurrent import RecurrentInitialization
from model_foundry.model.initialization.small_init import SmallInit
from model_foundry.model.initialization.truncated_normal import TruncatedNormalInitialization
from model_foundry.model.initialization.zero_residual import ZeroResidual
from model_foundry.model.llama import Llama
from tests.model.initialization.models import LAYERS, NAMES, STATE_SPACE, WIDTH, build, recurrent

RESIDUAL = r"(o_proj|down_proj|out_proj|attention\.dense|dense_4h_to_h|output\.dense|Wo)(\.weight)?$"
FEED_FORWARD = r"layers?\.\d\.(mlp|intermediate|output)\.(?!gate\.)"
TRANSFORMERS = [name for name in NAMES if name not in STATE_SPACE]
CUT_3, CUT_2 = 0.98658, 0.87963  # deviation left by a cut at 3 and 2: scipy.stats.truncnorm(-c, c).std()
SMALL = math.sqrt(2 / (5 * WIDTH))

PUBLISHED: dict[str, tuple[Initialization, list[tuple[str, float]]]] = {  # the first pattern that fits counts
    "gpt2": (GPT2Initialization(), [(RESIDUAL, 0.02 / 2), ("", 0.02)]),
    "small_init": (SmallInit(), [(RESIDUAL, 2 / (LAYERS * math.sqrt(WIDTH))), ("", SMALL)]),
    "truncated_normal": (TruncatedNormalInitialization(), [("", 0.02 * CUT_3)]),
    "bert": (TruncatedNormalInitialization(cutoff=2), [("", 0.02 * CUT_2)]),
    "inverse_sqrt_width": (InverseSqrtWidth(), [(RESIDUAL, 1 / 16), ("", 1 / 8)]),
    "inverse_sqrt_width_alone": (InverseSqrtWidth(scale_residual=False), [("", 1 / 8)]),
    "ltg": (
        LTGInitialization(),
        [
            (FEED_FORWARD.replace(r"\d", "0"), SMALL * CUT_2 / math.sqrt(2)),
            (FEED_FORWARD.replace(r"\d", "1"), SMALL * CUT_2 / 2),
            ("", SMALL * CUT_2),
        ],
    ),
    "zero_residual": (ZeroResidual(std=0.03), [(RESIDUAL, 0.0), ("", 0.03)]),
}


def initialized(initialization: Initialization, model: PreTrainedModel, seed: int = 1) -> PreTrainedModel:
    initialization.initialize(model, torch.Generator().manual_seed(seed))
    return model


def classes(model: PreTrainedModel, formulas: list[tuple[str, float]]) -> dict[float, torch.Tensor]:
    """Return the values of all matrices by the standard deviation that they should have."""
    found: dict[float, list[torch.Tensor]] = {}
    rows = {id(part.weight): part.padding_idx for part in model.modules() if isinstance(part, nn.Embedding)}
    for name, matrix in model.named_parameters():
        if matrix.ndim < 2:
            continue
        std = next(std for pattern, std in formulas if re.search(pattern, name))
        kept = torch.arange(len(matrix)) != rows.get(id(matrix))
        found.setdefault(std, []).append(matrix.detach()[kept].flatten())
    return {std: torch.cat(values) for std, values in found.items()}


@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.parametrize("published", PUBLISHED)
def test_each_class_of_matrices_has_its_deviation_within_three_standard_errors(published: str, name: str):
    initialization, formulas = PUBLISHED[published]

    model = initialized(initialization, build(name))

    found = classes(model, formulas)
    assert len(found) == len(formulas)
    for std, values in found.items():
        assert values.std().item() == pytest.approx(
            std, abs=3 * std / math.sqrt(2 * len(values)) + 1e-5 * std
        )
        assert values.mean().item() == pytest.approx(0, abs=4 * std / math.sqrt(len(values)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("published", PUBLISHED)
def test_biases_are_zero_and_norms_one_and_nothing_is_forgotten(published: str, name: str):
    model = initialized(PUBLISHED[published][0], build(name))

    for key, parameter in model.named_parameters():
        assert parameter.isfinite().all(), key
        if parameter.ndim == 1 and not re.search(r"A_log|D$|dt_|conv1d", key):
            assert set(parameter.tolist()) == {0.0 if key.endswith("bias") else 1.0}, key


def test_the_published_numbers_are_met():
    pythia_70m = GPTNeoXConfig(hidden_size=512, num_hidden_layers=6, num_attention_heads=8)
    smollm = Llama(layers=30, width=576, heads=9, kv_heads=3, feed_forward=1536)
    with torch.device("meta"):
        neox = build("GPTNeoX", **pythia_70m.to_diff_dict())
        llama = smollm.build(Vocabulary(64), 8)

    pythia = {item.kind: item.distribution.moments.std for item in SmallInit().drawings(neox)}
    smol = {item.kind: item.distribution.moments.std for item in InverseSqrtWidth().drawings(llama)}

    assert pythia["matrix"] == pythia["embedding"] == pythia["output"] == pytest.approx(0.0279508, abs=1e-7)
    assert pythia["residual"] == pytest.approx(0.0147314, abs=1e-7)
    assert smol["matrix"] == smol["embedding"] == pytest.approx(0.0416, abs=1e-4)
    assert smol["residual"] == pytest.approx(0.0416 / math.sqrt(60), rel=2e-3)


@pytest.mark.parametrize("name", STATE_SPACE)
def test_a_state_space_model_starts_as_its_authors_start_it(name: str):
    model = initialized(MambaInitialization(), build(name, tie_word_embeddings=False))

    mixer = model.backbone.layers[1].mixer
    stay_within_and_reach(mixer.in_proj.weight, 1 / math.sqrt(WIDTH))
    stay_within_and_reach(mixer.out_proj.weight, 1 / math.sqrt(2 * WIDTH) / math.sqrt(LAYERS))
    stay_within_and_reach(mixer.conv1d.weight, 1 / math.sqrt(4))
    stay_within_and_reach(mixer.conv1d.bias, 1 / math.sqrt(4))
    stay_within_and_reach(model.lm_head.weight, 1 / math.sqrt(WIDTH))
    assert model.backbone.embeddings.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert set(mixer.D.tolist()) == {1.0}
    steps = nn.functional.softplus(mixer.dt_bias if name == "Mamba2" else mixer.dt_proj.bias)
    assert steps.min() >= 0.000999
    assert steps.max() <= 0.1001
    assert steps.min() < 0.003
    assert steps.max() > 0.03
    rates = mixer.A_log.exp()
    if name == "Mamba":
        assert torch.allclose(rates, torch.arange(1.0, 9.0).expand(2 * WIDTH, 8))
        stay_within_and_reach(mixer.dt_proj.weight, 1 / math.sqrt(math.ceil(WIDTH / 16)))
    else:
        assert 1 <= rates.min() < 4 < 12 < rates.max() <= 16


def stay_within_and_reach(matrix: torch.Tensor, bound: float) -> None:
    assert matrix.abs().max().item() <= bound * (1 + 1e-6)
    assert matrix.std().item() == pytest.approx(bound / math.sqrt(3), rel=4 * math.sqrt(0.2 / matrix.numel()))


def test_time_steps_are_log_uniform_as_the_library_draws_them():
    drawn = torch.empty(20_000)

    TimeStep(1e-3, 1e-1, 1e-4).draw(drawn, torch.Generator().manual_seed(1))

    logs = nn.functional.softplus(drawn).log10()
    quantiles = torch.quantile(logs, torch.tensor([0.25, 0.5, 0.75]))
    assert quantiles.tolist() == pytest.approx([-2.5, -2.0, -1.5], abs=0.03)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_a_recurrent_model_starts_as_torch_starts_its_cell(cell: str):
    model = initialized(RecurrentInitialization(), recurrent(cell))

    for weight in model.cell.parameters():
        stay_within_and_reach(weight, 1 / math.sqrt(2 * WIDTH))
    stay_within_and_reach(model.embedding.weight, 0.1)
    stay_within_and_reach(model.decoder.weight, 0.1)
    stay_within_and_reach(model.projection.weight, 1 / math.sqrt(2 * WIDTH))
    assert not model.decoder.bias.any()


def test_the_forget_gate_has_the_stated_bias_and_no_other_gate_has():
    model = initialized(RecurrentInitialization(forget_bias=1.0), recurrent("LSTM"))

    hidden = 2 * WIDTH
    gates = (model.cell.bias_ih_l0 + model.cell.bias_hh_l0).view(4, hidden)
    assert set(gates[1].tolist()) == {1.0}
    for gate in (0, 2, 3):
        assert gates[gate].unique().numel() > hidden / 2
        assert gates[gate].abs().max() < 0.2


def test_a_forget_bias_without_an_lstm_is_refused():
    with pytest.raises(RecipeError, match=r"forget_bias: OwnModel has no LSTM.*Leave it out, or choose"):
        initialized(RecurrentInitialization(forget_bias=1.0), recurrent("GRU"))


@pytest.mark.parametrize("published", ["gpt2", "truncated_normal"])
def test_a_module_says_itself_of_what_kind_its_odd_parameters_are(published: str):
    model = recurrent()
    if published == "gpt2":
        model.residual_branches, model.config.num_hidden_layers = 0, 1

    initialized(PUBLISHED[published][0], model)

    assert model.average.weights.tolist() == [0.0, 0.0, 1.0]
    assert model.average.table.std().item() == pytest.approx(0.02, rel=0.03)


def test_a_kind_that_does_not_exist_is_our_own_mistake():
    model = recurrent()
    model.average.parameter_kinds = {"weights": "wheel"}

    with pytest.raises(AssertionError, match=r"Average\.parameter_kinds: no kind is called wheel"):
        initialized(TruncatedNormalInitialization(), model)


@pytest.mark.parametrize("name", ["GPTNeoX", "Mamba2"])
@pytest.mark.parametrize("part", [SmallInit(), LTGInitialization(), MambaInitialization()])
def test_equal_seeds_give_equal_weights_and_the_ambient_generator_is_left_alone(
    part: Initialization, name: str
):
    torch.manual_seed(5)
    ambient = torch.get_rng_state()

    first, second, other = (initialized(part, build(name), seed).state_dict() for seed in (4, 4, 5))

    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    assert torch.equal(torch.get_rng_state(), ambient)


@pytest.mark.parametrize("published", ["gpt2", "truncated_normal", "bert", "zero_residual"])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_an_untrained_model_is_as_unsure_as_its_logits_deviate(published: str, name: str):
    model = initialized(PUBLISHED[published][0], build(name))

    loss, spread = first_loss(model)

    assert loss == pytest.approx(math.log(512) + spread / 2, abs=0.1)


def first_loss(model: PreTrainedModel) -> tuple[float, float]:
    """Return the loss on tokens that nothing predicts, and the variance of the logits."""
    ids_BT, targets_BT = torch.randint(2, 512, (2, 16, 32), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits_BTV = model(input_ids=ids_BT).logits
    loss = nn.functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())
    return loss.item(), logits_BTV.var(dim=-1).mean().item()


@pytest.mark.parametrize("name", STATE_SPACE)
def test_so_is_a_state_space_model_with_its_authors_embeddings(name: str):
    loss, spread = first_loss(initialized(MambaInitialization(), build(name)))

    assert loss == pytest.approx(math.log(512) + spread / 2, abs=0.1)


def test_a_mamba_with_the_library_s_embeddings_is_sure_of_the_wrong_token():
    """The exception: tied embeddings of 0.1 outweigh the layers, and each token predicts itself."""
    loss, spread = first_loss(initialized(MambaInitialization(std=0.1), build("Mamba", hidden_size=256)))

    assert loss > math.log(512) + spread / 2 + 1


@pytest.mark.parametrize(
    "distribution",
    [Normal(0.3), TruncatedNormal(0.3, 2), TruncatedNormal(0.3, 1), Uniform(0.3), TimeStep(1e-3, 0.1, 0.004)],
    ids=str,
)
def test_the_moments_are_those_of_what_is_drawn(distribution: Any):
    drawn = torch.empty(400_000)
    distribution.draw(drawn, torch.Generator().manual_seed(3))

    values = distribution.measured(drawn).double()

    mean, std, kurtosis = distribution.moments
    away = values - values.mean()
    assert values.mean().item() == pytest.approx(mean, abs=4 * std / math.sqrt(400_000))
    assert values.std().item() == pytest.approx(std, rel=4 * math.sqrt((kurtosis - 1) / 1_600_000))
    assert ((away**4).mean() / (away**2).mean() ** 2).item() == pytest.approx(kurtosis, rel=0.02)


def drawn(distribution: Any, values: torch.Tensor) -> Drawing:
    return Drawing("layer.weight", "matrix", values, distribution)


def test_a_deviation_off_by_more_than_chance_is_told_with_both_numbers():
    values = torch.empty(100_000).normal_(0, 0.0205, generator=torch.Generator().manual_seed(1))

    verify([drawn(Normal(0.0205), values)])
    with pytest.raises(
        RecipeError, match=r"100,000 values of kind matrix \(layer\.weight .* by 0\.0205.*0\.02 "
    ):
        verify([drawn(Normal(0.02), values)])


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (Normal(0.02), torch.full((4,), math.nan)),
        (Normal(0.02), torch.zeros(10_000)),
        (Constant(1.0), torch.tensor([1.0, 1.0, 1.0001])),
        (Constant(0.0), torch.tensor([0.0, math.nan])),
    ],
)
def test_what_is_unset_or_not_exact_is_refused(distribution: Any, values: torch.Tensor):
    with pytest.raises(RecipeError, match=r"Either the model changes its weights, or there is a bug"):
        verify([drawn(distribution, values)])


def test_no_small_class_raises_a_false_alarm():
    generator = torch.Generator().manual_seed(1)

    for count in [1, 2, 3, 8, 64] * 400:
        verify([drawn(Normal(0.5), torch.empty(count).normal_(0, 0.5, generator=generator))])


def test_a_model_that_changes_its_weights_is_noticed():
    model = Llama(layers=2, width=64, heads=4).build(Vocabulary(512), 64)
    weight = model.get_parameter("model.layers.1.mlp.up_proj.weight")
    weight.copy_ = weight.normal_ = lambda *_, **__: weight.data.fill_(0.5)

    with pytest.raises(RecipeError, match="kind matrix"):
        initialized(GPT2Initialization(), model)


def test_a_model_without_a_width_is_refused_by_what_scales_with_it():
    model = recurrent()
    del model.config.hidden_size

    with pytest.raises(RecipeError, match=r"OwnModel does not say how wide it is \(hidden_size\)"):
        initialized(LTGInitialization(), model)


def test_time_steps_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match=r"time_step 0\.1 to 0\.001 is no range; expected the smaller first"):
        MambaInitialization(time_step=(0.1, 0.001))
    with pytest.raises(ValueError, match=r"time_step_floor 1 is above every time step, 0\.1"):
        MambaInitialization(time_step_floor=1.0)
