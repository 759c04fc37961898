"""Every file of accelerate_configs/ through Accelerate's own loader; and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import (
    prepare_deepspeed_cmd_env,
    prepare_multi_gpu_env,
    prepare_simple_launcher_cmd_env,
)

from model_foundry.errors import RecipeError
from model_foundry.launching.command import launch_command, launch_environment
from model_foundry.launching.placements import Placement, find_placement, require_effect, shipped_placements

PLACEMENTS = shipped_placements()
EXPECTED = {  # what the launcher starts: by which of its ways, how many processes, on how many machines
    "cpu": ("simple", 1, 1),
    "cpu_2_processes": ("multi_gpu", 2, 1),
    "single_gpu": ("simple", 1, 1),
    "ddp": ("multi_gpu", 8, 1),
    "fsdp2": ("fsdp", 8, 1),
    "hsdp": ("fsdp", 8, 1),
    "deepspeed_zero2": ("deepspeed", 8, 1),
    "deepspeed_zero3": ("deepspeed", 8, 1),
    "tensor_parallel": ("fsdp", 8, 1),
    "context_parallel": ("fsdp", 8, 1),
    "multi_node": ("fsdp", 16, 2),
}
SIZES = {  # copies, parts, tensor parallel, context parallel
    "hsdp": ("2", "4", "1", "1"),
    "tensor_parallel": ("1", "4", "2", "1"),
    "context_parallel": ("1", "4", "1", "2"),
    "multi_node": ("2", "8", "1", "1"),
}


def launched(placement: Placement):
    """Return the launcher's arguments and the environment that it would give to the processes."""
    arguments = launch_command(placement, ["recipe.yaml"])
    args = launch_command_parser().parse_args(arguments[3:])
    args, _, _ = _validate_launch_command(args)
    if args.use_deepspeed:
        args.deepspeed_fields_from_accelerate_config = ""
        return args, prepare_deepspeed_cmd_env(args)[1]
    if args.multi_gpu or args.use_fsdp:
        return args, prepare_multi_gpu_env(args)
    return args, prepare_simple_launcher_cmd_env(args)[1]


def test_the_names_of_the_issue_are_all_there():
    assert set(PLACEMENTS) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_accelerate_loads_the_file_and_would_start_what_it_says(name):
    args, environment = launched(PLACEMENTS[name])

    way = {"deepspeed": args.use_deepspeed, "fsdp": args.use_fsdp, "multi_gpu": args.multi_gpu}
    ways = [*(key for key, value in way.items() if value), "simple"]
    assert (ways[0], args.num_processes, args.num_machines) == EXPECTED[name]
    assert environment["ACCELERATE_MIXED_PRECISION"] == "no"
    assert environment.get("ACCELERATE_DYNAMO_BACKEND", "NO") == "NO"
    if args.use_fsdp:
        assert environment["FSDP_VERSION"] == "2"
        assert environment["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP"
        assert environment["FSDP_STATE_DICT_TYPE"] == "SHARDED_STATE_DICT"
        assert environment["FSDP_ACTIVATION_CHECKPOINTING"] == "false"
    if name in SIZES:
        names = ("DP_REPLICATE", "DP_SHARD", "TP", "CP")
        sizes = tuple(environment[f"PARALLELISM_CONFIG_{key}_SIZE"] for key in names)
        assert sizes == SIZES[name]
    if args.use_deepspeed:
        assert environment["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == name[-1]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_line_of_a_shipped_file_has_an_effect(name):
    placement = PLACEMENTS[name]

    require_effect(placement)

    config = load_config_from_file(str(placement.path))
    assert (config.num_processes, config.num_machines) == (placement.processes, placement.machines)
    assert config.use_cpu == placement.is_on_cpu == name.startswith("cpu")
    assert placement.summary.endswith((".", ":")) or ":" in placement.summary


def test_the_readme_has_a_row_for_every_file():
    readme = (PLACEMENTS["cpu"].path.parent / "README.md").read_text()

    assert set(re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)) == set(EXPECTED)


WRONG = {
    "num_proceses: 2": "unknown key num_proceses",
    "num_processes: 2\nparallelism_config: {dp_shard_size: 2}": "parallelism_config.dp_shard_size is unknown"
    ", and Accelerate would ignore it",
    "fsdp_config: {fsdp_verzion: 2}": "fsdp_config.fsdp_verzion is unknown",
    "distributed_type: MULTI_CPU\nnum_processes: 2": "MULTI_CPU starts one process, not 2",
    "deepspeed_config: {gradient_accumulation_steps: 4}": "is 4: the recipe decides it",
    "dynamo_config: {dynamo_backend: INDUCTOR}": "training.compile decides that",
    "- a list": "a placement is a mapping such as 'num_processes: 2'",
    "a: [": "cannot be read as a placement",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_file_that_accelerate_would_pass_over_in_part_is_refused(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)

    with pytest.raises(RecipeError) as caught:
        find_placement(str(path))

    assert str(caught.value).startswith(f"{path}:")
    assert WRONG[text] in str(caught.value)


def test_a_name_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(RecipeError, match="Shipped ones: context_parallel, cpu, cpu_2_processes, ddp"):
        find_placement("dp")


REFUSED = [
    ("hsdp", {"processes": 4}, "the sizes in hsdp's parallelism_config make 8 processes"),
    ("ddp", {"processes": 1}, "ddp is for several; take cpu or single_gpu"),
    ("cpu", {"processes": 2}, "cpu starts one process, whatever is asked for. Take cpu_2_processes"),
    ("single_gpu", {"processes": 2}, "Take ddp or fsdp2"),
    ("cpu", {"max_restarts": 1}, "only a launcher of several processes starts them again"),
]


@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_a_number_of_processes_that_a_file_cannot_start_is_refused(name, options, message):
    with pytest.raises(RecipeError, match=message):
        launch_command(PLACEMENTS[name], [], **options)


def test_the_command_says_processes_and_restarts_in_accelerates_words():
    command = launch_command(PLACEMENTS["ddp"], ["a.yaml", "seed=2"], processes=4, max_restarts=3)

    args = launch_command_parser().parse_args(command[3:])
    assert (args.num_processes, args.max_restarts) == (4, 3)
    assert (args.training_script, args.training_script_args) == ("model_foundry.train", ["a.yaml", "seed=2"])
    assert Path(args.config_file) == PLACEMENTS["ddp"].path


def test_processes_on_cpus_are_told_so_twice_and_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)

    environment = launch_environment(PLACEMENTS["cpu_2_processes"])

    assert (environment["ACCELERATE_USE_CPU"], environment["OMP_NUM_THREADS"]) == ("true", "4")
    assert launch_environment(PLACEMENTS["multi_node"])["OMP_NUM_THREADS"] == "1"
