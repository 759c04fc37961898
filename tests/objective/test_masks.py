"""Masks: their statistics, and what they leave alone."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from model_foundry.errors import RecipeError
from model_foundry.objective import IGNORED, Objective, Row, Tokens
from model_foundry.objective._masking import MaskedLoss
from model_foundry.objective.hybrid import Hybrid
from model_foundry.objective.masked_lm import MaskedLM
from model_foundry.parts import PartOf

SIZE, MASK, EOS, LENGTH, ROWS = 500, 1, 0, 128, 400
TOKENS = Tokens(SIZE, frozenset({EOS, MASK}), MASK)


class Masked:
    """Many rows of one objective: what was given, shown and asked for."""

    def __init__(self, objective: MaskedLoss, *, words: int = 3, positions: int = ROWS) -> None:
        arrangement = objective.arrangement(TOKENS, "any", seed=5, positions=positions)
        assert arrangement is not None
        generator = np.random.default_rng(0)
        shape = (ROWS, LENGTH + objective.shared_tokens)
        self.tokens = generator.integers(2, SIZE, size=shape)
        self.tokens[:, 40] = EOS
        self.words = (np.arange(shape[1]) % words == 0).astype(np.int64)
        self.ids = self.tokens[:, :LENGTH].copy()
        self.targets = np.full((ROWS, LENGTH), IGNORED)
        if objective.shared_tokens:
            self.targets = self.tokens[:, 1:].copy()
        self.causal = np.array(
            [
                arrangement.arrange(
                    Row(
                        self.ids[row], self.targets[row], self.tokens[row], lambda: self.words, 0, row, LENGTH
                    )
                )
                for row in range(ROWS)
            ]
        )
        self.chosen = self.targets != IGNORED


def assert_share(found: int, of: int, share: float, *, units_of: float = 1.0) -> None:
    """``found`` of ``of`` tokens are ``share`` within 3 standard errors; units of several fall together."""
    error = math.sqrt(share * (1 - share) / of * units_of)
    assert abs(found / of - share) < 3 * error, f"{found / of:.4f}, expected {share} +- {3 * error:.4f}"


@pytest.mark.parametrize("unit", ["token", "whole_word", "span"])
def test_the_shares_are_those_of_the_recipe(unit: str) -> None:
    masked = Masked(MaskedLM(unit=unit, mask_ratio="15%"))
    chosen, text = masked.chosen, masked.tokens != EOS
    num_chosen = int(chosen.sum())

    # Tokens of a unit fall together: the variance grows by E[n^2] / E[n], at most the longest.
    largest = {"token": 1, "whole_word": 3, "span": 3}[unit]
    assert_share(num_chosen, int(text.sum()), 0.15, units_of=largest)
    by_unit = largest if unit == "span" else 1
    assert_share(int((masked.ids[chosen] == MASK).sum()), num_chosen, 0.8, units_of=by_unit)
    unchanged = masked.ids[chosen] == masked.tokens[chosen]
    random = ~unchanged & (masked.ids[chosen] != MASK)
    assert_share(int(random.sum()), num_chosen, 0.1 * (1 - 1 / (SIZE - 2)), units_of=by_unit)
    assert_share(int(unchanged.sum()), num_chosen, 0.1 + 0.1 / (SIZE - 2), units_of=by_unit)


@pytest.mark.parametrize("unit", ["token", "whole_word", "span"])
def test_targets_are_the_hidden_tokens_and_the_rest_is_shown_as_it_is(unit: str) -> None:
    masked = Masked(MaskedLM(unit=unit))

    assert (masked.targets[masked.chosen] == masked.tokens[masked.chosen]).all()
    assert (masked.ids[~masked.chosen] == masked.tokens[~masked.chosen]).all()
    assert not masked.chosen[:, 40].any()  # the end of a document
    assert set(masked.ids[masked.chosen]) & {EOS} == set()


def test_random_tokens_are_drawn_evenly_from_those_that_stand_for_text() -> None:
    masked = Masked(MaskedLM(replacement={"mask": 0, "random": 1.0, "unchanged": 0}, mask_ratio=1.0))

    counts = np.bincount(masked.ids[masked.chosen], minlength=SIZE)
    expected = masked.chosen.sum() / (SIZE - 2)
    chi_squared = ((counts[2:] - expected) ** 2 / expected).sum()
    assert counts[:2].tolist() == [0, 0]
    assert abs(chi_squared - (SIZE - 3)) < 3 * math.sqrt(2 * (SIZE - 3))


def test_babyberta_leaves_no_chosen_token_as_it_is_but_by_chance() -> None:
    masked = Masked(MaskedLM(replacement={"mask": 0.9, "random": 0.1, "unchanged": 0}))

    same = masked.ids[masked.chosen] == masked.tokens[masked.chosen]
    assert_share(int((masked.ids[masked.chosen] == MASK).sum()), int(masked.chosen.sum()), 0.9)
    assert same.mean() < 0.002


def test_words_are_masked_whole_and_end_with_their_document() -> None:
    chosen = Masked(MaskedLM(unit="whole_word"), words=3).chosen

    starts = sorted({*range(0, LENGTH, 3), 40, 41})
    for begin, end in pairwise([*starts, LENGTH]):
        together = chosen[:, begin:end]
        assert (together.all(1) | ~together.any(1)).all(), (begin, end)
    assert (chosen[:, 39] != chosen[:, 41]).any()


def test_spans_have_lengths_of_1_to_3_drawn_evenly() -> None:
    chosen = Masked(MaskedLM(unit="span", mask_ratio=0.02)).chosen[:, 45:120]  # few touch one another
    runs = [
        len(run)
        for row in chosen
        for run in "".join("x" if token else " " for token in row[1:-1]).split()
        if not (row[0] or row[-1])
    ]

    # A token begins a span of length n with probability 0.02 / 2 / 3 for each n; some 2 % touch another one.
    shares = [runs.count(length) / len(runs) for length in (1, 2, 3)]
    for share in shares:
        assert abs(share - 1 / 3) < 3 * math.sqrt(2 / 9 / len(runs)) + 0.02
    assert sum(length > 3 for length in runs) < 0.06 * len(runs)


def test_the_tokens_of_a_span_are_replaced_alike() -> None:
    masked = Masked(
        MaskedLM(unit="span", mask_ratio=0.02, replacement={"mask": 0.5, "random": 0, "unchanged": 0.5})
    )
    pairs = masked.chosen[:, :-1] & masked.chosen[:, 1:]
    is_mask = masked.ids == MASK

    assert (is_mask[:, :-1] == is_mask[:, 1:])[pairs].mean() > 0.95


def test_a_ratio_on_a_line_goes_from_its_start_to_its_end() -> None:
    chosen = Masked(MaskedLM(mask_ratio={"start": 0.5, "end": 0.1})).chosen

    for first in range(0, ROWS, 100):
        middle = 0.5 - 0.4 * (first + 50) / ROWS
        assert_share(int(chosen[first : first + 100].sum()), 100 * (LENGTH - 1), middle, units_of=1.3)


@pytest.mark.parametrize("moved", [{"epoch": 1}, {"position": 8}])
def test_another_epoch_or_position_has_other_masks(moved: dict[str, int]) -> None:
    masks = MaskedLM(mask_ratio=0.5).masks(TOKENS, seed=5, positions=ROWS)
    tokens = np.full(LENGTH, 9)

    def chosen(*, epoch: int = 0, position: int = 7) -> list[bool]:
        row = Row(tokens, tokens, tokens, lambda: tokens, epoch, position, LENGTH)
        return masks.draw(row)[0].tolist()

    assert chosen() == chosen()
    assert chosen(**moved) != chosen()


def test_held_out_rows_have_the_last_ratio() -> None:
    chosen = Masked(MaskedLM(mask_ratio={"start": 0.5, "end": 0.1}), positions=0).chosen

    assert_share(int(chosen.sum()), ROWS * (LENGTH - 1), 0.1)


def test_hybrid_rows_are_causal_or_masked_by_their_position_alone() -> None:
    masked = Masked(Hybrid(masked="15/16"))

    assert [int((~masked.causal)[at : at + 16].sum()) for at in range(ROWS - 16)] == [15] * (ROWS - 16)
    causal = masked.causal
    assert (masked.ids[causal] == masked.tokens[causal, :-1]).all()
    assert (masked.targets[causal] == masked.tokens[causal, 1:]).all()


def test_hybrid_targets_stand_one_to_the_left_of_what_is_hidden() -> None:
    masked = Masked(Hybrid(masked=1))
    hidden = np.pad(masked.chosen, ((0, 0), (1, 0)))  # place t + 1 of the window, where place t has a target

    assert (masked.targets[masked.chosen] == masked.tokens[hidden]).all()
    assert (masked.ids[~hidden[:, :-1]] == masked.tokens[:, :-1][~hidden[:, :-1]]).all()
    assert_share(int((masked.ids[hidden[:, :-1]] == MASK).sum()), int(hidden[:, :-1].sum()), 0.8)
    assert_share(int(masked.chosen.sum()), ROWS * (LENGTH - 1), 0.15)
    assert masked.chosen[:, -1].any()  # the token behind the last input is a target, too


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"mask_ratio": "0%"}, "expected a share above 0"),
        ({"mask_ratio": {"from": 0.3}}, "expected a share such as 15%, or {start: 30%, end: 15%}"),
        ({"mask_ratio": 15}, "expected a share between 0 and 1"),
        ({"replacement": {"mask": "90%"}}, "add up to 1.1, expected 1: say all three"),
        ({"type": "hybrid", "masked": "16/15"}, "expected a share from 0 to 1 such as 15/16"),
        ({"type": "hybrid", "masked": "half"}, "expected a share from 0 to 1 such as 15/16"),
    ],
)
def test_settings_that_make_no_sense_are_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(PartOf[Objective]).validate_python({"type": "masked_lm", **section})


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    with pytest.raises(
        RecipeError, match=r"masked_lm needs a mask token.*Name one of its vocabulary as tokenizer"
    ):
        MaskedLM().arrangement(Tokens(10, frozenset(), None), "any", seed=1, positions=1)
