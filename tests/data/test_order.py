from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_foundry.data.order import Order, Permutation


@given(n=st.integers(1, 3000), seed=st.integers(0, 2**62))
@settings(max_examples=60, deadline=None)
def test_a_permutation_holds_every_number_once_and_its_inverse_undoes_it(n: int, seed: int):
    permutation = Permutation(n, seed)

    values = permutation(np.arange(n))

    assert sorted(values.tolist()) == list(range(n))
    assert permutation.inverse(values).tolist() == list(range(n))


def test_a_permutation_of_a_large_domain_stays_inside_it_and_is_undone_anywhere():
    permutation = Permutation(10**12 + 7, 5)
    positions = np.array([0, 1, 10**11, 5 * 10**11, 10**12 + 6])

    values = permutation(positions)

    assert ((values >= 0) & (values < 10**12 + 7)).all()
    assert permutation.inverse(values).tolist() == positions.tolist()


@pytest.mark.parametrize("n", [1000, 65537])
def test_neighbours_and_epochs_are_uncorrelated(n: int):
    # Under independence a correlation over n pairs is normal with deviation 1/sqrt(n). 60 of them are
    # drawn: the largest stays below 4 deviations (p = 0.004 that a fair shuffle fails), their mean
    # square near 1.
    scores = []
    for seed in range(20):
        first, second = Order(n, seed, "shuffle_each_epoch"), np.arange(n)
        epochs = [np.array([first.window(epoch, int(place)) for place in second]) for epoch in (0, 1)]
        pairs = [(epochs[0][:-1], epochs[0][1:]), (epochs[0], epochs[1]), (epochs[0], second)]
        scores += [float(np.corrcoef(a, b)[0, 1]) * n**0.5 for a, b in pairs]
        if n > 1000 and seed >= 3:
            break

    assert max(map(abs, scores)) < 4
    assert 0.3 < np.mean(np.square(scores)) < 2.5


def test_small_shuffles_reach_every_arrangement_about_equally_often():
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(2400):
        arrangement = tuple(Permutation(4, seed)(np.arange(4)).tolist())
        counts[arrangement] = counts.get(arrangement, 0) + 1

    # 24 arrangements, 100 expected each; chi-square with 23 degrees of freedom is above 56 in 1 of 7,000
    # cases.
    assert len(counts) == 24
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 56


def test_each_epoch_has_an_order_of_its_own_unless_one_is_asked_for():
    each, once = Order(500, 1, "shuffle_each_epoch"), Order(500, 1, "shuffle_once")

    assert [each.window(0, place) for place in range(500)] != [each.window(1, place) for place in range(500)]
    assert [once.window(0, place) for place in range(500)] == [once.window(7, place) for place in range(500)]
    assert [Order(5, 1, "sequential").window(3, place) for place in range(5)] == [0, 1, 2, 3, 4]


def test_an_order_finds_the_position_of_a_window():
    for mode in ("shuffle_each_epoch", "shuffle_once", "sequential"):
        order = Order(3000, 9, mode)  # type: ignore[arg-type]

        assert all(order.position(2, order.window(2, place)) == place for place in (0, 1, 1023, 1024, 2999))


def test_an_order_is_the_same_after_a_trip_to_a_worker():
    order = Order(2000, 3, "shuffle_each_epoch")

    other = copy.deepcopy(order)

    assert [other.window(1, place) for place in range(0, 2000, 97)] == [
        order.window(1, place) for place in range(0, 2000, 97)
    ]


@pytest.mark.parametrize(("count", "lanes"), [(10, 3), (12, 4), (3, 5), (1, 1), (237, 12), (7, 1)])
def test_streams_show_contiguous_pieces_side_by_side(count: int, lanes: int):
    order = Order(count, 1, "streams", lanes=lanes)

    windows = [order.window(2, position) for position in range(count)]

    pieces = [windows[lane::lanes] for lane in range(lanes)]
    assert [window for piece in pieces for window in piece] == list(range(count))
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
    assert [order.position(0, window) for window in windows] == list(range(count))
