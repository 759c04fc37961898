"""Nothing is drawn: a run begins with the weights of a folder that holds a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from model_foundry.errors import RecipeError
from model_foundry.model.initialization import Drawing, Initialization

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Pretrained(Initialization):
    """``init_from: PATH`` at the top of a recipe is short for this.

    Architecture and shapes must be those of ``model``, and the vocabulary that of ``tokenizer``.
    """

    path: str = Field(min_length=1)
    """A Hugging Face folder, a checkpoint, or a run (its newest checkpoint; RUN@best, RUN@100)."""

    def weights_from(self, folders: list[Path]) -> tuple[Path, str]:
        """Return the folder, and which of a run's checkpoints is meant.

        Raises:
            RecipeError: When nothing is there, naming where it was looked for.
        """
        run, _, which = self.path.rpartition("@")
        for name, checkpoint in ((self.path, "last"), (run, which)):
            places = [place / name for place in ([Path()] if Path(name).is_absolute() else folders)]
            found = next((place for place in places if name and place.is_dir()), None)
            if found is not None:
                return found, checkpoint
        looked = ", ".join(str(place / self.path) for place in folders)
        raise RecipeError(
            f"init_from: there is no folder {self.path!r}. Looked for {looked}. Correct the path: a Hugging "
            "Face folder, a run, or one of its checkpoints."
        )

    def drawings(self, model: PreTrainedModel) -> list[Drawing]:
        """Return nothing: no parameter is drawn."""
        return []
