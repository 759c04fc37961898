"""One id a byte: nothing to train, nothing unknown, the longest sequences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from model_foundry.tokenizer import Tokenizer
from model_foundry.tokenizer._files import write_folder


class Byte(Tokenizer):
    """Id 0 to 255 is the byte itself, 256 ends a document, 257 masks where something does."""

    @property
    def is_trained(self) -> bool:
        """It never looks at the text."""
        return False

    def write(self, folder: Path, texts: Iterator[str], folders: list[Path]) -> None:
        """Write the files; the texts are not read."""
        from tokenizers import AddedToken, decoders, models, pre_tokenizers
        from tokenizers import Tokenizer as Pipeline

        pipeline = Pipeline(models.BPE(vocab={sign: byte for byte, sign in _signs().items()}, merges=[]))
        pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        pipeline.decoder = decoders.ByteLevel()
        pipeline.add_special_tokens(
            [AddedToken(token, special=True, normalized=False) for token in self.special_tokens.values()]
        )
        write_folder(folder, pipeline, self.special_tokens)


def _signs() -> dict[int, str]:
    """Return the printable character that stands for each byte in byte-level vocabularies (GPT-2's choice).

    Printable Latin-1 bytes stand for themselves, the others for the characters from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) if byte in printable else chr(0x100 + others.index(byte)) for byte in range(256)}
