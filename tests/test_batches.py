"""``batches`` against what the loader really gave, for every order and document mode; and its messages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.config.load import load_recipe_with_sources
from model_foundry.errors import DataError, RecipeError, RunDirectoryError
from model_foundry.exposure import open_exposure
from model_foundry.trainer import Trainer
from tests.lab import RECIPE
from tests.texts import write_texts

MODES = {
    "shuffled": ["training.duration=3 epochs"],
    "isolated": ["data.documents=isolate", "data.context=3", "training.duration=2 epochs"],
    "padded": ["data.documents=pad", "training.duration=2 epochs"],
    "explicit": ["data.order=explicit", "data.order_file=order.txt", "training.duration=2 epochs"],
    "mixture": [
        'corpus.sources=[{type: text_files, path: "texts/*.txt", weight: 1}, '
        "{type: text_files, path: more.txt, document: line, weight: 3}]",
        "training.duration=50 updates",
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts and a recipe; the windows of the explicit order are few, and one of them stands twice."""
    folder = tmp_path_factory.mktemp("batches")
    write_texts(folder / "texts", documents=12, words=30)
    (folder / "more.txt").write_text(
        "".join(f"second source, line number {number}\n" for number in range(60))
    )
    (folder / "order.txt").write_text("5\n3\n5\n0\n7\n9\n11\n1\n2\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


class Recorded:
    """A run whose records were written and whose batches were noted, update by update, without training."""

    def __init__(self, folder: Path, mode: str, processes: int = 1) -> None:
        from model_foundry.data.loader import PADDING, UpdateSampler
        from model_foundry.running.building import build_model_and_plan, prepare_data
        from model_foundry.running.records import record_run

        recipe = load_recipe_with_sources(
            folder / "recipe.yaml", ["training.micro_batch_size=2", *MODES[mode]]
        )
        self.path = folder / f"run-{mode}-{processes}"
        trainer = Trainer(recipe.config, folder, run_dir=self.path, recipe=recipe)
        trainer.run.open(resume=False)
        trainer._record_start(None)
        data = prepare_data(recipe.config, trainer.folders, lambda _: None)
        built = build_model_and_plan(recipe.config, data, processes, trainer.folders)
        record_run(trainer, data, built)
        trainer.run.close()
        self.plan, self.course, self.data = built.plan, built.course, data
        self.dealt: dict[int, list[list[int]]] = {}
        for update in range(self.plan.updates):
            sampler = UpdateSampler(
                self.course, start=update, stop=update + 1, micro_batch_size=2, processes=processes
            )
            self.dealt[update + 1] = [[at for at in batch if at != PADDING] for batch in sampler]

    def tokens(self, position: int) -> list[int]:
        """What the loader's dataset gives for a position: inputs, and targets that are not inputs."""
        from model_foundry.data.loader import WindowDataset
        from model_foundry.objective import IGNORED

        batch = WindowDataset(self.course)[position]
        targets = batch["targets_BT"][0].tolist()
        length = self.course.windows[self.course.place(position).source].span(
            self.course.place(position).window
        )
        ids = batch["ids_BT"][0].tolist()[: length[1] - length[0] - 1]
        last = targets[len(ids) - 1]
        return ids if last == IGNORED else [*ids, last]


@pytest.fixture(scope="module", params=MODES)
def recorded(folder: Path, request: pytest.FixtureRequest) -> Recorded:
    """A recorded run in every mode."""
    return Recorded(folder, request.param)


def test_every_update_shows_the_text_that_the_loader_gave(recorded: Recorded):
    exposure = open_exposure(recorded.path)

    for update, batches in recorded.dealt.items():
        texts = [window.text for window in exposure.windows_of(update)]
        positions = [position for batch in batches for position in batch]
        assert [window.position for window in exposure.windows_of(update)] == positions
        assert texts == [recorded.data.encoder.decode(recorded.tokens(position)) for position in positions]


def test_document_and_update_say_the_same(recorded: Recorded):
    """Each document's updates are those among whose windows it is listed, no more and no fewer."""
    exposure = open_exposure(recorded.path)
    listed: dict[tuple[str, int], Counter[int]] = defaultdict(Counter)
    for update in recorded.dealt:
        for window in exposure.windows_of(update):
            for piece in window.documents:
                listed[window.source, piece.document][update] += 1

    documents = [
        (windows.stream.name, int(number))
        for windows in recorded.course.windows
        for number in windows.stream.document_ids
    ]
    for source, number in documents:
        _, piece = exposure.find_document(number, source)
        assert piece is not None
        assert (
            Counter(showing.update for showing in exposure.showings(source, piece)) == listed[source, number]
        )
    assert sum(map(len, listed.values())) > len(recorded.dealt)


def test_pieces_name_the_file_and_hold_its_text(folder: Path, recorded: Recorded):
    exposure = open_exposure(recorded.path)

    for window in exposure.windows_of(1):
        for piece in window.documents:
            text = (folder / piece.input).read_text()
            if piece.input == "more.txt":
                text = text.splitlines()[piece.number_in_input]
            ids = recorded.data.encoder.encode_batch([text])[0].tolist()
            first, after = piece.tokens
            assert piece.document_tokens == len(ids) + 1
            assert recorded.data.encoder.decode(ids[first:after]) in window.text


def test_text_is_found_wherever_it_stands(folder: Path, recorded: Recorded):
    """Against a search of the files themselves; held-out documents are left out."""
    exposure = open_exposure(recorded.path)
    asked = "i si"
    expected: Counter[str] = Counter()
    for windows in recorded.course.windows:
        for number in windows.stream.document_ids.tolist():
            piece = exposure.find_document(number, windows.stream.name)[1]
            assert piece is not None
            text = (folder / piece.input).read_text()
            if piece.input == "more.txt":
                text = text.splitlines()[piece.number_in_input]
            expected[piece.input] += sum(text.startswith(asked, at) for at in range(len(text)))

    found = list(exposure.find_text(asked))

    assert Counter(piece.input for _, piece in found) == +expected
    assert sum(expected.values()) > 3


def test_ranks_are_dealt_what_accelerate_deals_them(folder: Path):
    from accelerate.data_loader import BatchSamplerShard

    from model_foundry.data.loader import UpdateSampler

    recorded = Recorded(folder, "shuffled", processes=2)
    exposure = open_exposure(recorded.path)

    for rank in (0, 1):
        sampler = UpdateSampler(
            recorded.course, start=0, stop=recorded.plan.updates, micro_batch_size=2, processes=2
        )
        batches = iter(BatchSamplerShard(sampler, num_processes=2, process_index=rank, even_batches=False))
        for update in recorded.dealt:
            rounds = len(recorded.dealt[update]) // 2
            dealt = [[at for at in next(batches) if at >= 0] for _ in range(rounds)]
            mine = exposure.windows_of(update, rank)
            assert [window.position for window in mine] == [at for batch in dealt for at in batch]
            assert [window.micro_batch for window in mine] == [
                number for number, batch in enumerate(dealt, start=1) for _ in batch
            ]


def batches(*arguments: str | Path) -> str:
    """Run the verb in this process and return what it printed."""
    result = CliRunner().invoke(app, ["batches", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def ordered(folder: Path) -> Recorded:
    """A recorded run of three processes, in an order that a file gives."""
    return Recorded(folder, "explicit", processes=3)


def test_json_is_one_object(ordered: Recorded):
    answer = json.loads(batches(ordered.path, "--update", "1", "--json"))

    assert (answer["update"], answer["updates"], answer["updates_done"]) == (1, 4, 0)
    assert [window["window"] for window in answer["windows"]] == [5, 3, 5, 0, 7, 9, 11, 1]
    assert set(answer["windows"][0]["documents"][0]) == {
        "document", "input", "number_in_input", "tokens", "document_tokens",
    }  # fmt: skip


def test_a_window_that_an_order_repeats_is_seen_twice(ordered: Recorded):
    piece = open_exposure(ordered.path).windows_of(1)[0].documents[0]

    answer = json.loads(batches(ordered.path, "--document", piece.document, "--json"))

    assert [shown["update"] for shown in answer["shown"] if shown["window"] == 5] == [1, 1, 3, 3]
    assert "update 3 · epoch 2 · window 5 · in part · to come" in batches(
        ordered.path, "--document", piece.document
    )


def test_windows_that_were_passed_over_belong_to_no_update(folder: Path):
    recorded = Recorded(folder, "shuffled", processes=3)
    before = open_exposure(recorded.path)
    (recorded.path / "checkpoints" / "checkpoint-3").mkdir()
    state = recorded.path / "checkpoints" / "checkpoint-3" / "trainer_state.json"
    state.write_text(json.dumps({"updates": 3, "passed_over": [1, 2]}))

    after = open_exposure(recorded.path)

    assert [after.windows_of(update) for update in (1, 2, 3)] == [
        before.windows_of(update) for update in (1, 4, 5)
    ]
    for attempt, update, is_applied in [
        (1, 1, True),
        (2, 2, False),
        (3, 2, False),
        (4, 2, True),
        (5, 3, True),
    ]:
        window = before.windows_of(attempt)[0]
        (shown,) = [
            showing
            for showing in after.showings(window.source, window.documents[0])
            if (showing.window, showing.epoch) == (window.window, window.epoch)
        ]
        assert (shown.update, shown.is_applied) == (update, is_applied)
    passed = before.windows_of(3)[0].documents[0].document
    assert "· passed over, not applied" in batches(recorded.path, "--document", passed)


def test_a_held_out_document_is_said_to_be_held_out(ordered: Recorded):
    shown = set(ordered.course.windows[0].stream.document_ids.tolist())
    (held_out, *_) = set(range(12)) - shown

    assert "is held out for validation: no update shows it" in batches(ordered.path, "--document", held_out)
    assert json.loads(batches(ordered.path, "--document", held_out, "--json"))["held_out"] is True


def test_a_text_that_is_not_there_is_not_found(ordered: Recorded):
    assert "not found in the training text" in batches(ordered.path, "--text", "Zanzibar")


def test_update_prints_text_source_document_and_span(ordered: Recorded):
    window = open_exposure(ordered.path).windows_of(2, rank=0)[0]

    output = batches(ordered.path, "--update", "2", "--rank", "0")

    assert "update 2 of 4 (to come): 1 windows of rank 0 of 16 tokens" in output
    assert "window 2 of text_files-0 · tokens 32-48 · epoch 1 · rank 0, micro-batch 1" in output
    assert f"document {window.documents[0].document} ({window.documents[0].input}, number 0 in it)" in output
    assert f"  | {window.text.splitlines()[0]}" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one of --update, --document and --text, found none of them"),
        (["--update", "1", "--text", "a"], "found --update and --text"),
        (["--update", "0"], "--update 0: the run has updates 1 to 4"),
        (["--update", "5"], "--update 5: the run has updates 1 to 4"),
        (["--update", "1", "--rank", "3"], "--rank 3: the run has ranks 0 to 2"),
        (["--text", "a", "--rank", "0"], "--rank: expected beside --update"),
        (["--text", ""], "--text: expected some text, found none"),
        (["--document", "x"], "--document x: expected a number, or SOURCE:NUMBER"),
        (["--document", "12"], "--document 12: expected a document of text_files-0, 0 to 11"),
        (["--document", "web:1"], "source web: the run has no such source. Name one of text_files-0"),
    ],
)
def test_what_cannot_be_answered_is_explained(ordered: Recorded, arguments: list[str], message: str):
    with pytest.raises(RecipeError) as raised:
        batches(ordered.path, *arguments)

    assert message in str(raised.value)


def test_a_document_of_several_sources_must_say_which(folder: Path):
    recorded = Recorded(folder, "mixture", processes=2)
    number = int(recorded.course.windows[1].stream.document_ids[0])

    with pytest.raises(RecipeError, match=r"several sources: text_files-0, text_files-1\. Name one, as in"):
        batches(recorded.path, "--document", "1")

    output = batches(recorded.path, "--document", f"text_files-1:{number}")
    assert f"text_files-1: document {number} (more.txt, number {number} in it)" in output


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(
        RunDirectoryError, match=r"recipe\.resolved\.yaml is not there, expected the folder of a run"
    ):
        batches(tmp_path, "--update", "1")


def test_a_cleaned_cache_says_how_to_rebuild(
    ordered: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MODEL_FOUNDRY_CACHE", str(tmp_path))

    with pytest.raises(
        DataError, match=r"the cache was cleaned, .*recipe\.resolved\.yaml --resume-from .*run"
    ):
        batches(ordered.path, "--update", "1")


def test_a_missing_order_is_named(folder: Path):
    recorded = Recorded(folder, "explicit", processes=4)
    (recorded.path / "order.npy").unlink()

    with pytest.raises(DataError, match=r"order\.npy: is missing, expected the order that the run was given"):
        batches(recorded.path, "--update", "1")


def test_a_run_keeps_its_explicit_order_and_refuses_another(ordered: Recorded, tmp_path: Path):
    from model_foundry.running.courses import store_order

    np.save(tmp_path / "order.npy", np.array([1, 2, 3]))

    with pytest.raises(
        DataError, match=r"the run began with this order, and the recipe's data\.order_file holds another"
    ):
        store_order(ordered.course, tmp_path / "order.npy")
    store_order(ordered.course, ordered.path / "order.npy")


def test_neither_torch_nor_transformers_is_loaded(ordered: Recorded):
    program = (
        "import sys; from model_foundry.cli import app\n"
        f"app(['batches', {str(ordered.path)!r}, '--update', '2'], standalone_mode=False)\n"
        "print('loaded:', sorted({'torch', 'transformers', 'accelerate'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"
