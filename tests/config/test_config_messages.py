from __future__ import annotations

from pathlib import Path

import pytest

from model_foundry.config._sections import keys_of
from model_foundry.config.load import built_in_recipes, load_recipe
from model_foundry.config.schema import Data
from model_foundry.corpus.source import Source
from model_foundry.errors import RecipeError
from model_foundry.evaluation import Evaluator
from model_foundry.model import Architecture
from model_foundry.model.initialization import Initialization
from model_foundry.optim import Optimizer
from model_foundry.parts import known_parts
from model_foundry.schedule import Schedule
from model_foundry.tokenizer import Tokenizer
from model_foundry.tracking import Tracker

HERE = Path(__file__).parent


def wrong_recipes() -> list[tuple[str, str, list[str], str]]:
    """Title, recipe, overrides and message of every case in ``wrong_recipes.txt``.

    A case is ``=== title``, the recipe, overrides after ``$``, a line ``---``, the message, an empty line.
    ``{architectures}``, ``{schedules}`` and so on in a message are the names of those that ship.
    """
    cases = []
    known = {
        "{architectures}": known_parts(Architecture),
        "{evaluators}": known_parts(Evaluator),
        "{initializations}": known_parts(Initialization),
        "{optimizers}": known_parts(Optimizer),
        "{recipes}": list(built_in_recipes()),
        "{schedules}": known_parts(Schedule),
        "{sources}": known_parts(Source),
        "{tokenizers}": known_parts(Tokenizer),
        "{trackers}": known_parts(Tracker),
        "{keys of data}": list(keys_of(Data)),
    }
    for case in (HERE / "wrong_recipes.txt").read_text().removeprefix("=== ").rstrip().split("\n\n=== "):
        title, _, rest = case.partition("\n")
        given, _, message = f"\n{rest}".rpartition("\n---\n")
        for word, names in known.items():
            message = message.replace(word, ", ".join(names))
        lines = given.lstrip("\n").split("\n")
        recipe = "".join(f"{line}\n" for line in lines if line and not line.startswith("$ "))
        cases.append((title, recipe, [line[2:] for line in lines if line.startswith("$ ")], message))
    return cases


CASES = wrong_recipes()


def test_there_are_many_cases():
    assert len(CASES) >= 160
    assert len({title for title, *_ in CASES}) == len(CASES)


def test_the_recipe_that_all_others_extend_is_right():
    assert load_recipe(HERE / "base.yaml").name == "run"


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_says_exactly(
    recipe: str, overrides: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text((HERE / "base.yaml").read_text())
    Path("recipe.yaml").write_text(recipe)

    with pytest.raises(RecipeError) as error:
        load_recipe("recipe.yaml", overrides)

    assert str(error.value) == message
    assert error.value.exit_status == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rcipe.yaml", "there is no recipe rcipe.yaml. Did you mean 'recipe.yaml'?"),
        ("demo.yml", "there is no recipe demo.yml. Did you mean 'demo'? Built-in recipes: {}."),
        ("dem", "there is no recipe dem. Did you mean 'demo'? Built-in recipes: {}."),
        ("gpt2-124m", "there is no recipe gpt2-124m. Did you mean 'gpt2_124m'? Built-in recipes: {}."),
        ("x/y.yaml", "there is no recipe x/y.yaml. There is no folder x."),
        (".", ". is a folder; expected the path of a recipe"),
        ("https://x.org/a", "https://x.org/a is an address, expected a file; download the recipe first"),
    ],
)
def test_a_recipe_that_is_not_there_is_told_with_the_nearest(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text("extends: demo\n")

    with pytest.raises(RecipeError) as error:
        load_recipe(name)

    told = f"{name}: 1 problem\n  command line: {message.format(', '.join(built_in_recipes()))}"
    assert str(error.value) == told


def test_of_very_many_problems_the_first_are_told(tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("extends: demo\nseeds: {" + ", ".join(f"k{n}: 1" for n in range(3000)) + "}\n")

    with pytest.raises(RecipeError) as error:
        load_recipe(recipe)

    head, *lines = str(error.value).split("\n")
    assert head.endswith(": 3000 problems")
    assert len(lines) == 51
    assert lines[-1] == "  and 2950 more: mend these first"


SECRET = "hf_abcdefghij0123456789"


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        (f"token: {SECRET}\n", []),
        ("password: open-sesame-0123456789\n", []),
        (f"optimizer: {{type: {SECRET}}}\n", []),
        (f"training: {{duration: {SECRET}}}\n", []),
        (f"data: {{{SECRET}: 1}}\n", []),
        (f"tokenizer: {{type: pretrained, path: {SECRET}}}\n", []),
        (f"extends: {SECRET}\n", []),
        (f"model: {{width: {SECRET}: 1}}\n", []),
        ("", [SECRET]),
        ("", [f"hf_token={SECRET}"]),
        ("", [f"{SECRET}=1"]),
        ("", [f"model.width={SECRET}"]),
        ("", [f"api_key='{SECRET}"]),
        (f"corpus: {{sources: [{{type: text_files, path: 'https://me:{SECRET}@example.org/'}}]}}\n", []),
    ],
)
def test_never_repeats_a_secret(recipe: str, overrides: list[str], tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    (tmp_path / "base.yaml").write_text((HERE / "base.yaml").read_text())
    path.write_text(recipe if recipe.startswith("extends") else f"extends: base.yaml\n{recipe}")

    with pytest.raises(RecipeError) as error:
        load_recipe(path, overrides)

    assert SECRET[4:] not in str(error.value)
    assert "open-sesame" not in str(error.value)


def test_points_from_a_secret_to_the_environment(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("wandb_api_key: 0123456789\n")

    with pytest.raises(
        RecipeError, match=r"wandb_api_key: unknown key, .* set an environment variable such as HF_TOKEN"
    ):
        load_recipe(path)


def test_a_message_stays_short_and_on_its_line_whatever_is_in_the_recipe(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        'extends: base.yaml\nmodel: {"a\\nb\\e[31m": 1, width: "'
        + "x" * 5000
        + '\\n\\e", type: "'
        + "y" * 5000
        + '"}\n'
    )
    (tmp_path / "base.yaml").write_text((HERE / "base.yaml").read_text())

    with pytest.raises(RecipeError) as error:
        load_recipe(path)

    assert "\x1b" not in str(error.value)
    assert all(len(line) < 800 for line in str(error.value).split("\n"))
