"""A first recipe of one's own, with a comment on every choice: what ``recipe init`` writes."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from model_foundry.config._dump import inline

Objective = Literal["causal_lm", "masked_lm"]
SCHEMA_FOLDER = ".model-foundry"
SCHEMA_FILE = "recipe.schema.json"
_HEAD_BYTES = 64 * 1024
_MANY_FILES = 20


@dataclass(frozen=True)
class Size:
    """A model's sizes with a learning rate and a vocabulary that suit them."""

    layers: int
    width: int
    heads: int
    learning_rate: str
    vocabulary: int
    text: str


SIZES = {
    "tiny": Size(4, 128, 4, "2e-3", 4096, "about 1M parameters; minutes on a CPU"),
    "small": Size(6, 384, 6, "1e-3", 8192, "about 14M parameters; hours on a CPU, minutes on a GPU"),
    "base": Size(12, 768, 12, "6e-4", 32768, "about 110M parameters, as GPT-2 and BERT; for a GPU"),
}

_TEMPLATE = """\
# {name}: written by `model-foundry recipe init`. All keys: docs/reference/recipe.md.
#   model-foundry check {file}             # everything that is wrong with it
#   model-foundry train {file} --smoke     # the same run at a small size, in seconds
schema: 1
name: {name}   # the run's folder is runs/{name}; {{seed}} in a name stands for the seed
seed: 1   # all randomness follows from it

corpus:
  sources:   # read one after the other; relative to this file, or to where you are
{sources}
  validation: {{fraction: 2%}}   # documents that are held out, chosen by their content, never trained on

tokenizer: {{type: byte_bpe, vocab_size: {vocabulary}}}   # trained on this text; or type: pretrained

data:
  context: {context}   # tokens a window
  documents: concatenate   # isolate: no attention or loss across documents; pad: one document a row

model: {{type: {model}, layers: {layers}, width: {width}, heads: {heads}}}   # or preset: gpt2-124m, ...
objective: {{type: {objective}}}   # {objective_text}
optimizer: {{type: adamw, learning_rate: {learning_rate}, betas: [0.9, 0.95], weight_decay: 0.1}}
schedule: {{type: cosine, warmup: 2%, floor: 10%}}   # rises over 2 % of the run, falls to a tenth of the peak

training:
  duration: {duration}   # or 2000 updates, 100M tokens, 100M words
  batch_size: {batch_size}   # windows an update, on however many devices
  precision: fp32   # bf16 on a GPU
  # max_time: 12h   # save and stop before an allocation ends; --resume-from latest goes on

checkpoints:
  schedule: [{{type: log2}}]   # updates 1, 2, 4, 8, ...; update 0 and the last are always saved
  rolling: 500 updates   # states to resume from, of which the newest are kept

evaluation:
  - {{type: {evaluator}, every: 250 updates}}
{samples}
smoke:   # `--smoke` lays this over the rest: the same run, small
  tokenizer: {{vocab_size: 512}}
  data: {{context: 64}}
  model: {{layers: 2, width: 32, heads: 2}}
  training: {{duration: 6 updates, batch_size: 8}}
  evaluation: [{{type: {evaluator}}}]
"""
_SAMPLES = """
samples:   # text that the model writes as it learns
  prompts: ["The"]
  every: 500 updates
"""
_OBJECTIVES = {
    "causal_lm": "each token from those before it; masked_lm (with bert, ...): from both sides",
    "masked_lm": "hidden tokens from both sides; causal_lm (with gpt2, ...): from what is before",
}


def starter(
    file: str,
    *,
    name: str,
    sources: Sequence[str],
    objective: Objective = "causal_lm",
    size: str = "tiny",
    duration: str = "10 epochs",
    context: int = 256,
) -> str:
    """Return the text of a recipe for the user's own files.

    Args:
        file: The recipe's path, for its first lines.
        name: Name of the run.
        sources: Sections of ``source_of``.
        objective: What is predicted.
        size: One of ``SIZES``.
        duration: Length of the run.
        context: Tokens a window.
    """
    sizes, masked = SIZES[size], objective == "masked_lm"
    return _TEMPLATE.format(
        name=inline(name),
        file=file,
        sources="\n".join(f"    - {source}" for source in sources),
        vocabulary=sizes.vocabulary,
        context=context,
        model="bert" if masked else "gpt2",
        layers=sizes.layers,
        width=sizes.width,
        heads=sizes.heads,
        objective=objective,
        objective_text=_OBJECTIVES[objective],
        learning_rate=sizes.learning_rate,
        duration=inline(duration),
        batch_size=16 if size == "tiny" else 64,
        evaluator="masked_loss" if masked else "perplexity",
        samples="" if masked else _SAMPLES,
    )


def source_of(pattern: str, path: str) -> str:
    """Return the section for a pattern, by the names of its files, and by how the first one separates texts.

    Args:
        pattern: Path or pattern of the files from here.
        path: The same as the recipe says it.
    """
    bare = pattern.removesuffix(".gz").removesuffix(".zst")
    if bare.endswith((".jsonl", ".json", ".ndjson")):
        return f"{{type: jsonl, path: {inline(path)}, field: text}}   # the field that holds the text"
    document = _document_in(matching(pattern))
    return f"{{type: text_files, path: {inline(path)}, document: {document}}}   # or file, line, blank_line"


def matching(pattern: str) -> list[str]:
    """Return the files of a pattern, as far as they are there already."""
    return sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))


def _document_in(files: list[str]) -> str:
    """Say what separates documents: few files hold many each, or nothing could be held out."""
    if not files or len(files) >= _MANY_FILES or files[0].endswith((".gz", ".zst")):
        return "file"
    with open(files[0], "rb") as file:
        head = file.read(_HEAD_BYTES)
    return "blank_line" if b"\n\n" in head.replace(b"\r\n", b"\n").strip() else "line"


def editor_line(folder: str = ".") -> str:
    """Return the comment by which editors find the schema beside a recipe."""
    return f"# yaml-language-server: $schema={folder}/{SCHEMA_FOLDER}/{SCHEMA_FILE}\n"
