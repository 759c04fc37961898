from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from pydantic import ValidationError

from model_foundry.corpus import Validation
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.source.hub import Hub
from model_foundry.errors import DataError
from model_foundry.tokenizer.byte import Byte

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _cache_of_this_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder with two files of the split train and one of test."""
    folder = tmp_path / "recipe" / "texts"
    folder.mkdir(parents=True)
    for name, texts in {"train-0": ["a b", None], "train-1": ["c é"], "test": ["d"]}.items():
        lines = [json.dumps({"id": 1, "text": text}) for text in texts]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


def read(source: Hub, folder: Path) -> list[str]:
    return [text for item in source.inputs([folder]) for text in source.documents(item)]


def test_a_folder_is_read_split_by_split(dataset: Path):
    assert read(Hub(path="./texts"), dataset.parent) == ["a b", "", "c é"]
    assert read(Hub(path="./texts", split="test"), dataset.parent) == ["d"]
    assert read(Hub(path="./texts", data_files="train-1.jsonl"), dataset.parent) == ["c é"]


def test_a_corpus_is_prepared_from_it_and_names_no_place(tmp_path: Path, dataset: Path):
    made = prepare_corpus(
        sources=[Hub(path="./texts")],
        validation=Validation(fraction=0),
        tokenizer=Byte(),
        seed=1,
        folders=[dataset.parent],
        cache=tmp_path / "cache",
    )

    manifest = made.sources[0].manifest
    assert manifest["inputs"][0]["name"] == "texts/train-0"
    assert manifest["dropped"] == {"empty_documents": 1, "bytes": 0, "null_documents": 1}
    assert manifest["splits"]["train"]["bytes"] == len("a bc é".encode())
    assert str(tmp_path) not in json.dumps(manifest)


def test_what_the_recipe_says_are_the_arguments_of_load_dataset(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
):
    real, asked = datasets.load_dataset, []

    def load_dataset(*given: Any, **named: Any) -> Any:
        asked.append((given, named))
        return real(str(dataset), split="train")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = Hub(path="owner/name", name="en", data_dir="d", data_files=["f"], revision=COMMIT)

    assert read(source, dataset) == ["a b", "", "c é"]
    assert [item.name for item in source.inputs([])] == ["owner/name/train-0"]
    assert asked[0] == (
        ("owner/name", "en"),
        {"data_dir": "d", "data_files": ["f"], "split": "train", "revision": COMMIT},
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "owner/name"}, r"no revision is given, expected the 40 digits.*allow_unpinned: true"),
        ({"path": "owner/name", "revision": "main"}, r"'main' is no commit.*A folder is written \./owner"),
        (
            {"path": "owner/name", "revision": COMMIT, "allow_unpinned": True},
            r"the revision is a commit, so allow_unpinned has no effect",
        ),
        ({"path": "./texts", "revision": COMMIT}, r"'\./texts' is a folder, which has no revision"),
        ({"path": "./texts", "split": "train[:10%]"}, r"split\n.*should match pattern"),
    ],
)
def test_what_would_not_be_the_same_text_tomorrow_is_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        Hub(**settings)


def test_unpinned_is_possible_where_it_is_said():
    assert Hub(path="owner/name", revision="main", allow_unpinned=True).revision == "main"


def test_what_cannot_be_loaded_is_named(dataset: Path):
    with pytest.raises(
        DataError, match=r"dataset '\./texts', split 'trian': cannot be loaded: Unknown split"
    ):
        Hub(path="./texts", split="trian").inputs([dataset.parent])
    with pytest.raises(DataError, match=r"path '\./text': there is no such folder\. Looked for .*/text"):
        Hub(path="./text").inputs([dataset.parent])


def test_without_a_network_a_dataset_that_was_never_loaded_is_named():
    with pytest.raises(DataError, match=r"dataset 'owner/name', split 'train': cannot be loaded: "):
        Hub(path="owner/name", revision=COMMIT).inputs([])


def test_a_missing_column_is_named(dataset: Path):
    with pytest.raises(DataError, match=r"dataset '\./texts' .* has no column 'txt', only 'id', 'text'"):
        read(Hub(path="./texts", field="txt"), dataset.parent)


def test_a_damaged_file_of_the_cache_is_named(dataset: Path):
    source = Hub(path="./texts")
    [item] = source.inputs([dataset.parent])
    item.path.write_bytes(item.path.read_bytes()[:40])

    with pytest.raises(DataError, match=r"\.arrow: cannot be read as Arrow: .*Remove it"):
        list(source.documents(item))
