"""Presets: published values by name, of which single ones are varied."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from model_foundry.config.load import load_recipe
from model_foundry.config.schema import ExperimentConfig
from model_foundry.errors import RecipeError
from model_foundry.model import Architecture
from model_foundry.model.initialization import Initialization
from model_foundry.model.presets import Preset, all_presets
from model_foundry.parts import PartOf, find_part

BASE = Path(__file__).parent.parent / "config" / "base.yaml"
read = TypeAdapter(PartOf[Architecture]).validate_python


@pytest.mark.parametrize("preset", all_presets().values(), ids=lambda preset: preset.name)
def test_every_preset_is_a_section_that_its_architecture_accepts(preset: Preset):
    model = read({"type": preset.type, "preset": preset.name})

    assert preset.fields
    assert {key: getattr(model, key) for key in preset.fields} == dict(preset.fields)
    assert model.default_initialization() == dict(preset.initialization)


@pytest.mark.parametrize("preset", all_presets().values(), ids=lambda preset: preset.name)
def test_every_preset_says_where_its_values_are_published(preset: Preset):
    assert len(preset.source) > 20
    assert preset.vocabulary > 0
    assert preset.context > 0


def test_a_preset_fills_in_what_is_required_otherwise():
    model = read({"type": "gpt2", "preset": "gpt2-medium"})

    assert (model.layers, model.width, model.heads, model.positions) == (24, 1024, 16, 1024)


def test_a_field_beside_the_preset_changes_that_one_alone():
    model = read({"type": "gpt2", "preset": "gpt2-124m", "layers": 6})

    assert model == read({"type": "gpt2", "preset": "gpt2-124m"}).model_copy(update={"layers": 6})


def test_a_section_without_a_preset_still_needs_its_sizes():
    with pytest.raises(ValidationError) as caught:
        read({"type": "gpt2", "layers": 2})

    assert {problem["loc"] for problem in caught.value.errors()} == {("width",), ("heads",)}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "{type: gpt2, preset: gpt2-124}",
            r"model\.preset: no preset is called 'gpt2-124'\. Did you mean 'gpt2-124m'\? "
            r"Known for gpt2: gpt2-124m, gpt2-medium",
        ),
        (
            "{type: llama, preset: gpt2-124m}",
            r"model\.preset: gpt2-124m is a preset of another architecture; "
            r"write type: gpt2 instead of type: llama$",
        ),
        ("{type: gpt2, preset: 124}", r"model\.preset: found 124, expected text"),
    ],
)
def test_a_preset_that_does_not_fit_is_refused_with_what_would(model: str, message: str):
    with pytest.raises(RecipeError, match=f"1 problem\n.*{message}"):
        load_recipe(BASE, [f"model={model}"])


def test_a_preset_on_the_command_line_stands_over_the_sizes_of_the_recipe():
    config = load_recipe(BASE, ["model.heads=6", "model.preset=gpt2-124m"])

    assert config.model == read({"type": "gpt2", "preset": "gpt2-124m", "heads": 6})


def test_a_preset_in_a_recipe_stands_over_the_sizes_that_it_extends(tmp_path: Path):
    (tmp_path / "r.yaml").write_text(f"extends: {BASE}\nmodel: {{preset: gpt2-124m, dropout: 0.5}}\n")

    config = load_recipe(tmp_path / "r.yaml")

    assert config.model == read({"type": "gpt2", "preset": "gpt2-124m", "dropout": 0.5})


def test_the_initialization_is_the_presets_unless_the_recipe_has_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "model_foundry.model.all_presets",
        lambda: {"gpt2-124m": Preset("x", "gpt2", 1, 1, "x", {}, {"type": "no_such_initialization"})},
    )

    with pytest.raises(ValueError, match="no initialization is called 'no_such_initialization'"):
        load_recipe(BASE, ["model.preset=gpt2-124m"])
    config = load_recipe(BASE, ["model.preset=gpt2-124m", "initialization.type=gpt2"])

    assert config.initialization.part_name() == "gpt2"


def test_the_initialization_is_the_architectures_own_without_a_preset():
    config = load_recipe(BASE)

    assert config.initialization.part_name() == find_part(Architecture, "gpt2").own_initialization["type"]


@pytest.mark.parametrize(
    ("model", "initialization"),
    [
        ("{type: gpt_neox, preset: pythia-160m}", {"type": "small_init"}),
        ("{type: gpt_neox, layers: 2, width: 32, heads: 2}", {"type": "small_init"}),
        ("{type: llama, preset: smollm2-135m}", {"type": "inverse_sqrt_width", "scale_residual": True}),
        ("{type: llama, layers: 2, width: 32, heads: 2}", {"type": "gpt2", "std": 0.02}),
        ("{type: olmo2, preset: olmo2-1b}", {"type": "truncated_normal", "std": 0.02, "cutoff": 3.0}),
        ("{type: transformers, config: LlamaConfig}", {"type": "gpt2", "std": 0.02}),
    ],
)
def test_a_recipe_begins_as_its_model_was_published(model: str, initialization: dict[str, object]):
    assert load_recipe(BASE, [f"model={model}"]).resolved()["initialization"] == initialization


@pytest.mark.parametrize("preset", all_presets().values(), ids=lambda preset: preset.name)
def test_every_preset_names_an_initialization_that_there_is(preset: Preset):
    part = TypeAdapter(PartOf[Initialization]).validate_python(dict(preset.initialization))

    assert part.part_name() == preset.initialization["type"]


def test_the_resolved_recipe_shows_every_value_and_reads_back_the_same():
    config = load_recipe(BASE, ["model.preset=gpt2-124m"])
    resolved = config.resolved()

    assert resolved["model"]["preset"] == "gpt2-124m"  # type: ignore[index]
    assert resolved["model"]["layers"] == 12  # type: ignore[index]
    assert resolved["initialization"] == {"type": "gpt2", "std": 0.02}
    assert ExperimentConfig.model_validate(resolved) == config


def test_a_wrong_model_is_told_alone_though_the_initialization_follows_from_it():
    with pytest.raises(
        RecipeError, match=r"1 problem\n[^\n]*model\.layers: found 'x', expected a whole"
    ) as caught:
        load_recipe(BASE, ["model.layers=x"])

    assert len(str(caught.value).splitlines()) == 2
