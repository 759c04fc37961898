from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.errors import DataError


def read(folder: Path, **settings: Any) -> list[str]:
    source = TextFiles(**settings)
    return [text for found in source.inputs([folder]) for text in source.documents(found)]


def names(folder: Path, **settings: Any) -> list[str]:
    return [found.name for found in TextFiles(**settings).inputs([folder])]


def test_a_file_is_a_document_with_every_character_it_has(tmp_path: Path):
    text = "a\r\nb\rc\u2028d\x85e\x00 \n\n"
    (tmp_path / "a.txt").write_bytes(text.encode())

    assert read(tmp_path, path="a.txt") == [text]


def test_a_byte_order_mark_at_the_start_is_removed_and_nowhere_else(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes("\ufeffone\n\ufefftwo".encode())

    assert read(tmp_path, path="a.txt") == ["one\n\ufefftwo"]


def test_lines_end_in_a_newline_with_or_without_a_carriage_return_and_nothing_else(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes("one\r\ntwo\rstill\u2028two\n\nfour\r\r\nlast".encode())

    assert read(tmp_path, path="a.txt", document="line") == [
        "one",
        "two\rstill\u2028two",
        "",
        "four\r",
        "last",
    ]


def test_paragraphs_are_separated_by_lines_of_white_space_and_keep_their_inner_line_ends(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"\n\n one\r\n two\r\n\r\n \t \nthree\n\n\nfour\n five\n")

    assert read(tmp_path, path="a.txt", document="blank_line") == [" one\r\n two", "three", "four\n five"]


def test_a_line_longer_than_a_block_stays_whole(tmp_path: Path):
    long = "é" * 1_600_000
    (tmp_path / "a.txt").write_text(f"start\n{long}\nend\n", encoding="utf-8")

    assert read(tmp_path, path="a.txt", document="line") == ["start", long, "end"]


def test_the_files_of_a_pattern_are_sorted_by_name_and_those_below_are_left_out(tmp_path: Path):
    for name in ("b.txt", "a.txt", "Z.txt", "é.txt", "below/c.txt", "a.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)

    assert names(tmp_path, path="*.txt") == ["Z.txt", "a.txt", "b.txt", "é.txt"]
    assert names(tmp_path, path="*.txt", recursive=True) == [
        "Z.txt",
        "a.txt",
        "b.txt",
        "below/c.txt",
        "é.txt",
    ]
    assert names(tmp_path, path="**/*.md", recursive=True) == ["a.md"]
    assert names(tmp_path, path="*") == ["Z.txt", "a.md", "a.txt", "b.txt", "é.txt"]


def test_a_list_of_paths_is_read_in_its_own_order(tmp_path: Path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)

    assert read(tmp_path, path=["c", "[ab]"]) == ["c", "a", "b"]


def test_a_file_whose_name_looks_like_a_pattern_is_found_by_its_name(tmp_path: Path):
    (tmp_path / "[x].txt").write_text("odd")

    assert read(tmp_path, path="[x].txt") == ["odd"]


def test_names_hold_no_place_of_this_machine(tmp_path: Path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("deep/a.txt", "deep/er/b.txt"):
        (tmp_path / name).write_text(name)

    assert names(tmp_path, path=str(tmp_path / "deep" / "a.txt")) == ["a.txt"]
    assert names(tmp_path, path=str(tmp_path / "deep" / "*.txt"), recursive=True) == ["a.txt", "er/b.txt"]
    assert names(tmp_path / "deep" / "er", path="../a.txt") == ["a.txt"]


def test_files_of_the_same_name_get_a_number(tmp_path: Path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(folder)

    assert names(tmp_path, path=[str(tmp_path / "x" / "a.txt"), str(tmp_path / "y" / "a.txt")]) == [
        "a.txt",
        "a.txt (2)",
    ]


def test_the_first_folder_that_has_the_file_wins(tmp_path: Path):
    for folder in ("recipe", "working"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(folder)
    (tmp_path / "working" / "b.txt").write_text("only here")
    source = TextFiles(path=["a.txt", "b.txt"])

    found = source.inputs([tmp_path / "recipe", tmp_path / "working"])

    assert ["".join(source.documents(item)) for item in found] == ["recipe", "only here"]


def test_a_missing_file_names_every_place_that_was_tried(tmp_path: Path):
    with pytest.raises(DataError) as caught:
        TextFiles(path="no/such.txt").inputs([tmp_path / "one", tmp_path / "two"])

    message = str(caught.value)
    assert "path 'no/such.txt': there is no such file" in message
    assert str(tmp_path / "one" / "no/such.txt") in message
    assert str(tmp_path / "two" / "no/such.txt") in message
    assert "Correct the path" in message


def test_a_pattern_without_matches_hints_at_folders_below(tmp_path: Path):
    with pytest.raises(DataError, match=r"no file matches the pattern \(top level only; recursive: true"):
        TextFiles(path="*.txt").inputs([tmp_path])


def test_two_stars_need_recursive(tmp_path: Path):
    with pytest.raises(DataError, match=r"'\*\*' looks into folders below.*Add recursive: true"):
        TextFiles(path="**/*.txt").inputs([tmp_path])


def test_a_file_named_twice_is_refused(tmp_path: Path):
    (tmp_path / "a.txt").write_text("a")

    with pytest.raises(DataError, match=r"path '\*': .*a\.txt is named twice.*Remove one of the two"):
        TextFiles(path=["a.txt", "*"]).inputs([tmp_path])


def test_a_folder_is_refused_with_the_pattern_to_use(tmp_path: Path):
    (tmp_path / "texts").mkdir()

    with pytest.raises(
        DataError, match=r"is a folder, expected a file\. Name its files, such as texts/\*\.txt"
    ):
        TextFiles(path="texts").inputs([tmp_path])


@pytest.mark.parametrize("path", ["pipe", "p*"])
def test_a_pipe_is_refused_and_never_opened(tmp_path: Path, path: str):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(DataError, match="is a pipe, socket or device, expected a regular file"):
        TextFiles(path=path).inputs([tmp_path])


def test_an_endless_device_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="is a pipe, socket or device"):
        TextFiles(path="/dev/zero").inputs([tmp_path])


def test_a_path_with_a_nul_character_is_not_found(tmp_path: Path):
    with pytest.raises(DataError, match="there is no such file"):
        TextFiles(path="a\0b").inputs([tmp_path])
