"""``model-foundry prepare``: what it prints is what is on disk, and nothing that is in use is removed."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.corpus.cache_listing import clean, list_cache
from model_foundry.corpus.progress import Progress
from model_foundry.errors import RecipeError
from model_foundry.running.preparing import PreparationScreen
from tests.texts import write_texts

RECIPE = """
name: tiny
corpus:
  sources: [{type: text_files, path: "texts/*.txt"}]
  validation: {fraction: 10%}
tokenizer: {type: byte_bpe, vocab_size: 300}
data: {context: 16}
model: {type: gpt2, layers: 1, width: 16, heads: 2}
training: {duration: 2 updates, batch_size: 2}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_texts(tmp_path / "texts")
    (tmp_path / "texts" / "blank.txt").write_text(" \n ")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_FOUNDRY_CACHE", str(tmp_path / "cache"))
    return tmp_path


def call(*arguments: str, answer: str = "") -> str:
    result = CliRunner().invoke(app, ["prepare", *arguments], input=answer)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_it_prints_what_is_in_the_cache(folder: Path):
    printed = call("recipe.yaml")
    facts = json.loads(call("recipe.yaml", "--json"))

    [source] = facts["sources"]
    texts = [path.read_text() for path in (folder / "texts").iterdir()]
    total = {
        unit: sum(side[unit] for side in source["splits"].values())
        for unit in ("words", "documents", "bytes")
    }
    assert total == {
        "words": sum(len(text.split()) for text in texts),
        "documents": 20,
        "bytes": sum(map(len, texts)) - 3,
    }
    tokens = np.load(Path(source["folder"]) / "train" / "tokens-00000.npy")
    assert source["splits"]["train"]["tokens"] == len(tokens)
    assert f"{len(tokens):,}" in printed
    assert "left out: 1 blank documents of 3 bytes" in printed
    assert "tokenizer  300 ids" in printed
    assert facts["tokenizer"] in printed


def test_a_page_and_the_facts_tell_what_the_corpus_is_made_of(folder: Path):
    printed = call("recipe.yaml", "--report", "pages/corpus.html")
    statistics = json.loads(call("recipe.yaml", "--json"))["statistics"]
    page = (folder / "pages" / "corpus.html").read_text()

    words = [word for path in (folder / "texts").iterdir() for word in path.read_text().split()]
    total = statistics["total"]
    assert sum(facts["words"] for facts in total.values()) == len(words)
    assert max(facts["types"]["number"] for facts in total.values()) <= len(set(words))
    assert f"{total['train']['types']['number']:,} types" in printed
    assert "page  pages/corpus.html" in printed
    assert f"<b>{len(words):,}</b><span>words</span>" in page
    assert statistics["context"] == 16
    with pytest.raises(RecipeError, match="--report is about the corpus of a recipe; name one"):
        call("--list", "--report", "page.html")


def test_overrides_and_workers_are_taken(folder: Path):
    facts = json.loads(call("recipe.yaml", "tokenizer.vocab_size=290", "--workers", "1", "--json"))

    assert facts["tokenizer_vocab_size"] == 290


def test_the_list_tells_kinds_sizes_and_what_is_unfinished(folder: Path):
    call("recipe.yaml")
    left = folder / "cache" / "corpora" / f".{'a' * 64}.unfinished"
    left.mkdir()
    (left / "part").write_bytes(b"12345")

    printed = call("--list")
    shown = json.loads(call("--list", "--json"))

    states = {(entry["kind"], entry["state"]): entry for entry in shown["entries"]}
    assert states.keys() == {("corpora", "unfinished"), ("corpora", "whole"), ("tokenizers", "whole")}
    assert states["corpora", "unfinished"]["bytes"] == 5
    assert states["corpora", "whole"]["about"]["documents"] == 20
    assert "text_files  files 21" in printed
    assert "unfinished" in printed


def test_clean_asks_and_with_a_recipe_keeps_what_that_uses(folder: Path):
    call("recipe.yaml")
    call("recipe.yaml", "tokenizer.vocab_size=290")
    before = list_cache(folder / "cache")

    refused = call("--clean", answer="n\n")
    assert len(before) == len(list_cache(folder / "cache")) == 4
    kept = call("recipe.yaml", "--clean", answer="y\n")
    left = list_cache(folder / "cache")

    assert "Remove 4 entries" in refused
    assert "removed 2 entries" in kept
    assert {entry.about.get("vocab_size", 300) for entry in left} == {300}
    assert len(left) == 2
    assert "removed 2 entries" in call("--clean", "--yes")
    assert list_cache(folder / "cache") == []


def test_what_another_process_reads_or_builds_stays(folder: Path):
    call("recipe.yaml")
    [corpus] = [entry for entry in list_cache(folder / "cache") if entry.kind == "corpora"]
    program = (
        "import numpy, sys; a = numpy.load(sys.argv[1], mmap_mode='r'); "
        "print(len(a), flush=True); sys.stdin.read()"
    )
    file = corpus.path / "train" / "tokens-00000.npy"
    reader = subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert reader.stdout is not None
    reader.stdout.readline()

    removed = call("--clean", "--yes")
    reader.communicate(b"")

    assert "removed 1 entries" in removed
    assert file.is_file()
    with corpus.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not clean(corpus, in_use=set())
    assert clean(corpus, in_use=set())
    assert not corpus.path.exists()


def test_what_cannot_go_together_says_so(folder: Path):
    with pytest.raises(RecipeError, match="name a recipe, or ask for --list or --clean"):
        call()
    with pytest.raises(RecipeError, match="ask for one of them"):
        call("--list", "--clean")
    call("recipe.yaml")
    with pytest.raises(RecipeError, match=r"cannot with --json\. Add --yes"):
        call("--clean", "--json")


def test_no_torch_is_loaded(folder: Path):
    program = (
        "import sys\nfrom model_foundry.cli import app\n"
        "try: app(['prepare', 'recipe.yaml'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_lines_tell_speed_and_time_left(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    now = 100.0
    monkeypatch.setattr("model_foundry.running.preparing.time.monotonic", lambda: now)
    screen = PreparationScreen(said.append, is_terminal=False)

    screen(Progress("tokenizing a", 0, 0, 0.2))
    now += 20
    screen(Progress("tokenizing a", 60_000_000, 30_000_000, 0.5))
    now += 1
    screen(Progress("tokenizing a", 61_000_000, 31_000_000, 0.51))
    now += 9
    screen(Progress("tokenizing a", 90_000_000, 45_000_000, 1.0))

    assert said == [
        "preparing: tokenizing a ...",
        "preparing: tokenizing a: 50%  60 MB  3.0 MB/s  1.50M tokens/s  0:33 left",
        "preparing: tokenizing a: 100%  90 MB  3.0 MB/s  1.50M tokens/s  in 30.0 s",
    ]


def test_a_terminal_has_one_bar_a_stage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "120")
    screen = PreparationScreen(print, is_terminal=True)

    for stage in ("training the tokenizer", "tokenizing a"):
        for share in (0.0, 0.5, 1.0):
            screen(Progress(stage, int(share * 2e6), 0, share))
    screen.stop()

    printed = capsys.readouterr().out
    assert "training the tokenizer" in printed
    assert "2 MB" in printed
    assert "preparing:" not in printed


EDITED = RECIPE.replace(
    "  sources:", "  interventions: [{type: replace_words, words: {engine: loom}}]\n  sources:"
)


@pytest.fixture
def engines(folder: Path) -> Path:
    """A recipe that changes twelve sentences of one text."""
    (folder / "recipe.yaml").write_text(EDITED)
    for path in (folder / "texts").glob("*.txt"):
        path.unlink()
    text = "\n".join(f"Engine {number} is the engine. A loom is not." for number in range(12))
    (folder / "texts" / "a.txt").write_text(text)
    return folder


def test_changed_sentences_are_shown_plain_in_a_pipe_and_coloured_on_a_terminal(engines: Path):
    plain = call("recipe.yaml", "--diff", "3")
    coloured = CliRunner().invoke(app, ["prepare", "recipe.yaml", "--diff", "3"], color=True).stdout

    assert plain.count("text_files-0, document 0, sentence ") == 3
    assert plain.endswith("3 of the sentences that change\n")
    assert "\x1b" not in plain
    [first, before, after] = plain.splitlines()[:3]
    number = before.split()[2]
    assert before == f"  - Engine {number} is the engine."
    assert after == f"  + Loom {number} is the loom."
    assert first == f"text_files-0, document 0, sentence {2 * int(number)}"
    assert "\x1b[31m\x1b[1mengine\x1b[0m" in coloured
    assert "\x1b[32m\x1b[1mloom\x1b[0m" in coloured


def test_all_changed_sentences_are_shown_where_more_are_asked_for(engines: Path):
    changes = json.loads(call("recipe.yaml", "--diff", "99", "--json"))["changes"]

    assert [change["sentence"] for change in changes] == list(range(0, 24, 2))
    assert changes[0]["before"] == "Engine 0 is the engine."


def test_no_colour_where_none_is_wanted(engines: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b" not in CliRunner().invoke(app, ["prepare", "recipe.yaml", "--diff", "3"], color=True).stdout


def test_a_diff_needs_a_recipe_with_interventions(folder: Path):
    with pytest.raises(RecipeError, match=r"corpus\.interventions: there are none, so there"):
        call("recipe.yaml", "--diff", "3")
    with pytest.raises(RecipeError, match="--diff shows what a recipe changes; name one, without --list"):
        call("--list", "--diff", "3")
