from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
import torch

from model_foundry.errors import DataError
from model_foundry.evaluation import Subject, lm_eval
from model_foundry.evaluation._harness import COLUMNS, Asked, HarnessTasks, _table
from model_foundry.evaluation.lm_eval import LmEval

NOBODY = Subject(object(), torch.device("cpu"), None, {}, 16)  # type: ignore[arg-type]

ASKED = Asked(("pairs",), shots=2, limit=None, batch_size=4, label="lm_eval")


def without(name: str) -> str:
    raise PackageNotFoundError(name)


def test_an_argument_names_tasks_and_a_folder(tmp_path):
    settings = LmEval.from_argument(f"blimp_adjunct_island,{tmp_path},mine")

    assert settings.tasks == ["blimp_adjunct_island", "mine"]
    assert settings.include == str(tmp_path)
    assert LmEval.from_argument("a").include is None


def test_a_missing_library_is_named_with_the_extra(monkeypatch):
    monkeypatch.setattr(lm_eval, "version", without)

    with pytest.raises(DataError, match=r"is not installed.*pip install 'model-foundry\[eval\]'"):
        LmEval(tasks=["a"]).open(NOBODY, [])


def test_a_missing_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(lm_eval, "version", lambda name: "0.4.13")

    with pytest.raises(DataError, match=r"there is no folder none\. Looked for"):
        LmEval(tasks=["a"], include="none").open(NOBODY, [tmp_path])


def test_the_content_is_that_of_the_task_files(monkeypatch, tmp_path):
    monkeypatch.setattr(lm_eval, "version", lambda name: "0.4.13")
    settings = LmEval(tasks=["a"], include="mine")
    (tmp_path / "mine").mkdir()
    contents = []
    for text in ("one", "two", "one"):
        (tmp_path / "mine" / "data.jsonl").write_text(text)
        contents.append(settings.open(NOBODY, [tmp_path]).content)

    assert contents[0] == contents[2] != contents[1]


def test_models_that_the_library_cannot_score_are_refused():
    with pytest.raises(DataError, match="scores causal models of transformers, and this is none"):
        HarnessTasks(ASKED, "0.4.13", None).score(NOBODY, 0)


def test_what_the_library_returns_becomes_rows_and_measures():
    samples = [
        {"doc_id": 0, "metrics": ["acc"], "acc": 1.0, "filtered_resps": [(-1.5, False), (-2.0, False)]},
        {"doc_id": 1, "metrics": ["acc"], "acc": 0.0, "filtered_resps": [(-3.0, True), (-2.0, False)]},
    ]
    figures = {"alias": "pairs", "acc,none": 0.5, "acc_stderr,none": 0.1}
    found = {"samples": {"pairs": samples}, "results": {"pairs": figures}}

    table = _table(found)
    outcome = HarnessTasks(ASKED, "0.4.13", None).summarise(table)

    assert tuple(table) == COLUMNS
    assert table["document"] == [0, 1, None]
    assert table["value"] == [1.0, 0.0, 0.5]
    [measure] = outcome.measures
    assert (measure.name, measure.level, measure.group, measure.items) == ("acc", "task", "pairs", 2)
    assert (measure.low, measure.high) == pytest.approx((0.5 - 0.196, 0.5 + 0.196))
    assert outcome.facts["shots"] == 2
