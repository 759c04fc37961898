"""Minimal pairs and surprisal beside lm-evaluation-harness and minicons: texts a second, on one model.

    python -m benchmarks.evaluation --blimp PATH --peers PYTHON [--items 300] [--rounds 3]

PATH is the folder with BLiMP's files, PYTHON an interpreter that has lm-eval and minicons. Each side scores
the same texts with the same model (GPT-2's shape, random weights) in a process that loads first and is then
told, in turns, to score; only scoring is timed. The median of the ratios of neighbouring turns counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("anaphor_gender_agreement", "irregular_past_participle_verbs", "wh_island")
SIZES = {
    "demo": {"n_layer": 4, "n_embd": 128, "n_head": 4, "n_positions": 256, "vocab_size": 2048},
    "25M": {"n_layer": 8, "n_embd": 448, "n_head": 8, "n_positions": 256, "vocab_size": 12_000},
}

PEER = """
import json, sys, time
import torch
torch.set_num_threads(int(sys.argv[4]))
kind, model, items = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3]))
if kind == "lm_eval":
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    peer = HFLM(pretrained=model, device="cpu", batch_size=64, dtype="float32")
    def requests():
        return [Instance("loglikelihood", {}, ("", text), n) for n, pair in enumerate(items) for text in pair]
    score = lambda: peer.loglikelihood(requests(), disable_tqdm=True)
else:
    from minicons import scorer
    peer = scorer.IncrementalLMScorer(model, "cpu")
    peer.tokenizer.bos_token = peer.tokenizer.eos_token  # what stands before a text here, too
    texts = [text for pair in items for text in pair]
    def score():
        for start in range(0, len(texts), 64):
            peer.token_score(texts[start : start + 64], surprisal=True, bos_token=True, base_two=True)
print("ready", flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    score()
    print(time.perf_counter() - began, flush=True)
"""


class Ours:
    """The package's own scoring of the same items."""

    def __init__(self, model: Path, items: list[list[str]], folder: Path) -> None:
        import torch

        from model_foundry.corpus.encoder import TextEncoder
        from model_foundry.evaluation import Subject
        from model_foundry.evaluation.minimal_pairs import MinimalPairs
        from model_foundry.evaluation.surprisal import Surprisal
        from model_foundry.running.evaluating import load_for_evaluation

        (folder / "pairs.jsonl").write_text(
            "".join(json.dumps({"good": good, "bad": bad}) + "\n" for good, bad in items)
        )
        (folder / "texts.txt").write_text("".join(f"{text}\n" for pair in items for text in pair))
        encoder = TextEncoder(model)
        device = torch.device("cpu")
        loaded, _ = load_for_evaluation(device)(model)
        self.subject = Subject(loaded, device, encoder, {}, context=256)
        self.folder = folder
        self.settings = {
            "lm_eval": MinimalPairs(path="pairs.jsonl"),
            "minicons": Surprisal(path="texts.txt", unit="token"),
        }

    def seconds(self, kind: str) -> float:
        """Score everything once, reading and tokenizing included; return the seconds."""
        from model_foundry.evaluation import run_suite

        began = time.perf_counter()
        run_suite(self.settings[kind].open(self.subject, [self.folder]), self.subject)
        return time.perf_counter() - began


def all_sentences(blimp: Path) -> list[str]:
    """Return the good sentences of all files, enough to learn a vocabulary from."""
    lines = (line for path in sorted(blimp.glob("*.jsonl")) for line in path.read_text().splitlines())
    return [json.loads(line)["sentence_good"] for line in lines]


def make_model(folder: Path, texts: list[str], size: dict[str, int]) -> None:
    """Write a model and a byte-level BPE tokenizer of 2,048 tokens, learned from the texts."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    from model_foundry.tokenizer.byte_bpe import ByteBpe

    ByteBpe(vocab_size=2048).write(folder, iter(texts), [])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    special = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    GPT2LMHeadModel(GPT2Config(**size, **special)).save_pretrained(folder)


def compare(kind: str, ours: Ours, peer: subprocess.Popen[str], texts: int, rounds: int) -> dict[str, Any]:
    """Let both score in turns; return texts a second and the ratios."""
    assert peer.stdin is not None
    assert peer.stdout is not None
    pairs = []
    for turn in range(rounds + 1):
        mine = ours.seconds(kind)
        peer.stdin.write("go\n")
        peer.stdin.flush()
        theirs = float(peer.stdout.readline())
        if turn:  # the first one warms up
            pairs.append((mine, theirs))
    ratios = [theirs / mine for mine, theirs in pairs]
    return {
        "ratio": round(statistics.median(ratios), 2),
        "lowest_ratio": round(min(ratios), 2),
        "highest_ratio": round(max(ratios), 2),
        "our_texts_per_second": round(texts / statistics.median(mine for mine, _ in pairs)),
        "their_texts_per_second": round(texts / statistics.median(theirs for _, theirs in pairs)),
    }


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blimp", type=Path, required=True)
    parser.add_argument("--peers", required=True)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", choices=[*SIZES, "both"], default="both")
    parser.add_argument("--peer", choices=["lm_eval", "minicons", "both"], default="both")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    items: list[list[str]] = []
    for name in NAMES:
        lines = (options.blimp / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        records = map(json.loads, lines[: options.items // len(NAMES)])
        items += [[one["sentence_good"], one["sentence_bad"]] for one in records]
    result: dict[str, Any] = {"pairs": len(items), "rounds": options.rounds, "threads": options.threads}
    for size in SIZES if options.size == "both" else [options.size]:
        result[size] = measure(SIZES[size], items, options)
    print(json.dumps(result, indent=2))


def measure(size: dict[str, int], items: list[list[str]], options: argparse.Namespace) -> dict[str, Any]:
    """Compare with both peers on a model of this size."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model").mkdir()
        make_model(folder / "model", all_sentences(options.blimp), size)
        (folder / "items.json").write_text(json.dumps(items))
        ours = Ours(folder / "model", items, folder)
        for kind in ("lm_eval", "minicons") if options.peer == "both" else [options.peer]:
            arguments = [kind, str(folder / "model"), str(folder / "items.json"), str(options.threads)]
            peer = subprocess.Popen(
                [options.peers, "-c", PEER, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sys.stderr,
                text=True,
            )
            assert peer.stdout is not None
            while peer.stdout.readline().strip() not in ("ready", ""):
                pass
            result[kind] = compare(kind, ours, peer, 2 * len(items), options.rounds)
            assert peer.stdin is not None
            peer.stdin.close()
            peer.wait()
    return result


if __name__ == "__main__":
    main()
