from __future__ import annotations

import pytest

pytestmark = [pytest.mark.e2e]

NO_DROPOUT = "model.dropout=0.0"


COUNTS = ("update", "tokens", "words", "bytes", "documents", "epoch", "learning_rate")
LONG = ["training.duration=50 updates", NO_DROPOUT, "evaluation=[]"]


def test_however_an_update_is_dealt_it_shows_the_same_windows_and_has_the_same_loss(lab):
    lab.run("--run-dir=whole", *LONG)
    whole = [line for line in lab.metrics("whole") if "loss" in line]
    assert len(whole) == 50

    for micro, processes in [(1, 1), (2, 1), (8, 2), (2, 2)]:
        size = "auto" if micro == 8 else str(micro)
        run = f"micro-{micro}-processes-{processes}"
        lab.run(f"--run-dir={run}", *LONG, f"training.micro_batch_size={size}", processes=processes)
        dealt = [line for line in lab.metrics(run) if "loss" in line]
        assert [[line[key] for key in COUNTS] for line in dealt] == [
            [line[key] for key in COUNTS] for line in whole
        ]
        assert [line["loss"] for line in dealt] == pytest.approx([line["loss"] for line in whole], rel=1e-6)


def test_two_processes_resume_as_if_never_stopped(lab):
    lab.run("--run-dir=straight", processes=2)
    lab.kill_at(13, "killed", processes=2)

    lab.run("--run-dir=killed", "--resume-from=latest", processes=2)

    assert lab.weights("killed") == lab.weights("straight")
    assert lab.metrics("killed") == lab.metrics("straight")


def test_a_run_goes_on_with_another_number_of_processes(lab):
    lab.run("--run-dir=straight", NO_DROPOUT)
    lab.kill_at(13, "moved", NO_DROPOUT)

    lab.run("--run-dir=moved", "--resume-from=latest", NO_DROPOUT, processes=2)

    for alone, moved in zip(lab.metrics("straight"), lab.metrics("moved"), strict=True):
        assert moved == pytest.approx(alone, rel=1e-5)


def test_the_z_loss_is_reported_apart_from_the_cross_entropy(lab):
    short = ["training.duration=4 updates", "evaluation=[]"]
    lab.run("--run-dir=plain", *short)
    lab.run("--run-dir=z", *short, "objective={type: causal_lm, z_loss: 1e-4}")

    plain, with_z = lab.metrics("plain")[0], lab.metrics("z")[0]

    assert with_z["loss"] == plain["loss"]
    assert "z_loss" not in plain
    assert 0 < with_z["z_loss"] < 1e-2


def test_the_loss_in_chunks_is_the_plain_one_for_one_and_two_processes(lab):
    """Tied embeddings: the output layer's gradient comes from two places, in every process."""
    short = ["training.duration=12 updates", NO_DROPOUT, "evaluation=[]"]
    lab.run("--run-dir=plain", *short)
    plain = [line["loss"] for line in lab.metrics("plain")]

    chunks = "objective={type: causal_lm, chunk_tokens: 20}"
    for micro, processes in [(8, 1), (4, 2), (2, 2)]:
        run = f"chunks-{micro}-{processes}"
        lab.run(
            f"--run-dir={run}",
            *short,
            chunks,
            f"training.micro_batch_size={micro}",
            processes=processes,
        )
        assert [line["loss"] for line in lab.metrics(run)] == pytest.approx(plain, rel=1e-6)


def test_a_run_with_the_loss_in_chunks_resumes_bit_for_bit(lab):
    chunks = "objective={type: causal_lm, chunk_tokens: 20}"
    lab.run("--run-dir=straight", chunks)
    lab.kill_at(13, "killed", chunks)

    lab.run("--run-dir=killed", "--resume-from=latest", chunks)

    assert lab.weights("killed") == lab.weights("straight")
    assert lab.metrics("killed") == lab.metrics("straight")
