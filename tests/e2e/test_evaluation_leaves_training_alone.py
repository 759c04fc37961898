from __future__ import annotations

import json

from tests.lab import Lab

ON = [
    "evaluation=[{type: perplexity, every: 6 updates}, "
    "{type: minimal_pairs, path: pairs.tsv, every: 5 updates}]",
    "samples={prompts: [ba], every: 4 updates, tokens: 8}",
]
OFF = ["evaluation=[]", "samples=null"]


def test_a_run_with_evaluations_and_samples_has_the_weights_of_one_without(lab: Lab):
    (lab.folder / "pairs.tsv").write_text("good\tbad\nba bo\tbo ba\nku\tba ku\n")

    for name, arguments in (("on", ON), ("off", OFF)):
        status, output = lab.ends(f"--run-dir={name}", *arguments)
        assert status == 0, output

    lines = lab.metrics("on")
    for measure in ("perplexity/loss", "minimal_pairs/accuracy"):
        assert sum(measure in line for line in lines) >= 3
    assert len((lab.folder / "on" / "samples.jsonl").read_text().splitlines()) >= 3
    assert not (lab.folder / "off" / "evaluations").exists()
    weights = [lab.folder / name / "checkpoints/checkpoint-24/model.safetensors" for name in ("on", "off")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    table = json.loads((lab.folder / "on" / "evaluations" / "minimal_pairs.json").read_text())
    assert {row["update"] for row in table["rows"]} == {0, 5, 10, 15, 20, 24}
