from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import model_foundry.config._files as files
from model_foundry.config._yaml import parse
from model_foundry.config.check import check_config
from model_foundry.config.load import (
    built_in_recipes,
    dump_recipe,
    load_recipe,
    load_recipe_with_sources,
)
from model_foundry.config.schema import ExperimentConfig
from model_foundry.errors import RecipeError

BASE = (Path(__file__).parent / "base.yaml").read_text()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a complete recipe called ``base.yaml``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def values(config: ExperimentConfig, path: str) -> Any:
    found: Any = config.resolved()
    for key in path.split("."):
        found = found[int(key)] if isinstance(found, list) else found[key]
    return found


# Overrides


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("optimizer.learning_rate=3e-4", "optimizer.learning_rate", 0.0003),
        ("training.duration=50 updates", "training.duration", "50 updates"),
        ('training.duration="50 updates"', "training.duration", "50 updates"),
        ("training.duration=10k", "training.duration", "10000 updates"),
        ("optimizer.betas=[0.8, 0.9]", "optimizer.betas", [0.8, 0.9]),
        ("samples.prompts=[a,b]", "samples.prompts", ["a", "b"]),
        ("corpus.sources.0.weight=1", "corpus.sources.0.weight", 1.0),
        ("corpus.sources=[{type: python_docs, weight: 2}]", "corpus.sources.0.weight", 2.0),
        ("training.gradient_clip=null", "training.gradient_clip", None),
        ("training.gradient_clip=", "training.gradient_clip", None),
        ("name=a=b".replace("=b", "-b"), "name", "a-b"),
        ("samples={prompts: [x=y], tokens: 3}", "samples.prompts", ["x=y"]),
        ("schedule.type=linear", "schedule.type", "linear"),
        ("evaluation=[]", "evaluation", []),
        ("training.precision=bf16", "training.precision", "bf16"),
    ],
)
def test_an_override_is_spelled_like_the_recipe(override: str, path: str, value: Any, folder: Path):
    assert values(load_recipe("base.yaml", [override]), path) == value


def test_an_override_wins_and_leaves_its_neighbours(folder: Path):
    config = load_recipe("base.yaml", ["model.layers=3", "model.heads=4"])

    assert config.model.model_dump() | {"layers": 3, "heads": 4, "width": 32} == config.model.model_dump()


@pytest.mark.parametrize("reverse", [False, True])
def test_another_type_clears_the_section_whatever_the_order(reverse: bool, folder: Path):
    (folder / "cosine.yaml").write_text(
        "extends: base.yaml\nschedule: {type: cosine, floor: 20%, warmup: 3}\n"
    )
    overrides = ["schedule.warmup=5", "schedule.type=linear"]

    schedule = load_recipe("cosine.yaml", overrides[::-1] if reverse else overrides).schedule

    assert (schedule.part_name(), str(schedule.warmup), schedule.floor) == ("linear", "5 updates", 0.0)


def test_the_same_type_clears_nothing(folder: Path):
    (folder / "cosine.yaml").write_text("extends: base.yaml\nschedule: {type: cosine, floor: 20%}\n")

    assert load_recipe("cosine.yaml", ["schedule.type=cosine"]).schedule.floor == 0.2


# Extends


def test_mappings_merge_and_lists_are_replaced(folder: Path):
    (folder / "r.yaml").write_text(
        "extends: base.yaml\nmodel: {layers: 4}\ncorpus: {sources: [{type: text_files, path: a.txt}]}\n"
    )

    config = load_recipe("r.yaml")

    assert values(config, "model.layers") == 4
    assert values(config, "model.width") == 32
    assert [source.part_name() for source in config.corpus.sources] == ["text_files"]


def test_a_section_of_another_type_is_replaced(folder: Path):
    (folder / "a.yaml").write_text("extends: base.yaml\nschedule: {type: cosine, floor: 20%, warmup: 3}\n")
    (folder / "r.yaml").write_text("extends: a.yaml\nschedule: {type: linear}\n")

    schedule = load_recipe("r.yaml").schedule

    assert (schedule.floor, schedule.warmup.amount) == (0.0, 0)


def test_later_parents_win_over_earlier_and_the_file_over_both(folder: Path):
    (folder / "a.yaml").write_text("seed: 1\nname: a\ndata: {context: 8}\n")
    (folder / "b.yaml").write_text("name: b\nseed: 2\n")
    (folder / "r.yaml").write_text("extends: [base.yaml, a.yaml, b.yaml]\nname: r\n")

    config = load_recipe("r.yaml")

    assert (config.name, config.seed, config.data.context) == ("r", 2, 8)


def test_parents_are_relative_to_the_file_that_names_them(folder: Path):
    (folder / "below" / "deep").mkdir(parents=True)
    (folder / "below" / "middle.yaml").write_text("extends: ../base.yaml\nseed: 5\n")
    (folder / "below" / "deep" / "r.yaml").write_text("extends: ../middle.yaml\n")

    assert load_recipe("below/deep/r.yaml").seed == 5


def test_a_problem_is_told_at_its_place_in_the_parent(folder: Path):
    (folder / "below").mkdir()
    (folder / "below" / "parent.yaml").write_text("extends: ../base.yaml\n\ntraining:\n  batchsize: 3\n")
    (folder / "r.yaml").write_text("extends: below/parent.yaml\nseed: x\n")

    with pytest.raises(RecipeError) as error:
        load_recipe("r.yaml")

    assert str(error.value).split("\n") == [
        "r.yaml: 2 problems",
        "  r.yaml:2:7 seed: found 'x', expected a whole number",
        "  below/parent.yaml:4:3 training.batchsize: unknown key. Did you mean 'batch_size'?",
    ]


def test_recipes_that_extend_each_other_in_a_circle_are_refused(folder: Path):
    (folder / "a.yaml").write_text("extends: b.yaml\n")
    (folder / "b.yaml").write_text("extends: [base.yaml, a.yaml]\n")

    with pytest.raises(RecipeError, match=r"b\.yaml:1:22 extends: .* circle: a\.yaml -> b\.yaml -> a\.yaml"):
        load_recipe("a.yaml")


def test_eight_parents_deep_is_enough(folder: Path):
    (folder / "0.yaml").write_text(BASE)
    for depth in range(1, 11):
        (folder / f"{depth}.yaml").write_text(f"extends: {depth - 1}.yaml\n")

    assert load_recipe("8.yaml").name == "run"
    with pytest.raises(RecipeError, match=r"1\.yaml:1:10 extends: more than 8 recipes deep"):
        load_recipe("9.yaml")


def test_too_many_parents_are_refused(folder: Path):
    (folder / "r.yaml").write_text(f"extends: [{', '.join(['base.yaml'] * 17)}]\n")

    with pytest.raises(RecipeError, match=r"r\.yaml:1:10 extends: found 17 recipes, expected at most 16"):
        load_recipe("r.yaml")


def test_many_ways_to_the_same_parent_read_it_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    read = []
    monkeypatch.setattr(files, "read_text", lambda path, at: (read.append(path), Path(path).read_text())[1])
    (folder / "0.yaml").write_text(BASE)
    for depth in range(1, 8):
        (folder / f"{depth}.yaml").write_text(f"extends: [{', '.join([f'{depth - 1}.yaml'] * 16)}]\n")

    load_recipe("7.yaml")

    assert len(read) == 7


def test_more_than_64_recipes_are_refused(folder: Path):
    for index in range(80):
        (folder / f"leaf{index}.yaml").write_text("seed: 1\n")
    for index in range(5):
        leaves = ", ".join(f"leaf{number}.yaml" for number in range(index * 16, index * 16 + 16))
        (folder / f"node{index}.yaml").write_text(f"extends: [{leaves}]\n")
    (folder / "r.yaml").write_text(f"extends: [{', '.join(f'node{index}.yaml' for index in range(5))}]\n")

    with pytest.raises(RecipeError, match="extends: more than 64 recipes in all"):
        load_recipe("r.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x]\n", r"bad\.yaml:1:4: an anchor"),
        ("a: [\n" * 100, r"bad\.yaml:\d+:\d+: nested more than 32 deep"),
        ("a: !!python/name:os.system x\n", r"bad\.yaml:1:4: a tag"),
        ("x" * 300_000, r"bad\.yaml:1:1: more than 256 KiB"),
        ("- seed\n", r"bad\.yaml:1:1: found a list, expected sections"),
        ("a: 1\na: 2\n", r"bad\.yaml:2:1: the key 'a' is given twice"),
    ],
)
def test_a_hostile_parent_is_refused_like_any_recipe(text: str, message: str, folder: Path):
    (folder / "bad.yaml").write_text(text)
    (folder / "r.yaml").write_text("extends: [base.yaml, bad.yaml]\n")

    with pytest.raises(RecipeError, match=message):
        load_recipe("r.yaml")


# Which file


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "bas.yaml",
            "1 problem\n  command line: there is no recipe bas.yaml. Did you mean 'base.yaml'?",
        ),
        ("nowhere/x.yaml", "  command line: there is no recipe nowhere/x.yaml. There is no folder nowhere."),
        (".", "  command line: . is a folder; expected the path of a recipe"),
        ("a\0b", "  command line: a NUL in the name of a recipe"),
        ("zzzzzz", "  command line: there is no recipe zzzzzz. Built-in recipes: "),
        ("dem", "  command line: there is no recipe dem. Did you mean 'demo'? Built-in recipes: "),
    ],
)
def test_a_recipe_that_is_not_there(name: str, message: str, folder: Path):
    with pytest.raises(RecipeError) as error:
        load_recipe(name)

    assert message in str(error.value)


def test_what_is_no_ordinary_file_is_not_opened(folder: Path):
    os.mkfifo(folder / "pipe.yaml")  # opening it would wait for ever

    with pytest.raises(RecipeError, match=r"command line: pipe\.yaml is not an ordinary file"):
        load_recipe("pipe.yaml")


def test_a_file_that_cannot_be_read_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: Any, **named: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "open", refuse, raising=False)

    with pytest.raises(RecipeError, match=r"base\.yaml cannot be read: permission denied"):
        load_recipe("base.yaml")


def test_a_built_in_recipe_goes_by_its_name(folder: Path):
    assert "demo" in built_in_recipes()

    loaded = load_recipe_with_sources("demo")

    assert loaded.path.name == "demo.yaml"
    assert loaded.path == built_in_recipes()["demo"]


def test_a_file_of_that_name_wins_over_a_built_in_recipe(folder: Path):
    (folder / "demo").write_text(BASE + "name: mine\n")

    assert load_recipe("demo").name == "mine"


def test_a_recipe_may_extend_a_built_in_one(folder: Path):
    (folder / "r.yaml").write_text("extends: demo\nname: mine\n")

    assert load_recipe("r.yaml").model == load_recipe("demo").model


@pytest.mark.parametrize("name", sorted(built_in_recipes()))
def test_every_built_in_recipe_loads_and_survives_being_resolved(name: str, folder: Path):
    config = load_recipe(name)

    (folder / "again.yaml").write_text(dump_recipe(config.resolved()))

    assert load_recipe("again.yaml") == config


# What a run keeps


def test_a_loaded_recipe_keeps_its_text_and_overrides(folder: Path):
    (folder / "r.yaml").write_text("extends: base.yaml  # a comment\n")

    loaded = load_recipe_with_sources("r.yaml", ["seed=3"])

    assert (loaded.text, loaded.overrides) == ("extends: base.yaml  # a comment\n", ("seed=3",))
    assert loaded.path == Path("r.yaml")
    assert loaded.config == load_recipe("r.yaml", ["seed=3"])


def test_a_resolved_recipe_reads_back_equal(folder: Path):
    (folder / "r.yaml").write_text(
        "extends: base.yaml\n"
        "name: 'no'\n"
        "seeds: {weights: 9}\n"
        "corpus: {validation: {sources: [{type: text_files, path: 'held: out/*.txt'}]}}\n"
        "samples: {prompts: ['3e-4', 'true', \"line\\nbreak\\t\\e\\N\", 'é 🎈', '#', '', '- x', '\"']}\n"
        "training: {duration: 1.5 epochs, max_time: 90m, micro_batch_size: 4, gradient_clip: null}\n"
        "checkpoints: {schedule: [{type: log2}, {type: every, interval: 5%}], rolling: 0.25 epochs}\n"
        "optimizer: {eps: 1e-12}\n"
    )

    loaded = load_recipe_with_sources("r.yaml")
    (folder / "resolved.yaml").write_text(loaded.resolved_text)

    assert load_recipe("resolved.yaml") == loaded.config


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "~",
        "null",
        "1",
        "1_000",
        "0777",
        ".inf",
        "a: b",
        "a #b",
        "#",
        "%",
        "@",
        "*x",
        "&x",
        "!x",
        "| x",
        "a\r\nb",
        "\x85\u2028\u2029\ufeff\x7f\xa0",
        "\U0001f388",
        "\\",
        "trailing ",
        "a,b",
        "[",
        "-",
        "?",
        ":",
        1e-300,
        1e22,
        -0.5,
        10**18 - 1,
        True,
        None,
        [],
        {},
        [[1, [2]], {"a": [{}]}],
        {"a b": {"": 1}},
    ],
)
def test_any_value_is_written_so_that_it_reads_back(value: Any):
    tree = {"key": value, "list": [value, {"inner": value, "other": [value]}], "no": {"yes": value}}

    assert parse(dump_recipe(tree), "r.yaml").plain() == tree


# From Python


def test_a_recipe_made_in_python_is_held_to_the_same_rules(folder: Path):
    config = load_recipe("base.yaml")
    training = config.training.model_copy(
        update={"precision": "fp8", "micro_batch_size": 64, "batch_size": 8}
    )

    with pytest.raises(RecipeError) as error:
        check_config(config.model_copy(update={"training": training}))

    assert str(error.value).split("\n") == [
        "run: 2 problems",
        "  config training.precision: 'fp8' is not available yet; use fp32 or bf16",
        "  config training.micro_batch_size: found 64, expected at most training.batch_size, 8",
    ]
    check_config(config)


def test_an_evaluator_that_brings_its_own_text_needs_none_held_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    from model_foundry.evaluation.perplexity import Perplexity

    monkeypatch.setattr(Perplexity, "needs_held_out", False)

    assert load_recipe("base.yaml", ["corpus.validation.fraction=0"]).corpus.validation.fraction == 0


def test_custom_code_runs_only_where_it_is_allowed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "my_lab").mkdir()
    (folder / "my_lab" / "__init__.py").write_text("")
    (folder / "my_lab" / "flat.py").write_text(
        "from model_foundry.schedule import Schedule\n"
        "class Flat(Schedule):\n"
        "    '''Never falls.'''\n"
        "    def after(self, update, warmup, total, updates_of):\n"
        "        return 1.0\n"
    )
    monkeypatch.syspath_prepend(str(folder))

    with pytest.raises(RecipeError, match="Add --allow-custom-code to the command line"):
        load_recipe("base.yaml", ["schedule.type=my_lab.flat"])
    assert "my_lab" not in sys.modules

    config = load_recipe("base.yaml", ["schedule.type=my_lab.flat"], allow_custom_code=True)

    assert config.schedule.part_name() == "my_lab.flat"
    for name in ("my_lab", "my_lab.flat"):
        sys.modules.pop(name)


def test_custom_code_that_fails_is_told_without_a_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "broken_lab").mkdir()
    (folder / "broken_lab" / "zero.py").write_text("1 / 0\n")
    (folder / "broken_lab" / "syntax.py").write_text("def f(:\n")
    (folder / "broken_lab" / "empty.py").write_text("")
    monkeypatch.syspath_prepend(str(folder))

    for name, reason in [
        ("broken_lab.zero", "cannot be imported: division by zero"),
        ("broken_lab.syntax", "cannot be imported: invalid syntax"),
        ("broken_lab.missing", "cannot be imported: No module named"),
        ("broken_lab.empty", "must hold exactly one class that fulfils Schedule, and holds 0"),
        ("..", "cannot be imported: "),
    ]:
        with pytest.raises(RecipeError, match=f"1 problem\n  command line .*{reason}"):
            load_recipe("base.yaml", [f"schedule.type={name}"], allow_custom_code=True)


def test_loading_a_recipe_imports_no_torch():
    program = (
        "import sys; from model_foundry.config.load import load_recipe; load_recipe(sys.argv[1]);"
        "h = {'torch', 'transformers', 'tokenizers', 'accelerate', 'numpy', 'datasets'}& set(sys.modules);"
        "print(sorted(h))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(Path(__file__).parent / "base.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
