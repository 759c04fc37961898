from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_foundry.data.mixture import (
    LONGEST_PATTERN,
    MixtureCourse,
    Pattern,
    Stage,
    capped_stages,
    representable,
    shares_by_temperature,
    shares_by_weight,
)
from model_foundry.data.windows import Windows
from model_foundry.errors import RecipeError


def weights(*values: str) -> tuple[Fraction, ...]:
    return shares_by_weight([Fraction(value) for value in values])


def largest_deviation(pattern: Pattern, shares: tuple[Fraction, ...]) -> float:
    """Over every prefix of two cycles and every source, how far the count is from K * p."""
    order = np.concatenate([pattern.sources, pattern.sources])
    prefix = np.arange(1, len(order) + 1)
    return max(
        float(np.abs(np.cumsum(order == source) - prefix * float(share)).max())
        for source, share in enumerate(shares)
    )


@given(st.lists(st.integers(1, 400), min_size=1, max_size=9))
@settings(max_examples=150, deadline=None)
def test_after_any_number_of_windows_every_count_is_within_one_of_its_share(parts: list[int]):
    shares = shares_by_weight([Fraction(part) for part in parts])

    assert largest_deviation(Pattern(shares, 10**9), shares) <= 1


def test_published_weights_are_kept_exactly():
    shares = weights("0.693584", "0.306416")  # TinyLlama's mixture

    assert representable(shares, LONGEST_PATTERN) == shares
    assert Pattern(shares, 10**9).length == 62_500


def test_shares_that_do_not_fit_a_pattern_are_rounded_to_it():
    shares = shares_by_weight([Fraction(1), Fraction(2**0.5), Fraction(3**0.5)])

    rounded = representable(shares, LONGEST_PATTERN)

    assert sum(rounded) == 1
    assert max(abs(a - b) for a, b in zip(shares, rounded, strict=True)) <= Fraction(1, LONGEST_PATTERN)


def test_temperature_evens_the_sizes_out():
    assert shares_by_temperature([300, 100], 1) == (Fraction(3, 4), Fraction(1, 4))
    root = shares_by_temperature([400, 100], 2)
    assert [float(share) for share in root] == pytest.approx([2 / 3, 1 / 3], abs=1e-5)


def test_a_position_is_found_again_from_its_source_and_rank():
    pattern = Pattern(weights("0.5", "0.3", "0.2"), 10**6)

    for position in [*range(40), 12_345]:
        assert pattern.position(*pattern.source_and_rank(position)) == position


def test_a_source_is_held_to_its_most_epochs_and_the_others_take_its_share():
    stages = [Stage(1000, weights("0.5", "0.25", "0.25"))]

    capped = capped_stages(stages, [100, 900, 900], [2.0, None, None], ["a", "b", "c"])

    counts = Pattern(capped[0].shares, 1000).counts(1000)
    assert counts[0] <= 200
    assert counts[0] >= 199
    assert abs(counts[1] - counts[2]) <= 1


def test_a_limit_holds_over_all_stages():
    stages = [Stage(300, weights("0.5", "0.5")), Stage(300, weights("0.9", "0.1"))]

    capped = capped_stages(stages, [100, 1000], [2.0, None], ["a", "b"])

    assert sum(Pattern(stage.shares, 300).counts(300)[0] for stage in capped) <= 200


def test_a_run_that_no_source_may_fill_is_refused():
    with pytest.raises(
        RecipeError, match=r"needs more than max_epochs allows of a, b\. Shorten training\.duration"
    ):
        capped_stages([Stage(1000, weights("1", "1"))], [100, 100], [2.0, 3.0], ["a", "b"])


@pytest.fixture
def course(stream_of) -> MixtureCourse:
    windows = [
        Windows(stream_of([81], name="a"), 4, "concatenate"),
        Windows(stream_of([41], name="b"), 4, "concatenate"),
    ]
    stages = [Stage(20, weights("0.5", "0.5")), Stage(40, weights("0.9", "0.1"))]
    return MixtureCourse(windows, stages, seed=4, mode="shuffle_each_epoch", batch_size=5)


def test_each_stage_has_its_own_shares(course):
    sources = [course.place(position).source for position in range(60)]

    assert sources[:20].count(0) == 10
    assert sources[20:].count(0) == 36
    assert course.epochs(60) == [46 / 20, 14 / 10]


def test_a_source_shows_each_window_once_an_epoch_of_its_own_across_stages(course):
    seen: dict[tuple[int, int], list[int]] = {}
    for position in range(60):
        place = course.place(position)
        seen.setdefault((place.source, place.epoch), []).append(place.window)

    assert sorted(seen[0, 0]) == list(range(20))
    assert sorted(seen[0, 1]) == list(range(20))
    assert sorted(seen[1, 0]) == list(range(10))
    assert seen[0, 0] != seen[0, 1]


def test_the_update_of_every_window_is_found_again(course):
    for position in range(60):
        place = course.place(position)
        assert course.update_of(place.source, place.window, place.epoch) == position // 5


def test_updates_are_always_full_and_far_ones_cost_nothing(course):
    assert course.span(3) == range(15, 20)
    assert course.place(10**12).source in (0, 1)
