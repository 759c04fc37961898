from __future__ import annotations

from pathlib import Path

import pytest

from model_foundry.errors import DataError
from model_foundry.evaluation._stimuli import Region, read_stimuli


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_are_sentences_and_empty_ones_are_counted(tmp_path):
    stimuli = read_stimuli(write(tmp_path, "a.txt", "One here.\n\n  \nTwo, too.\n"))

    assert [(one.item, one.condition, one.text, one.line) for one in stimuli.sentences] == [
        ("1", None, "One here.", 1),
        ("4", None, "Two, too.", 4),
    ]
    assert stimuli.empty_lines == [2, 3]


def test_a_row_is_a_sentence_and_its_other_columns_are_carried_along(tmp_path):
    text = 'item,condition,list,sentence\n7,that,A,"A comma, and ""quotes""."\n7,none,B,Plain.\n'

    first, second = read_stimuli(write(tmp_path, "a.csv", text)).sentences

    assert (first.item, first.condition, first.text) == ("7", "that", 'A comma, and "quotes".')
    assert first.notes == (("list", "A"),)
    assert (second.item, second.condition, second.line) == ("7", "none", 3)


def test_regions_in_columns_in_rows_and_between_marks_are_the_same(tmp_path):
    wide = write(tmp_path, "wide.csv", "item,condition,a,b,c\n1,x,The cat,,sat.\n")
    rows = "item\tcondition\tregion\ttext\n1\tx\ta\tThe cat\n1\tx\tb\t\n1\tx\tc\tsat.\n"
    long = write(tmp_path, "long.tsv", rows)
    marked = write(tmp_path, "marked.csv", "item,condition,sentence\n1,x,The cat|| sat.\n")

    [of_wide] = read_stimuli(wide, regions=("a", "b", "c")).sentences
    [of_long] = read_stimuli(long).sentences
    [of_marked] = read_stimuli(marked, boundary="|").sentences

    assert of_wide.text == of_long.text == of_marked.text == "The cat sat."
    assert of_wide.regions == of_long.regions == (Region("a", 0, 7), Region("b", 7, 7), Region("c", 7, 12))
    assert [(one.name, one.start, one.stop) for one in of_marked.regions] == [
        ("1", 0, 7),
        ("2", 7, 7),
        ("3", 7, 12),
    ]


def test_rows_of_another_item_or_condition_begin_another_sentence(tmp_path):
    rows = "item,condition,region,text\n1,x,a,A\n1,x,b,b\n1,y,a,C\n2,y,a,D\n"

    sentences = read_stimuli(write(tmp_path, "a.csv", rows)).sentences

    assert [(one.text, one.line) for one in sentences] == [("A b", 2), ("C", 4), ("D", 5)]


def test_nothing_is_put_between_regions_where_that_is_asked_for(tmp_path):
    path = write(tmp_path, "a.csv", "a,b\n一,二\n")

    [sentence] = read_stimuli(path, regions=("a", "b"), joiner="").sentences

    assert (sentence.item, sentence.text) == ("1", "一二")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.doc", "x", r"a\.doc: a file of sentences is a \.txt, \.csv or \.tsv"),
        ("a.txt", "\n\n", "holds no sentence"),
        ("a.csv", "item,words\n1,x\n", "line 1: there is no column sentence, found item, words"),
        ("a.csv", "", "there is no column sentence, found none"),
        ("a.csv", "item,sentence\n1,x\n2\n", "line 3: found 1 fields, expected 2"),
        ("a.csv", 'item,sentence\n1,"two\nlines"\n2\n', "line 4: found 1 fields, expected 2"),
        ("a.csv", "item,sentence\n,x\n", "line 2: item is empty"),
        ("a.csv", 'item,sentence\n1,"x', "cannot be read as a table in UTF-8: unexpected end of data"),
        ("missing.csv", None, "cannot be read.*No such file"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, name, text, message):
    path = tmp_path / name
    if text is not None:
        write(tmp_path, name, text)

    with pytest.raises(DataError, match=message):
        read_stimuli(path)


def test_another_encoding_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_bytes("Käse".encode("latin-1"))

    with pytest.raises(DataError, match=r"as a table in UTF-8.*Save it again"):
        read_stimuli(tmp_path / "a.txt")


def test_regions_that_are_no_columns_are_an_error(tmp_path):
    path = write(tmp_path, "a.csv", "item,verb\n1,x\n")

    with pytest.raises(DataError, match="there is no column object, found item, verb"):
        read_stimuli(path, regions=("verb", "object"))
