from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_foundry.data.windows import Windows

MODES = ["concatenate", "isolate", "pad"]


def targets_of(windows: Windows) -> Counter[int]:
    counted: Counter[int] = Counter()
    for window in range(windows.count):
        start, stop = windows.span(window)
        first_of_documents = (
            set(windows.boundaries(start, stop).tolist()) if windows.documents == "isolate" else set()
        )
        counted.update(token for token in range(start + 1, stop) if token not in first_of_documents)
    return counted


@pytest.mark.parametrize("mode", MODES)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    context=st.integers(1, 17),
    number=st.integers(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_token_after_the_first_is_a_target_exactly_once(mode, lengths, context, number, stream_of):
    windows = Windows(
        stream_of(lengths, name=f"{mode}{number}{context}{len(lengths)}{hash(tuple(lengths))}"), context, mode
    )
    starts = {sum(lengths[:index]) for index in range(len(lengths))}
    firsts = {0} if mode == "concatenate" else starts

    counted = targets_of(windows)

    assert counted == Counter(token for token in range(sum(lengths)) if token not in firsts)
    assert windows.num_targets == sum(counted.values())


@pytest.mark.parametrize("mode", MODES)
def test_an_epoch_of_windows_adds_up_to_the_corpus(mode, stream_of):
    stream = stream_of([5, 1, 12, 7, 30, 2])
    windows = Windows(stream, 4, mode)

    total = sum(windows.exposure(window) for window in range(windows.count))

    targets, words, bytes_, documents = total.tolist()
    assert targets == windows.num_targets
    if mode == "pad":  # a document of one token has no target, so no row shows it
        assert (words, bytes_, documents) == (
            stream.num_words - 0,
            stream.num_bytes - 3,
            stream.num_documents - 1,
        )
    else:
        assert (words, bytes_, documents) == (stream.num_words, stream.num_bytes, stream.num_documents)


def test_windows_overlap_by_the_token_that_is_target_then_input(stream_of):
    windows = Windows(stream_of([10]), 4, "concatenate")

    assert [windows.span(window) for window in range(windows.count)] == [(0, 5), (4, 9), (8, 10)]


def test_padding_gives_each_document_rows_of_its_own_and_splits_long_ones(stream_of):
    windows = Windows(stream_of([3, 9, 2]), 4, "pad")

    assert [windows.span(window) for window in range(windows.count)] == [(0, 3), (3, 8), (7, 12), (12, 14)]


def test_rows_of_many_documents_are_found_across_blocks(stream_of):
    lengths = [2 + index % 7 for index in range(3000)]
    windows = Windows(stream_of(lengths), 3, "pad")
    expected = []
    start = 0
    for length in lengths:
        expected += [(start + at, min(start + at + 4, start + length)) for at in range(0, length - 1, 3)]
        start += length

    assert windows.count == len(expected)
    assert all(windows.span(row) == expected[row] for row in range(0, windows.count, 13))


@pytest.mark.parametrize("mode", MODES)
def test_the_windows_that_cover_a_span_are_those_that_hold_one_of_its_tokens(mode, stream_of):
    windows = Windows(stream_of([9, 14, 3, 22]), 5, mode)

    covering = windows.covering(9, 23)

    holding = [w for w in range(windows.count) if windows.span(w)[0] < 23 and windows.span(w)[1] > 9]
    assert list(covering) == holding


def test_a_stream_reads_the_same_from_one_shard_and_from_many(stream_of):
    whole, parts = stream_of([100], name="whole"), stream_of([100], shard=7, name="parts")

    assert whole.tokens(3, 60).tolist() == parts.tokens(3, 60).tolist() == list(range(3, 60))
    assert parts.tokens(95, 200).tolist() == [95, 96, 97, 98, 99]
    assert parts.words(0, 100) == whole.words(0, 100) == 50


def test_bytes_are_spread_over_a_document_where_ids_do_not_tell(stream_of):
    stream = stream_of([4, 8])
    stream._bytes_per_token = None

    assert [stream.bytes(0, token) for token in (0, 1, 4, 6, 12)] == [0, 3, 12, 18, 36]
