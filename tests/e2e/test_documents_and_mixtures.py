from __future__ import annotations

import json

import pytest

pytestmark = [pytest.mark.e2e]

BLOOM = "model={type: transformers, config: BloomConfig, hidden_size: 16, n_layer: 1, n_head: 2}"


@pytest.mark.parametrize("documents", ["isolate", "pad"])
def test_other_document_modes_train_and_resume_exactly(lab, documents):
    mode = f"data.documents={documents}"
    lab.run("--run-dir=straight", mode)
    lab.kill_at(13, "killed", mode)

    lab.run("--run-dir=killed", "--resume-from=latest", mode)

    assert lab.weights("killed") == lab.weights("straight")
    assert lab.metrics("killed") == lab.metrics("straight")
    packing = json.loads((lab.folder / "killed" / "plan.json").read_text())["corpus"]["packing"]
    assert packing["kept_tokens"] == 100.0
    statistics = json.loads((lab.folder / "killed" / "corpus.statistics.json").read_text())
    if documents == "pad":
        windows = statistics["total"]["train"]["windows"]
        assert 100 * windows["padding_if_padded"] == pytest.approx(packing["padding"])
    assert "Documents by their length in words" in (lab.folder / "killed" / "report.html").read_text()


def test_isolation_is_refused_where_it_cannot_be_kept(lab):
    output = lab.run("--run-dir=bloom", BLOOM, "data.documents=isolate", status=2)

    assert "data.documents: isolate cannot be kept by BloomForCausalLM: a document's logits move by" in output
    assert "Use documents: pad" in output


def test_a_mixture_in_stages_trains_and_resumes_exactly(lab):
    (lab.folder / "more.txt").write_text(
        "\n".join(f"line {number} of the second source" for number in range(90))
    )
    arguments = [
        'corpus.sources=[{type: text_files, path: "texts/*.txt"}, '
        "{type: text_files, path: more.txt, document: line}]",
        "data.mixture={stages: [{duration: 8 updates, weights: [0.75, 0.25]}, {weights: [0.5, 0.5]}]}",
    ]
    lab.run("--run-dir=straight", *arguments)
    lab.kill_at(13, "killed", *arguments)

    lab.run("--run-dir=killed", "--resume-from=latest", *arguments)

    assert lab.weights("killed") == lab.weights("straight")
    plan = json.loads((lab.folder / "killed" / "plan.json").read_text())
    assert [stage["shares"] for stage in plan["stages"]] == [
        {"text_files-0": 0.75, "text_files-1": 0.25},
        {"text_files-0": 0.5, "text_files-1": 0.5},
    ]


def test_an_explicit_order_shows_the_windows_that_the_file_names(lab):
    (lab.folder / "order.txt").write_text("5\n3\n5\n0\n")
    arguments = [
        "data.order=explicit",
        "data.order_file=order.txt",
        "training.duration=2 epochs",
        "training.batch_size=2",
    ]

    lab.run("--run-dir=explicit", *arguments)

    lines = [line for line in lab.metrics("explicit") if "loss" in line]
    assert [line["tokens"] for line in lines] == [32, 64, 96, 128]


def test_an_explicit_order_that_names_unknown_windows_is_refused(lab):
    (lab.folder / "order.txt").write_text("5\n100000\n")

    output = lab.run("--run-dir=explicit", "data.order=explicit", "data.order_file=order.txt", status=3)

    assert "order.txt: expected ids from 0 to" in output


def test_deterministic_mode_changes_nothing_on_a_cpu(lab):
    lab.run("--run-dir=plain")
    lab.run("--run-dir=deterministic", "training.deterministic=true")

    assert lab.weights("plain") == lab.weights("deterministic")
