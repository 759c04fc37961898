"""Writes ``docs/reference/architectures.md``: its text stands here, its numbers are counted.

python docs/generate_architectures.py
"""

# ruff: noqa: E501 - prose of the page, a paragraph a line
from __future__ import annotations

from pathlib import Path

from model_foundry.model.counting.preset_table import PresetRow, preset_table

TARGET = Path(__file__).parent / "reference" / "architectures.md"
HEAD = """\
# Architectures and presets

Made by `docs/generate_architectures.py`; a test keeps it fresh. The fields of each architecture are on the page of [every key of a recipe](recipe.md).

`model: {type: gpt2, preset: gpt2-124m}` is a published model by name. Fields beside `preset` change single values: `model: {type: gpt2, preset: gpt2-124m, layers: 6}`. A preset that a later recipe (`extends`) or the command line names stands over the sizes of the earlier one. The vocabulary of a run's model is its tokenizer's; `vocab_size` pads it, as some published models do. Padded rows are part of the softmax and are never written as text. A recipe without `initialization` begins as the preset was published, or with what suits the architecture.

`model-foundry recipe list --presets` prints this table, and with `--json` also the sources and operations.

**Parameters** are unique ones with the published vocabulary: a tied output layer counts once. **Without embeddings** leaves out all embedding tables and an output layer of its own. **Active** are those that one token passes through, where experts make that fewer. **Operations** are those of one token's forward and backward pass in the published context: 6 N + 12 L H Q T (PaLM, arXiv 2204.02311, appendix B), without tables that are only looked up and experts that a token is not sent to; torch's own counter agrees to the last one, biases and norms aside. State-space layers have 18 operations for each number of their state in place of the second term, recurrent layers none.

"""
DIRECTIONS = """
**Directions.** Decoders under `attention: sdpa` can also look both ways, row by row, by a mask of the objective's (`any`); encoders always do (`bidirectional`). Mamba looks back only, cannot keep packed documents apart (`documents: isolate` is refused), and without its kernels is many times slower than attention; a warning says so.

**Attention.** `sdpa` is the default. `eager` is plain. `flex_attention` has no backward pass on the CPU in torch 2.13. `flash_attention_2` and `flash_attention_3` need their packages and a GPU. What cannot be used here is refused with what to do. DeBERTa's attention is always plain.

**Any other class of transformers** is `model: {type: transformers, config: ElectraConfig, head: masked, ...}` with the fields of that config class. `head` is `causal` by default; the built model is held to what its head says.
"""


def page() -> str:
    """Return the whole page."""
    rows = preset_table()
    notes = [f"- `{row['preset']}`: {row['note']}." for row in rows if row["note"]]
    return (
        HEAD
        + _table(rows)
        + "\n**What differs from the publication:**\n\n"
        + "\n".join(notes)
        + "\n"
        + DIRECTIONS
    )


def _table(rows: list[PresetRow]) -> str:
    lines = [
        "| preset | type | parameters | without embeddings | active | operations a token | vocabulary | context | initialization |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        active = row["active_parameters"]
        cells = (
            f"`{row['preset']}`",
            f"`{row['type']}`",
            f"{row['parameters']:,}",
            f"{row['non_embedding_parameters']:,}",
            "" if active == row["parameters"] else f"{active:,}",
            f"{row['flops_per_token']:,}",
            f"{row['vocabulary']:,}",
            f"{row['context']:,}",
            f"`{row['initialization']}`",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
