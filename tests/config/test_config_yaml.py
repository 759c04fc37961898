from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml.scanner import Scanner

from model_foundry.config import _yaml
from model_foundry.config._yaml import Place, YamlProblem, decode, parse
from model_foundry.config.load import load_recipe
from model_foundry.errors import RecipeError

BASE = (Path(__file__).parent / "base.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 0.0003),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.0", -0.0),
        ("1e-08", 1e-08),
        ("12", 12),
        ("+12", 12),
        ("-3", -3),
        ("0", 0),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("tRuE", "tRuE"),
        ("0777", "0777"),
        ("007", "007"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("1e", "1e"),
        ("0b11", "0b11"),
        ("=", "="),
        ("50 updates", "50 updates"),
        ("10%", "10%"),
        ("texts/*.txt", "texts/*.txt"),
        ("'3e-4'", "3e-4"),
        ('"true"', "true"),
        ("1234567890123456789", "1234567890123456789"),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text: str, value: Any):
    found = parse(f"key: {text}", "r.yaml").plain()["key"]

    assert found == value
    assert type(found) is type(value)


def test_nan_is_a_number():
    assert math.isnan(parse("key: .nan", "r.yaml").plain()["key"])


def test_every_value_knows_where_it_and_its_key_stand():
    root = parse("a: 1\nb:\n  - x\n  - {c:   [2]}\n", "r.yaml")

    inner = root.value["b"].value[1].value["c"]

    assert inner.key_place == Place("r.yaml", 4, 6)
    assert inner.place == Place("r.yaml", 4, 11)
    assert str(inner.value[0].place) == "r.yaml:4:12"


def test_a_merge_key_is_a_key_like_any_other():
    assert parse("<<: {a: 1}", "r.yaml").plain() == {"<<": {"a": 1}}


def test_block_text_keeps_its_lines():
    assert parse("a: |\n  one\n  two\n", "r.yaml").plain() == {"a": "one\ntwo\n"}


HOSTILE = {
    "alias bomb": ("a: &a [x]\nb: &b [*a, *a]\n", "1:4: an anchor"),
    "merge bomb": ("a: &a {x: 1}\nb: {<<: *a}\n", "1:4: an anchor"),
    "self-reference": ("a: &a [*a]\n", "1:4: an anchor"),
    "nesting in brackets": ("a: " + "[" * 900 + "\n", "1:35: nested more than 32 deep"),
    "nesting in brackets, on a line": ("a: " + "[" * 5000, "1:1: more than 1000 brackets on one line"),
    "nesting in braces, on a line": ("a: " + "{" * 5000, "1:1: more than 1000 brackets on one line"),
    "nesting in brackets, over lines": ("[\n" * 5000, "33:1: nested more than 32 deep"),
    "nesting in dashes": ("- " * 5000, "1:65: nested more than 32 deep"),
    "nesting in keys": (
        "".join(f"{' ' * depth}a:\n" for depth in range(100)),
        "33:33: nested more than 32 deep",
    ),
    "many items": ("a: [" + "x, " * 30_000 + "]", "more keys and values than a recipe may have"),
    "many lines": ("- x\n" * 30_000, "more keys and values than a recipe may have"),
    "many bytes": ("# " + "x" * 300_000, "1:1: more than 256 KiB"),
    "python/object": ("a: !!python/object:os.system x\n", "1:4: a tag ('!')"),
    "python/object/apply": ("a: !!python/object/apply:os.system [x]\n", "1:4: a tag ('!')"),
    "python/object/new": ("a: !!python/object/new:os.system [x]\n", "1:4: a tag ('!')"),
    "python/module": ("a: !!python/module:os ''\n", "1:4: a tag ('!')"),
    "python/name": ("a: !!python/name:os.system ''\n", "1:4: a tag ('!')"),
    "python/tuple": ("a: !!python/tuple [1]\n", "1:4: a tag ('!')"),
    "custom tag": ("a: !mine x\n", "1:4: a tag ('!')"),
    "tag alone": ("a: ! x\n", "1:4: a tag ('!')"),
    "tag on a key": ("!!str a: x\n", "1:1: a tag ('!')"),
    "second document": ("a: 1\n---\nb: 1\n", "2:1: a second document"),
    "doubled key": ("a: 1\nb: 1\na: 2\n", "3:1: the key 'a' is given twice, first at r.yaml:1:1"),
    "doubled key, deep": ("a: {b: 1, b: 2}\n", "1:11: the key 'b' is given twice"),
    "key that is a number": ("a: {3: x}\n", "1:5: the key 3 is not a word"),
    "key that is a truth": ("true: x\n", "1:1: the key true is not a word"),
    "key that is nothing": (": x\n", "1:1: the key null is not a word"),
    "key that is a list": ("[a]: x\n", "1:1: a key that is not a word"),
    "escaped NUL": ('a: "\\0"\n', "1:4: an escape that is not a character"),
    "control character": ("a: \x07\n", "1:4: a control character"),
    "escape beyond Unicode": ('a: "\\UFFFFFFFF"\n', "not YAML"),
    "tab": ("a:\n\tb: 1\n", "2:1: a tab; indent with spaces"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_with_its_place(name: str):
    text, message = HOSTILE[name]

    with pytest.raises(YamlProblem) as problem:
        parse(text, "r.yaml")

    assert message in f"{problem.value.place}: {problem.value.text}".removeprefix("r.yaml:")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a: é".encode("latin-1"), "1:4: byte 3 is not UTF-8"),
        (b"a: 1\nb: \xff\n", "2:4: byte 8 is not UTF-8"),
        ("a: 1".encode("utf-16"), "1:1: begins with a byte-order mark"),
        ("a: 1".encode("utf-8-sig"), "1:1: begins with a byte-order mark"),
        ("a: 1".encode("utf-16-le"), "1:2: a NUL byte"),
        (b"a: 1\n\0", "2:1: a NUL byte"),
        (b"#" * (_yaml.MAX_BYTES + 1), "1:1: more than 256 KiB"),
    ],
)
def test_bytes_that_are_no_text_are_refused(data: bytes, message: str):
    with pytest.raises(YamlProblem) as problem:
        decode(data, "r.yaml")

    assert f"{problem.value.place}: {problem.value.text}".startswith(f"r.yaml:{message}")


def test_what_is_too_large_is_refused_before_it_is_scanned(monkeypatch: pytest.MonkeyPatch):
    scanned = []
    scan = Scanner.fetch_more_tokens
    monkeypatch.setattr(Scanner, "fetch_more_tokens", lambda self: (scanned.append(1), scan(self))[1])

    for text in ("a: " + "[" * 5000, "#" * 300_000):
        with pytest.raises(YamlProblem):
            parse(text, "r.yaml")
    assert not scanned
    parse("a: 1", "r.yaml")
    assert scanned


@pytest.mark.parametrize(
    "text",
    [
        "- &a x\n" + "- x\n" * 9_000,
        "[\n" * 9_000,
        "- !a x\n" + "- x\n" * 9_000,
        "---\n---\n" + "- x\n" * 9_000,
    ],
)
def test_reading_stops_at_the_first_event_that_is_refused(text: str, monkeypatch: pytest.MonkeyPatch):
    seen = []
    counted = _yaml._Reader.checked

    def checked(self: Any, events: Any) -> Any:
        def count() -> Any:
            for event in events:
                seen.append(event)
                yield event

        return counted(self, count())

    monkeypatch.setattr(_yaml._Reader, "checked", checked)

    with pytest.raises(YamlProblem):
        parse(text, "r.yaml")

    assert len(seen) <= 40


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path: Path):
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(10 * 1024**3)  # a hole: it holds no bytes on disk

    with pytest.raises(RecipeError, match=r"large\.yaml:1:1: more than 256 KiB"):
        load_recipe(path)


@pytest.mark.parametrize(
    "recipe",
    [
        "seed: yes\n",
        "seed: 0777\n",
        "seed: 12:30\n",
        "training: {compile: no}\n",
        "training: {gradient_clip: 1_0}\n",
        "data: {context: 0777}\n",
        "data: {context: 2024-01-01}\n",
        "training: {duration: 12:30}\n",
        "training: {duration: 0777 updates}\n",
        "model: {dropout: .nan}\n",
        "data: {context: .inf}\n",
        "data: {context: 1e999}\n",
        "training: {duration: 1e308}\n",
        "corpus: {validation: {fraction: .nan}}\n",
    ],
)
def test_nothing_becomes_a_number_or_a_truth_unseen(recipe: str, tmp_path: Path):
    (tmp_path / "base.yaml").write_text(BASE)
    path = tmp_path / "recipe.yaml"
    path.write_text(f"extends: base.yaml\n{recipe}")

    with pytest.raises(RecipeError, match=r"recipe\.yaml:2:\d+ [a-z_.]+: found .*, expected "):
        load_recipe(path)
