from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.errors import CheckpointError, DataError, ModelFoundryError, RecipeError

DIM, HIDDEN, LAYERS, HEADS, KV, SIZE, CONTEXT = 8, 12, 2, 4, 2, 270, 16
GREEDY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball."
)


def call(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception:
        raise result.exception
    return result.stdout


def invented(tied: bool) -> tuple[bytes, dict[str, np.ndarray]]:
    """A checkpoint with random weights, and these by llama2.c's names."""
    draw = np.random.default_rng(0)
    kv_width = DIM // HEADS * KV
    shapes = {
        "embedding": (SIZE, DIM), "att_norm": (LAYERS, DIM), "wq": (LAYERS, DIM, DIM),
        "wk": (LAYERS, kv_width, DIM), "wv": (LAYERS, kv_width, DIM), "wo": (LAYERS, DIM, DIM),
        "ffn_norm": (LAYERS, DIM), "w1": (LAYERS, HIDDEN, DIM), "w2": (LAYERS, DIM, HIDDEN),
        "w3": (LAYERS, HIDDEN, DIM), "norm": (DIM,), "freqs": (2, CONTEXT, DIM // HEADS // 2),
    }  # fmt: skip
    if not tied:
        shapes["output"] = (SIZE, DIM)
    weights = {name: draw.normal(0, 0.5, shape).astype("<f4") for name, shape in shapes.items()}
    header = struct.pack("<7i", DIM, HIDDEN, LAYERS, HEADS, KV, SIZE if tied else -SIZE, CONTEXT)
    return header + b"".join(value.tobytes() for value in weights.values()), weights


def pieces() -> list[tuple[str, float]]:
    """A vocabulary like llama2.c's: specials, bytes, characters and what they join to."""
    special = [("<unk>", 0.0), ("\n<s>\n", 0.0), ("\n</s>\n", 0.0)]
    in_bytes = [(f"<0x{byte:02X}>", 0.0) for byte in range(256)]
    joined = [(" t", 0.0), ("he", -1.0), (" the", -2.0), ("th", -3.0)]
    return [*special, *in_bytes, *joined, *((sign, -10.0 - n) for n, sign in enumerate(" tehca."))]


def in_file(vocabulary: list[tuple[str, float]]) -> bytes:
    encoded = [(piece.encode(), score) for piece, score in vocabulary]
    longest = struct.pack("<i", max(len(piece) for piece, _ in encoded))
    return longest + b"".join(struct.pack("<fi", score, len(piece)) + piece for piece, score in encoded)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    model, tokenizer = tmp_path / "model.bin", tmp_path / "tokenizer.bin"
    model.write_bytes(invented(tied=True)[0])
    tokenizer.write_bytes(in_file(pieces()))
    return model, tokenizer


def llama2c_logits(weights: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """The forward pass as run.c has it, one token after another, in float64."""
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    head = DIM // HEADS
    keys: list[list[np.ndarray]] = [[] for _ in range(LAYERS)]
    values: list[list[np.ndarray]] = [[] for _ in range(LAYERS)]

    def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean() + 1e-5) * weight

    def rotate(x: np.ndarray, position: int) -> np.ndarray:
        rotated = x.copy()
        for i in range(0, len(x), 2):
            angle = position / 10000 ** ((i % head) / head)
            a, b = x[i], x[i + 1]
            rotated[i] = a * np.cos(angle) - b * np.sin(angle)
            rotated[i + 1] = a * np.sin(angle) + b * np.cos(angle)
        return rotated

    logits = []
    for position, token in enumerate(ids):
        x = weights["embedding"][token]
        for layer in range(LAYERS):
            h = norm(x, weights["att_norm"][layer])
            q = rotate(weights["wq"][layer] @ h, position)
            keys[layer].append(rotate(weights["wk"][layer] @ h, position))
            values[layer].append(weights["wv"][layer] @ h)
            out = np.zeros(DIM)
            for number in range(HEADS):
                mine = slice(number * head, (number + 1) * head)
                theirs = slice(number * KV // HEADS * head, (number * KV // HEADS + 1) * head)
                scores = np.array([q[mine] @ key[theirs] for key in keys[layer]]) / np.sqrt(head)
                shares = np.exp(scores - scores.max())
                shares /= shares.sum()
                out[mine] = sum(s * value[theirs] for s, value in zip(shares, values[layer], strict=True))
            x = x + weights["wo"][layer] @ out
            h = norm(x, weights["ffn_norm"][layer])
            gate = weights["w1"][layer] @ h
            x = x + weights["w2"][layer] @ (gate / (1 + np.exp(-gate)) * (weights["w3"][layer] @ h))
        logits.append(weights.get("output", weights["embedding"]) @ norm(x, weights["norm"]))
    return np.array(logits)


@pytest.mark.parametrize("tied", [True, False])
def test_the_imported_model_has_the_logits_of_the_original_program(tmp_path, files, tied):
    model, tokenizer = files
    data, weights = invented(tied)
    model.write_bytes(data)

    printed = call("import", model, tmp_path / "made", "--tokenizer", tokenizer)

    ids = [1, 5, 260, 260, 7, 100, 3]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    with torch.no_grad():
        found = loaded(torch.tensor([ids])).logits[0].numpy()
    assert found == pytest.approx(llama2c_logits(weights, ids), abs=2e-4)
    assert loaded.config.tie_word_embeddings == tied
    assert "LlamaForCausalLM" in printed


def test_the_tokenizer_joins_the_pieces_of_the_highest_score(tmp_path, files):
    call("import", files[0], tmp_path / "made", "--tokenizer", files[1])

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "made")

    # Of " the": " t" and "he" score highest, then " the"; "th" never comes to be. A fox has no piece.
    assert tokenizer.tokenize("the hat") == ["\u2581the", "\u2581", "h", "a", "t"]
    assert tokenizer.tokenize("\U0001f98a")[1:] == ["<0xF0>", "<0x9F>", "<0xA6>", "<0x8A>"]
    assert tokenizer("the")["input_ids"] == [1, tokenizer.convert_tokens_to_ids("\u2581the")]
    text = "the cat. the \U0001f98a"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-4], r"has [\d,]+ bytes, and its header asks for"),
        (lambda data: data[:9], "9 bytes, too few for the header"),
        (lambda data: b"24ka" + data[4:], r"of a later version.*--version 0"),
        (lambda data: struct.pack("<7i", 8, 12, 2, 3, 2, 9, 16) + data[28:], "expected the sizes of a Llama"),
    ],
)
def test_a_file_that_is_no_such_checkpoint_is_named(tmp_path, files, damage, message):
    files[0].write_bytes(damage(files[0].read_bytes()))

    with pytest.raises(DataError, match=message):
        call("import", files[0], tmp_path / "made", "--tokenizer", files[1])

    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (pieces()[:-1], "expected the 270 pieces of the checkpoint's vocabulary"),
        ([*pieces(), ("x", 0.0)], "bytes beyond the last piece"),
        ([*pieces()[:-1], ("t", 0.0)], "equal pieces"),
    ],
)
def test_a_tokenizer_of_another_checkpoint_is_refused(tmp_path, files, vocabulary, message):
    files[1].write_bytes(in_file(vocabulary))

    with pytest.raises(DataError, match=message):
        call("import", files[0], tmp_path / "made", "--tokenizer", files[1])


def test_missing_files_and_taken_folders_are_named(tmp_path, files):
    cases: list[tuple[tuple[Path, Path, Path], type[ModelFoundryError], str]] = [
        ((tmp_path / "no.bin", tmp_path / "made", files[1]), DataError, r"no\.bin: cannot be read"),
        ((files[0], tmp_path / "made", tmp_path / "no.bin"), DataError, r"no\.bin: cannot be read"),
        ((files[0], tmp_path, files[1]), RecipeError, "is there already"),
    ]
    for (model, folder, tokenizer), error, message in cases:
        with pytest.raises(error, match=message):
            call("import", model, folder, "--tokenizer", tokenizer)


@pytest.fixture(scope="module")
def stories(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published stories260K as a Hugging Face folder."""
    published = test_data / "ckpt-stories260K"
    if not published.is_dir():
        pytest.skip(f"{published} is not there")
    folder = tmp_path_factory.mktemp("imported") / "stories260k"
    call("import", published / "stories260K.bin", folder, "--tokenizer", published / "tok512.bin")
    return folder


def test_stories260k_tells_the_story_that_it_is_known_for(stories):
    assert call("generate", stories, "", "--temperature", "0", "--tokens", "70").startswith(GREEDY)
    assert call("generate", stories, GREEDY[:29], "--temperature", "0", "--tokens", "60").startswith(GREEDY)


def test_transformers_tells_the_same_story(stories):
    tokenizer = AutoTokenizer.from_pretrained(stories)
    model = AutoModelForCausalLM.from_pretrained(stories)

    ids = model.generate(**tokenizer("", return_tensors="pt"), do_sample=False, max_new_tokens=70)

    assert sum(weight.numel() for weight in model.parameters()) == 260_032
    assert tokenizer.decode(ids[0], skip_special_tokens=True).startswith(GREEDY)


def test_masked_models_do_not_continue_texts(tmp_path, files):
    from transformers import BertConfig, BertForMaskedLM

    call("import", files[0], tmp_path / "made", "--tokenizer", files[1])
    sizes = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 8}
    BertForMaskedLM(BertConfig(vocab_size=SIZE, **sizes)).save_pretrained(tmp_path / "made")

    with pytest.raises(CheckpointError, match="a BertForMaskedLM sees both sides of a token"):
        call("generate", tmp_path / "made", "the")


def test_seeds_decide_what_is_drawn(stories):
    texts = [call("generate", stories, "Lily", "--tokens", "20", "--seed", seed) for seed in "112"]

    assert texts[0] == texts[1] != texts[2]
