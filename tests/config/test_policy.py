from __future__ import annotations

import pytest
from pydantic_core import PydanticCustomError

from model_foundry.config.policy import NonFinitePolicy


@pytest.mark.parametrize(
    ("text", "action", "times"),
    [
        ("stop", "stop", 0),
        ("skip 3", "skip", 3),
        ("  rewind   12 ", "rewind", 12),
        ("skip 999999", "skip", 999999),
    ],
)
def test_a_policy_is_an_action_and_how_often(text, action, times):
    policy = NonFinitePolicy.parse(text)

    assert (policy.action, policy.times) == (action, times)
    assert NonFinitePolicy.parse(str(policy)) == policy


@pytest.mark.parametrize(
    "value", ["skip", "skip 0", "skip -1", "skip 3 times", "rewind x", "stop 3", "", 3, None, True]
)
def test_anything_else_is_refused(value):
    with pytest.raises(
        PydanticCustomError, match="expected stop, or skip or rewind with the most times in a run"
    ):
        NonFinitePolicy.parse(value)
