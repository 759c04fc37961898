from __future__ import annotations

import itertools
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from model_foundry.corpus.comparing import Comparison
from model_foundry.corpus.filter import Filter
from model_foundry.corpus.filter.near_duplicates import longest_bands
from model_foundry.corpus.filter.repetition import duplicates, repeated_share, top_share
from model_foundry.errors import DataError, RecipeError
from model_foundry.parts import find_part


def made(name: str, **settings: Any) -> Any:
    return find_part(Filter, name).model_validate(settings)


def judged(text: str, name: str, files: tuple[Path, ...] = (), **settings: Any) -> tuple[str | None, dict]:
    counts: Counter[str] = Counter()
    return made(name, **settings).open(files)(text, counts), {key: n for key, n in counts.items() if n}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"min_words": 4}, None),
        ({"min_words": 3}, "one two three"),
        ({"max_words": 2}, None),
        ({"max_words": 3}, "one two three"),
        ({"min_characters": 14}, None),
        ({"min_characters": 13, "max_characters": 13}, "one two three"),
        ({"max_characters": 12}, None),
    ],
)
def test_lengths_between_the_bounds_stay_the_bounds_among_them(settings: dict, expected: str | None):
    left, counts = judged("one two three", "length", **settings)

    assert left == expected
    assert counts == ({} if expected else {"too_long" if "max" in next(iter(settings)) else "too_short": 1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "no bound is given"),
        ({"min_words": 5, "max_words": 4}, r"min_words \(5\) is more than max_words"),
    ],
)
def test_bounds_that_do_nothing_or_leave_nothing_are_refused(settings: dict, message: str):
    with pytest.raises(ValidationError, match=message):
        made("length", **settings)


def test_shares_of_repetition_are_those_counted_by_hand():
    # Lines: a, b, a, a: two of four stood before, 2 of 4 characters; blank ones do not count.
    assert duplicates(["a", "", "b", "a", " ", "a"]) == (0.5, 0.5)
    assert duplicates(["aaaaaa", "b", "b"]) == (1 / 3, 1 / 8)

    numbers = {"a": 1, "bb": 2, "ccc": 3}
    words = ["a", "bb", "a", "bb", "ccc", "ccc"]  # 1 + 2 + 1 + 2 + 3 + 3 = 12 characters
    hashes = np.array([numbers[word] for word in words], dtype=np.uint64)
    sizes = np.array(list(map(len, words)))
    # "a bb" stands twice, on the first four words: 6 of 12 characters.
    assert top_share(hashes, sizes, 2) == 0.5
    # Only its second time is a repetition: 3 of 12.
    assert repeated_share(hashes, sizes, 2) == 0.25
    # No run of three words stands twice.
    assert top_share(hashes, sizes, 3) == repeated_share(hashes, sizes, 3) == 0.0
    assert top_share(hashes[:1], sizes[:1], 2) == repeated_share(hashes[:1], sizes[:1], 5) == 0.0
    # Overlapping ones are counted once: "x x x x" is covered wholly, and all but its first two words repeat.
    same = np.ones(4, dtype=np.uint64)
    assert top_share(same, np.ones(4, dtype=np.int64), 2) == 1.0
    assert repeated_share(same, np.ones(4, dtype=np.int64), 2) == 0.75


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x\ny\nx\ny\nsomething much longer than the rest of it", "duplicate_lines"),
        ("a\nb\nc\nd\nsome quite long line\nsome quite long line", "duplicate_line_characters"),
        ("a b\n\na b\n\none line\nand another\nthe third\nthe fourth\nthe last", "duplicate_paragraphs"),
        ("so it goes and so it ends and so it was", "top_2_gram"),
    ],
)
def test_the_rule_that_a_text_breaks_first_is_counted(text: str, reason: str):
    assert judged(text, "repetition") == (None, {reason: 1})


def test_a_long_passage_that_comes_again_is_found_and_plain_text_stays():
    draw = random.Random(1)
    words = [f"w{number}" for number in range(200)]
    draw.shuffle(words)
    plain = " ".join(words)
    assert judged(plain, "repetition") == (plain, {})

    again = " ".join([*words[:60], *words[:60], *words[60:]])

    left, counts = judged(again, "repetition")
    assert (left, [*counts]) == (None, ["duplicate_5_grams"])
    assert judged(again, "repetition", duplicate_ngrams=[])[0] == again


@pytest.mark.parametrize(
    ("text", "scripts", "least", "stays"),
    [
        ("ABC \u0436\u0437 123 !?", ["latin"], 0.6, True),  # three of five letters
        ("ABC \u0436\u0437 123 !?", ["latin"], 0.61, False),
        ("ABC \u0436\u0437 123 !?", ["latin", "cyrillic"], 1.0, True),
        ("\uff46\uff55 \u00e9", ["latin"], 1.0, True),
        ("\u6f22\u5b57\u3068\u30ab\u30ca", ["cjk", "hiragana", "katakana"], 1.0, True),
        ("\u6f22\u5b57\u3068\u30ab\u30ca", ["cjk"], 0.5, False),
        ("123 !?", ["latin"], 0.0, False),
    ],
)
def test_letters_of_the_scripts_are_counted(text: str, scripts: list[str], least: float, stays: bool):
    left, counts = judged(text, "character_set", scripts=scripts, least=least)

    assert (left is not None) == stays
    assert counts == (
        {} if stays else {"other_letters" if "A" in text or "\u6f22" in text else "no_letters": 1}
    )


TEXTS = {
    "en": "The committee will meet on Thursday afternoon to discuss the new proposals for the library.",
    "de": "Der Ausschuss trifft sich am Donnerstag, um die neuen Vorschläge für die Bücherei zu besprechen.",
    "fr": "Le comité se réunira jeudi pour examiner les nouvelles propositions concernant la bibliothèque.",
}


def test_documents_in_other_languages_are_left_out_and_named():
    pytest.importorskip("py3langid", reason="extra data")
    for code, text in TEXTS.items():
        assert judged(text, "language", languages=[code], least=0.9) == (text, {})
        assert judged(text, "language", languages=["sw", "tr"]) == (None, {code: 1})
        assert judged(text, "language", languages=["en", "de", "fr"])[0] == text
    assert judged("ok", "language", languages=["en"], least=1.0)[0] is None


def test_an_unknown_language_and_a_missing_package_are_told(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("py3langid", reason="extra data")
    with pytest.raises(RecipeError, match=r"language knows no 'english', expected one of .*, en, "):
        made("language", languages=["english"]).open([])
    monkeypatch.setitem(sys.modules, "py3langid", None)
    monkeypatch.setattr("model_foundry.corpus.filter.language.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"py3langid, which is not installed\. .*'model-foundry\[data\]'"):
        made("language", languages=["en"]).identity()


def signatures(part: Comparison, texts: list[str]) -> Any:
    return np.stack([part.signature(text) for text in texts])


def test_the_first_of_equal_texts_stays_in_whatever_order_they_are_compared():
    texts = ["a b", "a  b", "a b", "c", "a b", "c"]
    part = made("exact_duplicates")
    signed = signatures(part, texts)

    assert part.repeats(signed, np.arange(6)).tolist() == [False, False, True, False, True, True]
    assert part.repeats(signed, np.array([5, 4, 3, 2])).tolist() == [False, False, True, True]


def shingles(text: str, size: int) -> set[tuple[str, ...]]:
    words = text.lower().replace(".", " ").split()
    return {tuple(words[at : at + size]) for at in range(max(1, len(words) - size + 1))}


def jaccard(one: str, other: str, size: int) -> float:
    mine, theirs = shingles(one, size), shingles(other, size)
    return len(mine & theirs) / len(mine | theirs)


def versions(documents: int, seed: int) -> list[str]:
    """Return texts of 120 words, and after each some versions of it with more and more words changed."""
    draw = random.Random(seed)
    texts = []
    for number in range(documents):
        words = [f"W{draw.randrange(500)}" for _ in range(120)]
        for changed in (0, 0, 1, 3, 8, 30):
            version = list(words)
            for at in draw.sample(range(120), changed):
                version[at] = f"n{number}v{draw.randrange(10**6)}"
            texts.append(" ".join(version) + ".")
    return texts


def test_near_duplicates_are_those_of_a_brute_force_comparison():
    size, threshold = 3, 0.7
    texts = versions(25, seed=3)
    part = made("near_duplicates", threshold=threshold, shingle=size, permutations=512)

    found = part.repeats(signatures(part, texts), np.arange(len(texts))).tolist()

    staying: list[int] = []
    unsure = 0
    for number, text in enumerate(texts):
        # Five standard deviations of the estimate: within them either answer is right.
        similar = [jaccard(text, texts[other], size) for other in staying]
        most = max(similar, default=0.0)
        if abs(most - threshold) < 5 * (threshold * (1 - threshold) / 512) ** 0.5:
            unsure += 1
        else:
            assert found[number] == (most >= threshold), (number, most)
        if not found[number]:
            staying.append(number)
    assert sum(found) > 50
    assert unsure < len(texts) / 4


def test_of_documents_that_share_a_band_those_below_the_threshold_stay():
    part = made("near_duplicates", threshold=0.8, permutations=128)
    first = np.arange(128, dtype=np.uint32)
    shares_a_band, is_just_alike = first + 1000, first.copy()
    shares_a_band[: part.bands[1]] = first[: part.bands[1]]
    is_just_alike[103:] += 2000  # 103 of 128 entries are equal, more than four fifths
    is_nearly_alike = first.copy()
    is_nearly_alike[102:] += 3000  # and 102 are fewer

    found = part.repeats(np.stack([first, shares_a_band, is_just_alike, is_nearly_alike]), np.arange(4))

    assert found.tolist() == [False, False, True, False]


def test_equal_entries_estimate_the_jaccard_similarity_without_bias():
    part = made("near_duplicates", shingle=2, permutations=256)
    texts = versions(12, seed=5)
    errors = []
    for one, other in itertools.combinations(texts, 2):
        true = jaccard(one, other, 2)
        if 0.05 < true < 0.95:
            errors.append(float((part.signature(one) == part.signature(other)).mean()) - true)

    assert len(errors) > 100
    assert abs(sum(errors) / len(errors)) < 0.01
    assert max(map(abs, errors)) < 5 * 0.5 / 256**0.5


@pytest.mark.parametrize(("threshold", "permutations"), [(0.8, 128), (0.5, 128), (0.9, 64), (1.0, 16)])
def test_bands_find_nearly_all_pairs_at_the_threshold(threshold: float, permutations: int):
    bands, length = longest_bands(threshold, permutations)

    assert bands * length <= permutations
    assert 1 - (1 - threshold**length) ** bands >= 0.99


def test_texts_without_words_are_compared_as_they_are():
    part = made("near_duplicates")
    texts = ["...", "...", "!!!", "one", "One!"]

    assert part.repeats(signatures(part, texts), np.arange(5)).tolist() == [False, True, False, False, True]


TAIL = " ".join(f"t{number}" for number in range(60))


def evaluation_files(folder: Path) -> tuple[Path, Path]:
    lines, text = folder / "pairs.jsonl", folder / "questions.txt"
    lines.write_text(
        json.dumps({"good": "The Cat, that sat; on a mat", "more": [{"bad": "one two three four five"}]})
        + "\n\n"
    )
    text.write_text("who wrote this long book\nshort\n")
    return lines, text


def test_documents_that_share_an_ngram_with_an_evaluation_file_go_and_are_counted_by_file(tmp_path: Path):
    files = evaluation_files(tmp_path)
    settings: dict[str, Any] = {"path": "*", "ngram": 5}

    assert judged("so the CAT that sat on it", "decontaminate", files, **settings) == (
        None,
        {"pairs.jsonl/documents": 1},
    )
    both = "one two three four five. Who wrote this long book?"
    assert judged(both, "decontaminate", files, **settings) == (
        None,
        {"pairs.jsonl/documents": 1, "questions.txt/documents": 1},
    )
    # Four words of one, and words of two texts one after the other, are no n-gram of any.
    for clean in ("the cat that sat down", "this long book short", "on a mat one two three four", "one"):
        assert judged(clean, "decontaminate", files, **settings) == (clean, {})


def test_the_place_is_cut_with_its_margin_and_short_pieces_go(tmp_path: Path):
    files = evaluation_files(tmp_path)
    text = f"{TAIL} xx One two, three four five! yy {TAIL}"
    settings: dict[str, Any] = {"path": "*", "ngram": 5, "action": "cut", "shortest": 20}

    left, counts = judged(text, "decontaminate", files, margin=4, **settings)

    assert left == f"{TAIL}\n\n" + f"{TAIL}"
    assert counts == {"pairs.jsonl/documents": 1, "cut": 1}
    assert judged(text, "decontaminate", files, margin=0, **settings)[0] == f"{TAIL} xx\n\n! yy {TAIL}"
    assert judged(text, "decontaminate", files, margin=0, **{**settings, "shortest": 300})[0] is None
    assert judged(text, "decontaminate", files, margin=0, most_pieces=1, **settings)[0] is None


def test_by_default_thirteen_words_are_compared(tmp_path: Path):
    words = [f"w{number}" for number in range(14)]
    (tmp_path / "a.txt").write_text(" ".join(words))

    for number, stays in ((12, True), (13, False)):
        left, _ = judged(" ".join(words[:number]), "decontaminate", (tmp_path / "a.txt",), path="a.txt")
        assert (left is not None) == stays


def test_files_that_cannot_be_used_are_told(tmp_path: Path):
    short, broken, binary = (tmp_path / name for name in ("short.txt", "broken.jsonl", "binary.txt"))
    short.write_text("too few words\n")
    broken.write_text('{"a": "b"}\nno json\n')
    binary.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(DataError, match=r"short\.txt: has no text of 13 words.* Lower ngram"):
        made("decontaminate", path="x").open([short])
    with pytest.raises(DataError, match=r"broken\.jsonl:2: is not JSON .* expected an object a line"):
        made("decontaminate", path="x").open([broken])
    with pytest.raises(DataError, match=r"binary\.txt: cannot be read as UTF-8 text"):
        made("decontaminate", path="x").open([binary])
    with pytest.raises(DataError, match=r"no evaluation file \*\.csv \(looked for .*\)\. Correct the path"):
        made("decontaminate", path="*.csv").inputs([tmp_path])


def test_evaluation_files_are_found_beside_the_recipe(tmp_path: Path):
    evaluation_files(tmp_path)
    (tmp_path / "sub").mkdir()

    found = made("decontaminate", path=["*.jsonl", str(tmp_path / "q*.txt")]).inputs(
        [tmp_path / "sub", tmp_path]
    )

    assert [item.name for item in found] == ["pairs.jsonl", "questions.txt"]
