"""A corpus of 10^10 tokens: opened, planned and sought like a small one."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TOKENS = 10**10
DOCUMENT = 1000

OPEN_AND_SEEK = """
import json, resource, sys, time
import numpy as np
from pathlib import Path
from model_foundry.data.course import Course
from model_foundry.data.loader import UpdateSampler, WindowDataset
from model_foundry.data.stream import TokenStream
from model_foundry.data.windows import Windows, packing

def resident():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024

folder = Path(sys.argv[1])
share = float(sys.argv[2])
manifest = json.loads((folder / "manifest.json").read_text())
before = resident()
began = time.process_time()
stream = TokenStream("sparse", folder, "train", manifest, np.ones(50_000, np.int32))
windows = Windows(stream, 1024, "concatenate")
packing([windows])
course = Course([windows], seed=1, mode="shuffle_each_epoch", batch_size=8)
update = int(course.batches.first_update(1) * share)
stop = course.batches.first_update(1)
sampler = iter(UpdateSampler(course, start=update, stop=stop, micro_batch_size=8, processes=1))
batch = WindowDataset(course).__getitems__(next(sampler))
place = course.place(course.span(update)[0])
found = course.update_of(place.source, place.window, place.epoch)
print(json.dumps({"updates": stop, "targets": int(batch["exposure"][0]), "found": found,
                  "update": update, "resident": resident() - before, "seconds": time.process_time() - began}))
"""


@pytest.fixture(scope="module")
def sparse_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards that hold no data blocks: files of the right length, all zeros."""
    folder = tmp_path_factory.mktemp("sparse")
    (folder / "train").mkdir()

    def sparse(name: str, dtype: str, length: int) -> None:
        np.lib.format.open_memmap(folder / name, mode="w+", dtype=dtype, shape=(length,)).flush()

    shards = []
    shard = 2**31
    for index, start in enumerate(range(0, TOKENS, shard)):
        length = min(shard, TOKENS - start)
        sparse(f"train/tokens-{index:05d}.npy", "<u2", length)
        sparse(f"train/words-{index:05d}.npy", "|u1", length)
        names = {"tokens": f"train/tokens-{index:05d}.npy", "words": f"train/words-{index:05d}.npy"}
        shards.append({**names, "length": length})
    documents = TOKENS // DOCUMENT
    offsets = np.lib.format.open_memmap(
        folder / "train/document_offsets.npy", mode="w+", dtype="<i8", shape=(documents + 1,)
    )
    offsets[:] = np.arange(0, TOKENS + 1, DOCUMENT)
    offsets.flush()
    for name in ("document_words", "document_bytes", "document_ids"):
        sparse(f"train/{name}.npy", "<i8", documents)
    facts = {
        "documents": documents,
        "words": TOKENS // 2,
        "bytes": 4 * TOKENS,
        "tokens": TOKENS,
        "shards": shards,
    }
    (folder / "manifest.json").write_text(json.dumps({"splits": {"train": facts}}))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_ten_thousand_million_tokens_open_and_seek_anywhere_at_once(sparse_corpus, share):
    output = subprocess.run(
        [sys.executable, "-c", OPEN_AND_SEEK, str(sparse_corpus), str(share)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    facts = json.loads(output)

    assert facts["updates"] == math.ceil(math.ceil((TOKENS - 1) / 1024) / 8)
    assert facts["targets"] == 8 * 1024
    assert facts["found"] == facts["update"]
    assert facts["resident"] < 200 * 10**6  # a bound of the issue, of memory and not of time
    print(facts)
