"""The tokenizer of a run or checkpoint, as transformers knows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from model_foundry.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a run folder, a checkpoint, or a folder with ``tokenizer.json``.

    Raises:
        CheckpointError: When the folder holds none.
    """
    from transformers import AutoTokenizer

    folder = Path(path)
    for candidate in (folder, folder / "tokenizer"):
        if (candidate / "tokenizer.json").is_file():
            return AutoTokenizer.from_pretrained(candidate, local_files_only=True)
    raise CheckpointError(
        f"{folder}: no tokenizer.json there or in its folder tokenizer/. Name a run or a checkpoint."
    )
