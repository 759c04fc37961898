"""Memory does not follow the corpus: two gigabytes are prepared by processes that may not have one.

Each of the three processes has a limit of writable memory (``RLIMIT_DATA``: heap, stacks, private maps,
touched or not), and the limits are a gigabyte together, so that they could not have had more of it: beyond
the limit an allocation fails, and so would the test. What the limit does not count are pages of files,
libraries among them, which the system takes back when memory is short; they are in the PSS (what a process
holds for itself, and its share of what it holds with others) that is watched beside it. A group of processes
with a limit of its own (cgroup) would count both; it needs rights that a test does not have.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from model_foundry.corpus.describing import describe_corpus
from model_foundry.corpus.distinct import MOST
from model_foundry.corpus.prepared import PreparedCorpus, open_prepared
from tests.texts import write_texts

LIMIT_BYTES, WORKER_BYTES = 460_000_000, 270_000_000
"""Of the first process and of each of the two that it starts: 1 GB together."""

PROGRAM = """
import resource, sys
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # and of its workers, until they have a lower one
try:
    bytearray(limit)
except MemoryError:
    pass
else:
    sys.exit("the limit does not hold")
from pathlib import Path
from model_foundry.corpus import Validation
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.source.jsonl import JsonLines
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.tokenizer.byte_bpe import ByteBpe
folder = Path(sys.argv[1])
made = prepare_corpus(
    sources=[JsonLines(path="a.jsonl"), TextFiles(path="b.txt")],
    validation=Validation(fraction=0.01, split="tail"),
    tokenizer=ByteBpe(vocab_size=1000, sample="50MB"),
    seed=1, folders=[folder], cache=folder / "cache", workers=2,
    progress=lambda state: print(state, flush=True),
)
print(*(source.folder for source in made.sources), sep="\\n")
"""


def held_by(processes: list[psutil.Process]) -> int:
    """Return the proportional set size of processes, added up."""
    total = 0
    for one in processes:
        try:
            total += one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def write_corpus(folder: Path, megabytes: int) -> int:
    """Write half of it in documents, half as a single one, each text with a word of its own.

    Returns the number of documents.
    """
    texts = [path.read_text() for path in sorted(write_texts(folder / "t", documents=2000).iterdir())]
    lines, size = 0, 0
    with (folder / "a.jsonl").open("w") as file:
        while size < megabytes * 500_000:
            for text in texts:
                size += file.write(json.dumps({"text": f"{text} document{lines}"}) + "\n")
                lines += 1
    size = number = 0
    with (folder / "b.txt").open("w") as file:
        while size < megabytes * 500_000:
            for text in texts:
                size += file.write(f"{text} word{number} ")
                number += 1
    return lines


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts all writable memory on Linux alone")
def test_two_gigabytes_are_prepared_in_less_than_one(tmp_path: Path):
    """The tokenizer is trained on 50 MB; there are more types and documents than the statistics keep."""
    megabytes = int(os.environ.get("MODEL_FOUNDRY_TEST_MEGABYTES", "2000"))
    lines = write_corpus(tmp_path, megabytes)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "2"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(LIMIT_BYTES)]
    with (tmp_path / "printed").open("w") as printed:
        process = subprocess.Popen(command, stdout=printed, env=environment)
    watched, most, began = psutil.Process(process.pid), 0, time.monotonic()
    workers: set[int] = set()
    while process.poll() is None:
        try:
            alive = watched.children(recursive=True)
            for worker in alive:
                if worker.pid not in workers:
                    worker.rlimit(psutil.RLIMIT_DATA, (WORKER_BYTES, WORKER_BYTES))
                    workers.add(worker.pid)
            most = max(most, held_by([watched, *alive]))
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.05)
    print(f"{most / 1e6:.0f} MB at most (PSS), {time.monotonic() - began:.0f} s, {lines:,} documents")

    assert process.returncode == 0
    assert len(workers) == 2
    assert most < 1_000_000_000, f"{most / 1e6:.0f} MB"
    made = [
        open_prepared(Path(line), verify=True)
        for line in (tmp_path / "printed").read_text().splitlines()[-2:]
    ]
    splits = [list(source.manifest["splits"].values()) for source in made]
    assert sum(side["documents"] for side in splits[0]) == lines + made[0].manifest["cut"]["documents"]
    assert sum(side["bytes"] for side in splits[1]) == (tmp_path / "b.txt").stat().st_size
    described = describe_corpus(PreparedCorpus(tmp_path, made, []), 1024)["sources"][0]["sides"]["train"]
    expected = described["documents"]  # each brings a word of its own, and no document comes twice
    assert (described["types"]["standard_error"] > 0) == (expected > MOST)
    assert described["types"]["number"] == pytest.approx(expected, rel=0.01)
    assert described["duplicates"]["documents"] < 0.01 * expected
