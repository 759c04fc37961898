"""Windows shown as several shorter rows: the same tokens, targets and updates."""

from __future__ import annotations

from typing import Any

import pytest

from model_foundry.data.course import Course
from model_foundry.data.loader import PADDING, WindowDataset
from model_foundry.data.rows import Rows
from model_foundry.data.windows import Windows
from model_foundry.objective import IGNORED, Tokens
from model_foundry.objective._attention import with_mask
from model_foundry.objective.hybrid import Hybrid
from model_foundry.objective.masked_lm import MaskedLM

TOKENS = Tokens(99, frozenset(), 98)
WHOLE, HALVES = Rows(8), Rows(8, ((10**9, 4),))


def course_of(stream: Any, documents: Any = "concatenate", shared: int = 1, context: int = 8) -> Course:
    windows = Windows(stream, context, documents, shared)
    return Course([windows], seed=1, mode="sequential", batch_size=2)


def test_the_length_of_rows_follows_the_position() -> None:
    rows = Rows(8, ((3, 2), (3, 3), (5, 4)))

    assert [rows.length(position) for position in range(7)] == [2, 2, 2, 4, 4, 8, 8]


def test_a_window_is_cut_into_rows_whose_last_target_is_the_first_token_of_the_next(stream_of) -> None:
    dataset = WindowDataset(course_of(stream_of([12])), rows=Rows(8, ((1, 4),)))

    early, late = dataset.__getitems__([0, PADDING]), dataset.__getitems__([1])

    assert early["ids_BT"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [0] * 4, [0] * 4]
    assert early["targets_BT"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [IGNORED] * 4, [IGNORED] * 4]
    assert early["exposure"].tolist() == [8, 5, 27, 0]
    assert "positions_BT" not in early
    assert late["ids_BT"].tolist() == [[8, 9, 10, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("documents", ["concatenate", "isolate", "pad"])
@pytest.mark.parametrize("objective", [None, MaskedLM(mask_ratio=1.0), Hybrid(masked=1, mask_ratio=1.0)])
def test_the_targets_and_the_clock_of_an_epoch_are_those_of_whole_rows(
    stream_of, documents, objective
) -> None:
    shared = 1 if objective is None else objective.shared_tokens
    course = course_of(stream_of([9, 1, 16, 3]), documents, shared)
    arrangement = objective and objective.arrangement(TOKENS, "any", seed=3, positions=9)
    epoch = list(range(course.windows_per_epoch))

    whole = WindowDataset(course, arrangement, WHOLE).__getitems__(epoch)
    halves = WindowDataset(course, arrangement, HALVES).__getitems__(epoch)

    assert halves["ids_BT"].shape == (2 * len(epoch), 4)
    assert halves["targets_BT"].flatten().tolist() == whole["targets_BT"].flatten().tolist()
    assert halves["exposure"].tolist() == whole["exposure"].tolist()
    targets = halves["targets_BT"][halves["targets_BT"] != IGNORED].tolist()
    assert sorted(targets) == sorted(set(targets))
    assert len(targets) == course.windows[0].num_targets


def test_places_begin_at_0_in_each_row_and_each_document(stream_of) -> None:
    course = course_of(stream_of([2, 4, 5, 30]), "isolate")

    batch = WindowDataset(course, rows=HALVES).__getitems__([0, 1, PADDING])

    assert batch["ids_BT"].tolist()[:4] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
    assert batch["positions_BT"].tolist() == [
        [0, 1, 0, 1],
        [0, 1, 0, 1],
        [0, 1, 2, 0],
        *[[0, 1, 2, 3]] * 3,
    ]


def test_no_row_sees_another_and_padding_sees_padding(stream_of) -> None:
    course = course_of(stream_of([2, 4, 5]), "isolate", 0)
    arrangement = MaskedLM().arrangement(TOKENS, "bidirectional", seed=3, positions=9)

    batch = WindowDataset(course, arrangement, HALVES).__getitems__([1])
    mask = with_mask({}, batch)["attention_mask"]

    assert batch["segments_BT"].tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]
    assert mask.shape == (2, 1, 4, 4)
    assert mask.any(dim=-1).all()
    assert mask[0, 0].tolist() == [[True] * 3 + [False]] * 3 + [[False] * 3 + [True]]


def test_all_rows_of_a_window_have_its_direction(stream_of) -> None:
    arrangement = Hybrid(masked="1/2").arrangement(TOKENS, "any", seed=3, positions=9)

    batch = WindowDataset(course_of(stream_of([17])), arrangement, HALVES).__getitems__([0, 1])

    assert batch["causal_B"].tolist() == [True, True, False, False]


def test_the_masks_are_those_of_whole_rows(stream_of) -> None:
    course = course_of(stream_of([90]), shared=0)
    arrangement = MaskedLM(mask_ratio=0.4, unit="span").arrangement(TOKENS, "any", seed=3, positions=12)
    positions = list(range(11))

    whole = WindowDataset(course, arrangement, WHOLE).__getitems__(positions)
    halves = WindowDataset(course, arrangement, HALVES).__getitems__(positions)

    assert halves["ids_BT"].flatten().tolist() == whole["ids_BT"].flatten().tolist()
    assert (whole["ids_BT"] == TOKENS.mask_id).any()


def test_a_hybrid_shows_the_first_token_of_each_row_and_predicts_it_in_the_row_before(stream_of) -> None:
    """Hidden there it would be hidden for nothing: no place of its row predicts it."""
    all_masked = {"mask": 1.0, "random": 0.0, "unchanged": 0.0}
    objective = Hybrid(masked=1, mask_ratio=1.0, replacement=all_masked)
    arrangement = objective.arrangement(TOKENS, "any", seed=3, positions=9)

    batch = WindowDataset(course_of(stream_of([20])), arrangement, HALVES).__getitems__([0])

    assert batch["ids_BT"].tolist() == [[0, 98, 98, 98], [4, 98, 98, 98]]
    assert batch["targets_BT"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
