"""Memory does not follow the corpus: two gigabytes are prepared in less than one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from model_foundry.corpus.prepared import open_prepared
from tests.texts import write_texts

PROGRAM = """
import sys
from pathlib import Path
from model_foundry.corpus import Validation
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.source.jsonl import JsonLines
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.tokenizer.byte_bpe import ByteBpe
folder = Path(sys.argv[1])
made = prepare_corpus(
    sources=[JsonLines(path="a.jsonl"), TextFiles(path="b.txt")],
    validation=Validation(fraction=0.01, split=sys.argv[2]),
    tokenizer=ByteBpe(vocab_size=1000, sample="50MB"),
    seed=1, folders=[folder], cache=folder / "cache", workers=2,
    progress=lambda state: print(state, flush=True),
)
print(*(source.folder for source in made.sources), sep="\\n")
"""


def held_by(process: psutil.Process) -> int:
    """Return the resident bytes of a process and those that it started; what they share counts for each."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_two_gigabytes_are_prepared_in_less_than_one(tmp_path: Path):
    """Half of it in documents, half as a single one; the tokenizer is trained on 50 MB."""
    megabytes = int(os.environ.get("MODEL_FOUNDRY_TEST_MEGABYTES", "2000"))
    texts = [path.read_text() for path in sorted(write_texts(tmp_path / "t", documents=2000).iterdir())]
    block = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    lines, size = 0, 0
    with (tmp_path / "a.jsonl").open("w") as file:
        while size < megabytes * 500_000:
            size += file.write(block)
            lines += len(texts)
    whole = " ".join(texts)
    repeats = megabytes * 500_000 // len(whole) + 1
    with (tmp_path / "b.txt").open("w") as file:
        for _ in range(repeats):
            file.write(whole)
    with (tmp_path / "printed").open("w") as printed:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), "tail"], stdout=printed)
    watched, most, began = psutil.Process(process.pid), 0, time.monotonic()
    while process.poll() is None:
        most = max(most, held_by(watched))
        time.sleep(0.05)
    print(f"{most / 1e6:.0f} MB at most, {time.monotonic() - began:.0f} s")

    assert process.returncode == 0
    assert most < 1_000_000_000, f"{most / 1e6:.0f} MB"
    first, second = (
        open_prepared(Path(line), verify=True)
        for line in (tmp_path / "printed").read_text().splitlines()[-2:]
    )
    splits = [list(source.manifest["splits"].values()) for source in (first, second)]
    assert sum(side["documents"] for side in splits[0]) == lines + first.manifest["cut"]["documents"]
    assert sum(side["bytes"] for side in splits[1]) == (tmp_path / "b.txt").stat().st_size
