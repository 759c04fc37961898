from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_foundry.errors import DataError
from model_foundry.evaluation._reading import files_of, read_items
from model_foundry.evaluation.formats import Item, Text
from model_foundry.evaluation.formats.formula import parse

BLIMP = {
    "sentence_good": "The dogs bark.",
    "sentence_bad": "The dogs barks.",
    "field": "syntax/semantics",
    "linguistics_term": "s-selection",
    "UID": "own_paradigm",
    "pairID": "7",
}


def write(path: Path, *lines: str | dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, format_name: str, **names: str) -> list[Item]:
    return read_items(str(path), format_name, names, None, [path.parent])[0]


def counted(text: Text) -> list[str]:
    return [text.text[start:stop] for start, stop in text.stretches()]


def test_blimp_merges_what_the_paper_merges_and_keeps_the_files_own_term(tmp_path):
    [item] = read(write(tmp_path / "a.jsonl", BLIMP), "blimp")

    assert item.paradigm == "own_paradigm"
    assert item.id == "7"
    assert [text.text for text in item.texts] == ["The dogs bark.", "The dogs barks."]
    assert item.groups == {
        "phenomenon": "argument_structure",
        "linguistics_term": "s-selection",
        "field": "syntax_semantics",
    }


def test_the_files_of_blimp_are_read_as_they_are(test_data):
    items, _ = read_items("eval-blimp/data", "blimp", {}, None, [test_data])

    assert len(items) == 67_000
    assert len({item.paradigm for item in items}) == 67
    assert len({item.groups["phenomenon"] for item in items}) == 12
    assert len({item.groups["linguistics_term"] for item in items}) == 13
    assert {item.groups["field"] for item in items} == {
        "syntax",
        "morphology",
        "semantics",
        "syntax_semantics",
    }
    assert sum(len(text.text.encode()) for item in items for text in item.texts) == 6_236_913


def test_pairs_in_a_table_have_context_spans_and_groups(tmp_path):
    path = write(
        tmp_path / "p.tsv",
        "context\tgood\tbad\tgood_span\tbad_span\tparadigm\tphenomenon",
        "We saw\tmen run\tmen runs\t4:7\t4:8\tverbs\tagreement",
        "\tshe is\tshe are\t\t\t\t",
    )

    first, second = read(path, "pairs")

    assert [text.text for text in first.texts] == ["We saw men run", "We saw men runs"]
    assert [counted(text) for text in first.texts] == [["run"], ["runs"]]
    assert (first.paradigm, first.groups, first.where) == ("verbs", {"phenomenon": "agreement"}, f"{path}:2")
    assert [counted(text) for text in second.texts] == [["she is"], ["she are"]]
    assert (second.paradigm, second.groups, second.id) == ("p", {}, "3")


def test_pairs_in_json_lines_take_the_names_that_are_given(tmp_path):
    path = write(tmp_path / "p.jsonl", {"right": "a b", "wrong": "b a", "context": "x "})

    [item] = read(path, "pairs", good="right", bad="wrong")

    assert [text.text for text in item.texts] == ["x a b", "x b a"]
    assert [counted(text) for text in item.texts] == [["a b"], ["b a"]]


def test_of_two_lines_of_zorro_the_second_is_the_grammatical_one(tmp_path):
    path = write(tmp_path / "agreement-near.txt", "look at this cats .", "look at this cat .", "b", "a")

    first, second = read(path, "zorro")

    assert [text.text for text in first.texts] == ["look at this cat .", "look at this cats ."]
    assert (first.paradigm, first.groups) == ("agreement-near", {"phenomenon": "agreement"})
    assert [text.text for text in second.texts] == ["a", "b"]


def test_each_false_sentence_of_clams_is_compared_with_the_true_one_before_it(tmp_path):
    path = write(tmp_path / "en_evalset" / "vp.txt", "True\tshe sings", "False\tshe sing", "False\tshe song")

    first, second = read(path, "clams")

    assert [text.text for text in first.texts] == ["she sings", "she sing"]
    assert [text.text for text in second.texts] == ["she sings", "she song"]
    assert (first.paradigm, first.groups) == ("en-vp", {"phenomenon": "vp"})


def test_multiblimp_tells_phenomenon_and_language_by_column_or_folder(tmp_path):
    path = write(tmp_path / "SV-P" / "nld" / "x.tsv", "sen\twrong_sen", "ik loop\tik loopt")
    named = write(tmp_path / "y.tsv", "sen\twrong_sen\tphenomenon\tlang", 'ich "laufe\tich läuft\tSV-P\tdeu')

    [item], [other] = read(path, "multiblimp"), read(named, "multiblimp")

    assert [text.text for text in item.texts] == ["ik loop", "ik loopt"]
    assert (item.paradigm, item.groups) == ("SV-P-nld", {"phenomenon": "SV-P", "language": "nld"})
    assert other.texts[0].text == 'ich "laufe'  # a table of tabs knows no quotes
    assert other.groups["language"] == "deu"


def test_lines_of_babylm_are_told_apart_by_their_fields(tmp_path):
    supplement = {"sentence_good": "Is he in?", "sentence_bad": "In he is?"}
    ewok = {"Context1": "It rained.", "Target1": "Ann is wet.", "Target2": "Ann is dry.", "Domain": "weather"}
    comps = {"prefix_acceptable": "A dog", "prefix_unacceptable": "A car", "property_phrase": "can bark."}
    entity = {"input_prefix": "The box holds", "options": [" a pen.", " a cup.", " an egg."], "numops": 2}
    path = write(tmp_path / "task.jsonl", supplement, BLIMP, ewok, comps, entity)

    items = read(path, "babylm")

    assert [item.paradigm for item in items] == ["task", "own_paradigm", "weather", "task", "task_2_ops"]
    assert [item.groups["phenomenon"] for item in items] == [
        "supplement",
        "argument_structure",
        "ewok",
        "comps",
        "entity_tracking",
    ]
    assert [text.text for text in items[2].texts] == ["It rained. Ann is wet.", "It rained. Ann is dry."]
    assert [counted(text) for text in items[2].texts] == [[" Ann is wet."], [" Ann is dry."]]
    assert [counted(text) for text in items[3].texts] == [[" can bark."], [" can bark."]]
    assert [counted(text) for text in items[4].texts] == [[" a pen."], [" a cup."], [" an egg."]]


def suite(*formulas: str) -> dict[str, object]:
    """A suite in SyntaxGym's format with one item of two conditions."""
    conditions = [
        {
            "condition_name": name,
            "regions": [
                {"region_number": number, "content": content}
                for number, content in enumerate(["The cat", "", verb, "."], start=1)
            ],
        }
        for name, verb in (("match", "sleeps"), ("mismatch", "sleep"))
    ]
    return {
        "meta": {"name": "verbs", "metric": "sum"},
        "region_meta": {"1": "Subject", "2": "Gap", "3": "Verb", "4": "End"},
        "predictions": [{"type": "formula", "formula": formula} for formula in formulas],
        "items": [{"item_number": 4, "conditions": conditions}],
    }


def test_syntaxgym_has_regions_by_offsets_and_formulas_over_them(tmp_path):
    path = write(tmp_path / "s.json", suite("(3;%mismatch%) > (3;%match%)"))

    [item] = read(path, "syntaxgym")

    assert [text.text for text in item.texts] == ["The cat sleeps .", "The cat sleep ."]
    assert counted(item.texts[0]) == ["The cat", "", " sleeps", " ."]
    assert (item.paradigm, item.id, item.names, item.regions) == (
        "verbs",
        "4",
        ("match", "mismatch"),
        (1, 2, 3, 4),
    )
    assert item.formulas[0].references == (("mismatch", "3"), ("match", "3"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(1;%a%) < (1;%b%)", 1.0),
        ("(1;%a%) > (1;%b%)", 0.0),
        ("(1;%a%) + (2;%a%) < (1;%b%) - 1", 0.0),
        ("((1;%a%) < (1;%b%)) & ((2;%a%) > (2;%b%))", 1.0),
        ("(1;%a%) > (1;%b%) | (2;%a%) > (2;%b%)", 1.0),
        ("(1;%a%) > (1;%b%) & (2;%a%) > (2;%b%)", 0.0),
        ("(*;%a%) = 7", 1.0),
        ("(1;%a%) = 2.0005", 1.0),
        ("(1;%a%) = 2.01", 0.0),
        ("(2;%a%) - (1;%a%) - 1 > 1.5", 1.0),
        ("(1;%a%) < 2", 0.5),
        ("((1;%a%) < 2) & ((2;%a%) > 0)", 0.5),
    ],
)
def test_a_formula_is_worth_what_arithmetic_says(text, expected):
    regions = {("a", 1): 2.0, ("a", 2): 5.0, ("b", 1): 3.0, ("b", 2): 4.0}

    assert parse(text, "here")(regions, 0.5) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(1;%a%) <", "found 'the end', expected a region or a number"),
        ("(1;%a%) + 2", r"expected a comparison \(<, > or =\)"),
        ("(1;%a%) < 2 3", "found '3', expected the end"),
        ("((1;%a%) < 2", r"expected '\)'"),
        ("(1;%a%) < zwei", "cannot be read from ' zwei' on"),
    ],
)
def test_a_formula_that_makes_no_sense_says_where(text, message):
    with pytest.raises(DataError, match=f"here: formula .*{message}"):
        parse(text, "here")


@pytest.mark.parametrize(
    ("format_name", "content", "message"),
    [
        (
            "pairs",
            '{"good": "a"}',
            r"x.jsonl:1: there is no field 'bad', expected one with text. Found: good",
        ),
        ("pairs", '{"good": "a", "bad": 3}', r"x.jsonl:1: bad is int, expected text"),
        (
            "pairs",
            '{"good": "a", "bad": "b"}\n[1]',
            r"x.jsonl:2: found list, expected one JSON object a line",
        ),
        ("pairs", '{"good": "a", "bad": "b"}\n{"go', r"x.jsonl:2: not JSON"),
        ("pairs", '{"good": "a", "bad": "b", "good_span": [0, 9]}', r"x.jsonl:1: a span of \[0, 9\]"),
        ("blimp", '{"sentence_good": "a", "sentence_bad": "b"}', r"no field 'linguistics_term'"),
        ("babylm", '{"sentences": "a", "ratio": 1}', r"x.jsonl:1: of no task of BabyLM"),
        ("babylm", '{"input_prefix": "a", "options": ["b"]}', r"x.jsonl:1: options: expected two or more"),
        ("multiblimp", '{"sen": "a"}', r"x.jsonl:1: there is no field 'wrong_sen'"),
        ("zorro", "a\nb\nc", r"x.jsonl:3: a line without a second one"),
        ("clams", "False\ta", r"x.jsonl:1: a False sentence before any True one"),
        ("clams", "True\ta\nTrue\tb", r"x.jsonl:1: a True sentence without a False one"),
        ("clams", "Yes\ta", r"x.jsonl:1: found 'Yes\\ta', expected True or False"),
        ("syntaxgym", "{}", r"x.jsonl: not a suite of SyntaxGym"),
        ("syntaxgym", json.dumps(suite("(9;%match%) > 1")), r"item 4: .* names region 9 of 'match'"),
        ("pairs", "", r"there is no item in"),
        ("blmp", "", r"no format is called 'blmp'. Did you mean 'blimp'\?"),
    ],
)
def test_what_is_malformed_is_named_with_file_and_line(tmp_path, format_name, content, message):
    path = tmp_path / "x.jsonl"
    path.write_text(content)

    with pytest.raises(DataError, match=message):
        read(path, format_name)


def test_a_table_with_a_row_too_short_is_named(tmp_path):
    path = write(tmp_path / "x.tsv", "good\tbad", "a")

    with pytest.raises(DataError, match=r"x.tsv:2: found 1 fields, expected 2 as in line 1"):
        read(path, "pairs")


@pytest.mark.parametrize(("format_name", "place"), [("pairs", ":2"), ("zorro", ":2"), ("syntaxgym", "")])
def test_another_encoding_is_refused_with_its_place(tmp_path, format_name, place):
    path = tmp_path / "x.jsonl"
    path.write_bytes('{"good": "a", "bad": "b"}\n{"good": "\u00e4", "bad": "b"}\n'.encode("latin-1"))

    with pytest.raises(DataError, match=rf"x.jsonl{place}: not UTF-8 \(byte \d+"):
        read(path, format_name)


def test_a_pattern_that_matches_nothing_says_where_it_looked(tmp_path):
    with pytest.raises(DataError, match=rf"no\*.tsv: no such file or pattern in {tmp_path}"):
        files_of(["no*.tsv"], [tmp_path])


def test_files_come_in_order_and_once(tmp_path):
    for name in ("b.tsv", "a.tsv"):
        write(tmp_path / name, "good\tbad")

    found = files_of(["*.tsv", "a.tsv"], [tmp_path])

    assert [path.name for path in found] == ["a.tsv", "b.tsv"]


def test_a_limit_keeps_the_first_items_of_each_paradigm_and_changes_the_digest(tmp_path):
    lines = ["good\tbad\tparadigm", "a\tb\tx", "c\td\tx", "e\tf\ty"]
    path = write(tmp_path / "p.tsv", *lines)

    items, digest = read_items(str(path), "pairs", {}, 1, [tmp_path])

    assert [item.texts[0].text for item in items] == ["a", "e"]
    assert digest != read_items(str(path), "pairs", {}, None, [tmp_path])[1]
