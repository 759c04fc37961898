"""From raw text to tokens on disk: speed, memory and disk beside the usual ways.

    python -m benchmarks.corpus make CORPUS.jsonl --megabytes 105 --texts "texts/*.txt" ...
    python -m benchmarks.corpus compare CORPUS.jsonl --tokenizer FOLDER [--ways ours run_clm] [--turns 3]
    python -m benchmarks.corpus train-tokenizer CORPUS.jsonl --vocabulary 32000

Documents are JSON lines; all ways use two processes and the same vocabulary. Timed is from the call to the
finished files, without the imports of Python modules: for ours that is the published cache entry, written,
synchronised, hashed and opened again. CPU seconds are of all processes, imports included: on a busy machine
they say more than the clock. Memory is the largest sum, over a way's processes, of what each holds
for itself and its share of what they hold together (PSS on Linux), looked at 50 times a second.

run_clm       datasets: load json, map (batched, 2 processes), group into rows of 1,024 (the rest is dropped)
nanogpt       datasets: load json, map one document at a time with tiktoken (2 processes), one flat file;
              asks for ``--python`` with tiktoken and datasets, and a GPT-2 vocabulary
tokenizers    ours without snaptokens
"""

from __future__ import annotations

import argparse
import glob
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROCESSES = 2


def make(target: Path, megabytes: int, patterns: list[str]) -> None:
    """Write documents of about 4,000 characters of some texts, shuffled, as often as it takes."""
    documents = []
    for path in sorted({path for pattern in patterns for path in glob.glob(pattern, recursive=True)}):
        held: list[str] = []
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            held.append(line)
            if sum(map(len, held)) > 4000:
                documents.append("\n".join(held))
                held = []
        documents.append("\n".join(held))
    draw = random.Random(0)
    size = 0
    with target.open("w", encoding="utf-8") as file:
        while size < megabytes * 1_000_000:
            draw.shuffle(documents)
            for document in documents:
                size += file.write(json.dumps({"text": document}, ensure_ascii=False) + "\n")
                if size >= megabytes * 1_000_000:
                    break


def ours(corpus: Path, tokenizer: Path, folder: Path, *, fast: bool = True) -> tuple[float, int]:
    """Return the seconds and the tokens of ``prepare_corpus``."""
    from model_foundry.corpus import Validation
    from model_foundry.corpus.prepare import prepare_corpus
    from model_foundry.corpus.source.jsonl import JsonLines
    from model_foundry.tokenizer.pretrained import Pretrained

    began = time.perf_counter()
    made = prepare_corpus(
        sources=[JsonLines(path=str(corpus))],
        validation=Validation(fraction=0.01),
        tokenizer=Pretrained(path=str(tokenizer)),
        seed=1,
        folders=[],
        cache=folder,
        workers=PROCESSES,
        fast=fast,
    )
    seconds = time.perf_counter() - began
    return seconds, sum(side["tokens"] for side in made.sources[0].manifest["splits"].values())


def run_clm(corpus: Path, tokenizer: Path, folder: Path) -> tuple[float, int]:
    """Return the seconds and the tokens of what causal language modelling examples do."""
    from datasets import load_dataset
    from transformers import AutoTokenizer

    context = 1024
    loaded = AutoTokenizer.from_pretrained(tokenizer)

    def encode(batch: dict[str, list[str]]) -> Any:
        return loaded(batch["text"])

    def group(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = {name: [item for row in rows for item in row] for name, rows in batch.items()}
        length = len(joined["input_ids"]) // context * context
        rows = {
            name: [items[at : at + context] for at in range(0, length, context)]
            for name, items in joined.items()
        }
        return {**rows, "labels": rows["input_ids"].copy()}

    began = time.perf_counter()
    raw = load_dataset("json", data_files=str(corpus), cache_dir=str(folder), split="train")
    tokens = raw.map(encode, batched=True, num_proc=PROCESSES, remove_columns=["text"])
    grouped = tokens.map(group, batched=True, num_proc=PROCESSES)
    return time.perf_counter() - began, len(grouped) * context


def nanogpt(corpus: Path, tokenizer: Path, folder: Path) -> tuple[float, int]:
    """Return the seconds and the tokens of a script that encodes document by document into one flat file."""
    import numpy as np
    import tiktoken
    from datasets import load_dataset

    description = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    bytes_of = {chr(byte): byte for byte in printable} | {
        chr(256 + at): byte for at, byte in enumerate(others)
    }
    ranks = {
        bytes(bytes_of[sign] for sign in token): number
        for token, number in description.items()
        if token != "<|endoftext|>"
    }
    end = description["<|endoftext|>"]
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
    encoding = tiktoken.Encoding(
        "gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": end}
    )

    def encode(example: dict[str, str]) -> dict[str, Any]:
        ids = [*encoding.encode_ordinary(example["text"]), end]
        return {"ids": ids, "len": len(ids)}

    began = time.perf_counter()
    raw = load_dataset("json", data_files=str(corpus), cache_dir=str(folder), split="train")
    tokens = raw.map(encode, remove_columns=["text"], num_proc=PROCESSES)
    length = int(np.sum(tokens["len"], dtype=np.uint64))
    flat = np.memmap(folder / "train.bin", dtype=np.uint16, mode="w+", shape=(length,))
    at, shards = 0, min(1024, len(tokens))
    for number in range(shards):
        batch = tokens.shard(num_shards=shards, index=number, contiguous=True).with_format("numpy")
        joined = np.concatenate(batch["ids"])
        flat[at : at + len(joined)] = joined
        at += len(joined)
    flat.flush()
    return time.perf_counter() - began, length


WAYS = {
    "ours": ours,
    "tokenizers": lambda corpus, tokenizer, folder: ours(corpus, tokenizer, folder, fast=False),
    "run_clm": run_clm,
    "nanogpt": nanogpt,
}


def measure(way: str, corpus: Path, tokenizer: Path, python: str) -> dict[str, float]:
    """Return speed, memory and disk of one way, run in a process of its own."""
    import psutil

    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        command = [
            python,
            __file__,
            "one",
            way,
            str(corpus),
            "--tokenizer",
            str(tokenizer),
            "--folder",
            folder,
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        watched, peak, most_disk = psutil.Process(process.pid), 0, 0
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        looks = 0
        while process.poll() is None:
            peak = max(peak, sum(map(_held, [watched, *_children(watched)])))
            if looks % 10 == 0:
                most_disk = max(most_disk, _disk(Path(folder)))
            looks += 1
            time.sleep(0.02)
        assert process.stdout is not None
        seconds, tokens = json.loads(process.stdout.read().splitlines()[-1])
        most_disk = max(most_disk, _disk(Path(folder)))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "seconds": seconds,
            "tokens": tokens,
            "tokens_per_second": tokens / seconds,
            "peak_bytes": peak,
            "peak_disk_bytes": most_disk,
            "disk_bytes": _disk(Path(folder)),
        }


def _children(process: Any) -> list[Any]:
    import psutil

    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _held(process: Any) -> int:
    import psutil

    try:
        memory = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return int(getattr(memory, "pss", memory.uss))


def _disk(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def compare(corpus: Path, tokenizer: Path, ways: list[str], turns: int, python: str) -> None:
    """Print the median of each way over some turns, and its ratio to the first one."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for turn in range(turns):
        for way in ways:
            one = measure(way, corpus, tokenizer, python if way == "nanogpt" else sys.executable)
            found[way].append(one)
            print(turn, way, json.dumps(one), flush=True)
    first = statistics.median(one["tokens_per_second"] for one in found[ways[0]])
    for way, all_turns in found.items():
        median = {name: statistics.median(one[name] for one in all_turns) for name in all_turns[0]}
        print(
            f"{way:<12} {median['cpu_seconds']:7.2f} CPU s  "
            f"{median['tokens_per_second'] / 1e6:7.2f} Mtokens/s  {median['seconds']:7.2f} s  "
            f"{median['peak_bytes'] / 1e6:6.0f} MB peak  {median['disk_bytes'] / 1e6:6.0f} MB on disk "
            f"(peak {median['peak_disk_bytes'] / 1e6:.0f})  {median['tokens_per_second'] / first:5.2f}"
        )


def train_tokenizer(corpus: Path, vocabulary: int) -> None:
    """Print how long a tokenizer takes, with ours and with ``tokenizers`` alone, on the same text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from model_foundry.tokenizer.byte_bpe import ByteBpe

    def texts() -> Any:
        with corpus.open(encoding="utf-8") as file:
            yield from (json.loads(line)["text"] for line in file)

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        ByteBpe(vocab_size=vocabulary).write(Path(folder), texts(), [])
        print(f"ours        {time.perf_counter() - began:.2f} s")
        began = time.perf_counter()
        alone = Tokenizer(models.BPE())
        alone.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alone.decoder = decoders.ByteLevel()
        alone.train_from_iterator(
            texts(),
            trainers.BpeTrainer(
                vocab_size=vocabulary,
                min_frequency=2,
                special_tokens=["<|endoftext|>"],
                initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                show_progress=False,
            ),
        )
        print(f"tokenizers  {time.perf_counter() - began:.2f} s")
        made = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        print("the same files" if made.to_str() == alone.to_str() else "other files")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("make")
    one.add_argument("corpus", type=Path)
    one.add_argument("--megabytes", type=int, default=105)
    one.add_argument("--texts", nargs="+", required=True)
    one = verbs.add_parser("compare")
    one.add_argument("corpus", type=Path)
    one.add_argument("--tokenizer", type=Path, required=True)
    one.add_argument("--ways", nargs="+", choices=WAYS, default=["run_clm", "ours", "tokenizers"])
    one.add_argument("--turns", type=int, default=3)
    one.add_argument("--python", default=sys.executable)
    one = verbs.add_parser("one")
    one.add_argument("way", choices=WAYS)
    one.add_argument("corpus", type=Path)
    one.add_argument("--tokenizer", type=Path, required=True)
    one.add_argument("--folder", type=Path, required=True)
    one = verbs.add_parser("train-tokenizer")
    one.add_argument("corpus", type=Path)
    one.add_argument("--vocabulary", type=int, default=32000)
    given = parser.parse_args()
    if given.verb == "make":
        make(given.corpus, given.megabytes, given.texts)
    elif given.verb == "compare":
        compare(given.corpus, given.tokenizer, given.ways, given.turns, given.python)
    elif given.verb == "one":
        shutil.rmtree(given.folder, ignore_errors=True)
        given.folder.mkdir(parents=True)
        print(json.dumps(WAYS[given.way](given.corpus.resolve(), given.tokenizer.resolve(), given.folder)))
    else:
        train_tokenizer(given.corpus, given.vocabulary)


if __name__ == "__main__":
    main()
