"""Tasks of EleutherAI's lm-evaluation-harness on a model in training or any checkpoint, from local data."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from model_foundry.errors import DataError
from model_foundry.evaluation import Evaluator, Subject, Suite


class LmEval(Evaluator):
    """Needs the extra ``eval`` (lm-eval); the numbers are that library's own, item by item."""

    needs_held_out = False

    tasks: Annotated[list[str], Field(min_length=1)]
    """Names of tasks or groups of lm-evaluation-harness."""

    include: str | None = Field(default=None, min_length=1)
    """Folder with task files (.yaml) of your own and, beside them, their data."""

    shots: int = Field(default=0, ge=0)
    """Examples before each item."""

    limit: PositiveInt | None = None
    """Items of each task, the first ones; all where not given."""

    batch_size: PositiveInt = 32
    """Requests a forward pass."""

    @classmethod
    def from_argument(cls, argument: str) -> LmEval:
        """Return the settings that ``--suite lm-eval:TASK,...`` means; a folder among them is ``include``."""
        names = [name.strip() for name in argument.split(",")]
        folders = [name for name in names if Path(name).is_dir()]
        tasks = [name for name in names if name not in folders]
        return cls(tasks=tasks, include=folders[0] if folders else None)

    def open(self, subject: Subject, folders: list[Path]) -> Suite:
        """Look for the library and the task files.

        Raises:
            DataError: When one is missing.
        """
        try:
            installed = version("lm-eval")
        except PackageNotFoundError as error:
            raise DataError(
                f"evaluation {self.label}: lm-evaluation-harness is not installed. Install it with the extra "
                "eval: pip install 'model-foundry[eval]'."
            ) from error
        folder = None
        if self.include is not None:
            places = [place / self.include for place in folders]
            folder = next((place for place in places if place.is_dir()), None)
            if folder is None:
                raise DataError(
                    f"evaluation {self.label}: there is no folder {self.include}. Looked for "
                    f"{', '.join(map(str, places))}. Correct include."
                )
        from model_foundry.evaluation._harness import Asked, HarnessTasks

        asked = Asked(tuple(self.tasks), self.shots, self.limit, self.batch_size, self.label)
        return HarnessTasks(asked, installed, folder)
