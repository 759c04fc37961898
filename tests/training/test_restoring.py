"""What a resume says of its exactness where nothing changed."""

from __future__ import annotations

import pytest
import torch

from model_foundry.training.restoring import inexact_because, machine_facts


@pytest.mark.parametrize(("processes", "reasons"), [(1, []), (2, []), (3, ["processes: 3 of them"])])
def test_a_resume_of_three_processes_is_never_called_exact(processes: int, reasons: list[str]) -> None:
    facts = {"world_size": processes, "micro_batch_size": 4, **machine_facts(torch.device("cpu"))}

    assert [reason[:20] for reason in inexact_because(facts, facts)] == reasons
