from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_foundry.corpus import Validation, _pieces, fast, workers, writing
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.fast import TokensDiffer
from model_foundry.corpus.fingerprint import fingerprint
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import PreparedCorpus, corpus_manifest
from model_foundry.corpus.sections import sections_of
from model_foundry.corpus.source import Input
from model_foundry.corpus.source.jsonl import JsonLines
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.errors import DataError, ResourceError
from model_foundry.tokenizer.byte import Byte
from model_foundry.tokenizer.byte_bpe import ByteBpe
from tests.texts import write_texts

SECTION = 2000


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty documents as small files, as one file of lines and as JSON lines; some blank, some not ASCII."""
    folder = tmp_path_factory.mktemp("corpus")
    write_texts(folder / "texts", documents=60)
    texts = [path.read_text() for path in sorted((folder / "texts").iterdir())]
    lines = [" ".join(text.split()) for text in texts]
    lines[7:7] = ["", "   ", "caf\u00e9\u00a0noir \u2003 \u4e2d\u6587 \U0001f600 <|endoftext|>"]
    (folder / "lines.txt").write_text("\n".join(lines) + "\n")
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return folder


def prepared(folder: Path, cache: Path, **changes: Any) -> PreparedCorpus:
    arguments: dict[str, Any] = {
        "sources": [
            TextFiles(path="texts/*.txt"),
            TextFiles(path="lines.txt", document="line"),
            JsonLines(path="texts.jsonl"),
        ],
        "validation": Validation(fraction=0.1),
        "tokenizer": ByteBpe(vocab_size=300),
        "seed": 1,
        "folders": [folder],
        "cache": cache,
    }
    return prepare_corpus(**{**arguments, **changes})


def content_of(corpus: PreparedCorpus) -> str:
    """Return everything that a corpus says about itself, with the hashes of all files."""
    return json.dumps(
        [[source.manifest for source in corpus.sources], corpus_manifest(corpus)], sort_keys=True
    )


@pytest.mark.parametrize("split", ["document", "tail"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_neither_processes_nor_sections_change_a_byte(
    corpus_folder: Path, tmp_path: Path, split: Any, number: int
):
    validation = Validation(fraction=0.1, split=split)
    whole = prepared(corpus_folder, tmp_path / "whole", validation=validation)

    divided = prepared(
        corpus_folder, tmp_path / "cache", validation=validation, workers=number, section_bytes=SECTION
    )
    again = prepared(corpus_folder, tmp_path / "cache", validation=validation, workers=number)

    assert content_of(divided) == content_of(whole) == content_of(again)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"splits", "tokenizers", "corpora"}
    assert not list((tmp_path / "cache").rglob("*sections*"))


def test_a_tokenizer_is_the_same_file_on_one_and_two_workers(corpus_folder: Path, tmp_path: Path):
    def golden(cache: str, **changes: Any) -> bytes:
        corpus = prepared(corpus_folder, tmp_path / cache, sources=[JsonLines(path="texts.jsonl")], **changes)
        return (corpus.tokenizer_folder / "tokenizer.json").read_bytes()

    assert golden("one", workers=1, section_bytes=SECTION) == golden("two", workers=2, section_bytes=SECTION)
    assert golden("one") == golden("small")


def test_sections_are_read_as_the_whole(corpus_folder: Path, tmp_path: Path):
    paragraphs = "\n\n".join(f"one {number}\ntwo\n \nthree" for number in range(300)) + "\n\n\n"
    (tmp_path / "a.txt").write_text("\ufeff" + paragraphs)
    for source in (
        TextFiles(path="a.txt", document="blank_line"),
        TextFiles(path="a.txt", document="line"),
        TextFiles(path="a.txt"),
    ):
        inputs = fingerprint(source.inputs([tmp_path]), tmp_path)
        for size in (1, 7, 100, 1000, 10_000):
            sections = sections_of(source, inputs, size)
            read = [
                text for section in sections for item in section.inputs for text in source.documents(item)
            ]

            assert read == list(source.documents(inputs[0].source_input))
            assert sum(section.size for section in sections) == inputs[0].size
            assert len(sections) > 3 or size == 10_000 or source.document == "file"


def test_small_files_share_a_section(corpus_folder: Path):
    source = TextFiles(path="texts/*.txt")
    inputs = fingerprint(source.inputs([corpus_folder]), corpus_folder)

    sections = sections_of(source, inputs, SECTION)

    assert 5 < len(sections) < 30
    assert [position for section in sections for position in section.positions] == list(range(60))


def test_a_bad_line_in_a_later_section_is_named_by_its_number_in_the_file(tmp_path: Path):
    lines = [json.dumps({"text": f"text {number}"}) for number in range(500)]
    lines[400] = "no json"
    (tmp_path / "a.jsonl").write_text("\n".join(lines))

    for number in (1, 2):
        with pytest.raises(DataError, match=r"a\.jsonl:401: is not JSON"):
            prepared(
                tmp_path,
                tmp_path / "cache",
                sources=[JsonLines(path="a.jsonl")],
                workers=number,
                section_bytes=SECTION,
            )
    assert not list((tmp_path / "cache" / "splits").glob(".*"))


PROGRAM = """
import sys
from pathlib import Path
from tests.corpus.test_sections import content_of, prepared
corpus = prepared(Path(sys.argv[1]), Path(sys.argv[2]), workers=int(sys.argv[3]), section_bytes=2000,
                  progress=lambda progress: print(progress.stage, file=sys.stderr, flush=True))
print(content_of(corpus))
"""


def start(folder: Path, cache: Path, number: int = 1, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(folder), str(cache), str(number)]
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_that_prepare_the_same_at_once_agree(corpus_folder: Path, tmp_path: Path):
    both = [start(corpus_folder, tmp_path / "cache", 2) for _ in range(2)]

    results = [process.communicate() for process in both]

    assert results[0][0] == results[1][0] != ""
    assert json.loads(results[0][0]) == json.loads(content_of(prepared(corpus_folder, tmp_path / "other")))


def kill_and_complete(folder: Path, cache: Path, seed: int, number: int) -> list[float]:
    """Kill preparation after random times until one is not, and return how long each ran, in seconds."""
    draw = random.Random(seed)
    ran = []
    while True:
        process = start(folder, cache, number)
        try:
            output, errors = process.communicate(timeout=0.3 + 1.2 * draw.random() * (1 + len(ran) / 3))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            ran.append(1.0)
            continue
        assert process.returncode == 0, errors
        assert json.loads(output) == json.loads(content_of(prepared(folder, cache.with_name("undisturbed"))))
        return ran


def test_what_is_killed_at_any_section_is_completed_to_the_same_bytes(corpus_folder: Path, tmp_path: Path):
    expected = content_of(prepared(corpus_folder, tmp_path / "undisturbed"))
    killed = start(corpus_folder, tmp_path / "cache", MODEL_FOUNDRY_FAILPOINT="corpus.section=kill")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL

    corpus = prepared(corpus_folder, tmp_path / "cache", section_bytes=SECTION)

    assert content_of(corpus) == expected
    assert not list((tmp_path / "cache").rglob(".*.unfinished"))


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(20))
def test_what_is_killed_at_a_random_time_is_completed_to_the_same_bytes(
    corpus_folder: Path, tmp_path: Path, seed: int
):
    kill_and_complete(corpus_folder, tmp_path / "cache", seed, 1 + seed % 2)


class Stopped(BaseException):
    pass


def stop_after(stage: str, count: int) -> Any:
    seen = 0

    def report(progress: Any) -> None:
        nonlocal seen
        if progress.stage.startswith(stage):
            seen += 1
            if seen == count:
                raise Stopped

    return report


def test_finished_sections_are_not_done_again(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sources = [JsonLines(path="texts.jsonl")]
    expected = content_of(prepared(corpus_folder, tmp_path / "whole", sources=sources))
    monkeypatch.setattr("model_foundry.corpus.progress._TELL_CHARACTERS", 1)
    cache = tmp_path / "cache"
    arguments: dict[str, Any] = {"sources": sources, "workers": 1, "section_bytes": SECTION}
    with pytest.raises(Stopped):
        prepared(corpus_folder, cache, progress=stop_after("tokenizing", 8), **arguments)
    finished = {path: path.stat().st_ino for path in cache.rglob("tally.json")}
    damaged = sorted(finished)[1].with_name("000.npz")
    damaged.write_bytes(damaged.read_bytes()[:-100])
    done: list[str] = []
    perform = workers.perform

    def noted(job: Any, *rest: Any) -> Iterator[Any]:
        done.append(job["target"])
        return perform(job, *rest)

    monkeypatch.setattr(workers, "perform", noted)

    corpus = prepared(corpus_folder, cache, **arguments)

    assert len(finished) > 3
    again = {Path(target) for target in done} & {path.parent for path in finished}
    assert again == {damaged.parent}
    assert content_of(corpus) == expected


def test_an_error_leaves_nothing_to_go_on_with(corpus_folder: Path, tmp_path: Path):
    def fail(progress: Any) -> None:
        if progress.stage.startswith("tokenizing"):
            raise OSError(28, "No space left on device")

    with pytest.raises(ResourceError, match=r"No space left on device\. Make room"):
        prepared(corpus_folder, tmp_path, section_bytes=SECTION, progress=fail)

    assert not [path for path in (tmp_path / "corpora").iterdir() if path.is_dir()]


def test_a_long_document_is_read_in_pieces_and_gives_the_same_tokens(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    long = " ".join((corpus_folder / "lines.txt").read_text().split()) + "\n \n  end"
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(long * 4 + name)
    arguments: dict[str, Any] = {"sources": [TextFiles(path="*.txt")], "section_bytes": SECTION}
    for validation in (Validation(fraction=0.5), Validation(fraction=0.3, split="tail")):
        for tokenizer in (ByteBpe(vocab_size=300), Byte()):
            arguments |= {"validation": validation, "tokenizer": tokenizer}
            whole = content_of(prepared(tmp_path, tmp_path / "whole", **arguments))
            with monkeypatch.context() as patch:
                patch.setattr(_pieces, "LONG_CHARACTERS", 1000)
                patch.setattr("model_foundry.corpus._blocks.BLOCK_BYTES", 700)
                source = TextFiles(path="a.txt")
                pieces = list(source.documents(Input(tmp_path / "a.txt", "a.txt")))
                assert content_of(prepared(tmp_path, tmp_path / "pieces", **arguments)) == whole
            assert len(pieces) > 20
            assert "".join(pieces) == long * 4 + "a.txt"


def test_a_text_without_places_to_cut_grows_until_there_is_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_pieces, "LONG_CHARACTERS", 10)

    pieces = list(_pieces.document_in_pieces(iter(["abc" * 30, "abc", " d", "e" * 90, "   ", ""])))

    assert pieces == ["abc" * 31, " d" + "e" * 90 + "   "]


@pytest.mark.skipif(fast.find_spec("snaptokens") is None, reason="snaptokens (extra: fast) is not installed")
def test_a_fast_tokenizer_that_differs_is_put_away_and_said(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    expected = content_of(prepared(corpus_folder, tmp_path / "whole"))
    calls = 0
    require_equal = fast.FastTokenizer.require_equal

    def differs_later(self: Any, judge: TextEncoder, texts: list[str]) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise TokensDiffer(repr(texts[0][:10]))
        require_equal(self, judge, texts)

    monkeypatch.setattr(fast.FastTokenizer, "require_equal", differs_later)
    writing.bulk_encoder.__globals__["_bulk_encoder"].cache_clear()

    corpus = prepared(corpus_folder, tmp_path / "cache", section_bytes=SECTION, workers=1)

    assert "snaptokens gives other tokens than tokenizers for" in caplog.text
    assert "all is tokenized again without it" in caplog.text
    assert content_of(corpus) == expected


def test_a_worker_that_is_killed_is_an_error_and_not_a_wait(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MODEL_FOUNDRY_FAILPOINT", "corpus.section=kill")

    with pytest.raises(ResourceError, match=r"ended with status -9, expected 0.*--workers 1"):
        prepared(corpus_folder, tmp_path, workers=2, section_bytes=SECTION)


def test_a_tokenizer_is_trained_on_a_sample_of_documents(corpus_folder: Path, tmp_path: Path):
    from model_foundry.tokenizer.character import Character

    lines = [f"{chr(0x4E00 + number)} and the same words again" for number in range(400)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    total = sum(len(line.encode()) for line in lines)

    def characters(sample: str | None, seed: int = 1, **changes: Any) -> set[str]:
        corpus = prepared(
            tmp_path,
            tmp_path / "cache",
            sources=[TextFiles(path="a.txt", document="line")],
            validation=Validation(fraction=0),
            tokenizer=Character(sample=sample),
            seed=seed,
            **changes,
        )
        return {token for token in TextEncoder(corpus.tokenizer_folder)._vocabulary if token >= "\u4e00"}

    half, other, whole = characters(f"{total // 2}"), characters(f"{total // 2}", 2), characters(None)

    assert 150 < len(half) < 250
    assert half != other
    assert len(whole) == len(characters(f"{total * 2}")) == 400
    assert characters(f"{total // 2}", section_bytes=SECTION) == half


def test_sample_sizes_are_written_as_people_write_them():
    sizes = {"50MB": 50_000_000, "1GB": 10**9, "1.5 GB": 1_500_000_000, "2k": 2000, "7": 7}

    for text, expected in sizes.items():
        assert ByteBpe(sample=text).sample == expected
    for wrong in ("", "MB", "0", "1.5", "3 words", True, "1 b"):
        with pytest.raises(ValueError, match="amount of text such as 50MB"):
            ByteBpe(sample=wrong)
    with pytest.raises(ValueError, match="is not trained, so there is nothing to sample"):
        Byte(sample="1GB")


def test_held_out_hashes_are_found_in_several_arrays_as_in_one():
    from fractions import Fraction

    from model_foundry.corpus.split import choose_hashes

    draw = np.random.default_rng(1)
    hashes = draw.integers(0, 2**64, 5000, dtype=np.uint64)
    hashes[:2000] = hashes[4000]  # a text that stands there two thousand times

    for percent in (0, 1, 10, 50, 100):
        fraction = Fraction(percent, 100)
        parts = choose_hashes(np.array_split(hashes, 7), fraction).tolist()
        singles = sorted(set(hashes.tolist()) - {int(hashes[0])})

        assert parts == choose_hashes([hashes], fraction).tolist()
        assert np.isin(hashes, parts).sum() <= 50 * percent
        if percent in (1, 10):
            assert parts == singles[: 50 * percent]
        if percent in (0, 100):
            assert len(parts) == percent * 30
