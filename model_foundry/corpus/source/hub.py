"""A dataset of the Hugging Face hub, or a folder laid out like one, loaded by ``datasets.load_dataset``.

What ``load_dataset`` leaves in its cache are Arrow files; these are the inputs, read as memory maps. With
HF_HUB_OFFLINE=1 only that cache is looked at. No dataset's code is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import ConfigDict, Field, model_validator

from model_foundry.corpus._blocks import check_is_regular
from model_foundry.corpus.source import Input, Source
from model_foundry.corpus.source._columns import check_column, texts_of
from model_foundry.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOCAL = ("/", "./", "../")


class Hub(Source):
    """Arguments of ``load_dataset``; the text is read several times, so its streaming mode is not used."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"path": "./texts"}]})

    path: str = Field(min_length=1)
    """Name on the hub (``owner/name``), or a folder of data files: ``./name``, ``../name`` or ``/name``."""

    name: str | None = None
    """Configuration of the dataset."""

    data_dir: str | None = None
    """Folder within the dataset."""

    data_files: str | list[str] | None = None
    """Files within the dataset."""

    split: str = Field(default="train", pattern=r"^[^\[\]+]+$")
    """A whole split; parts of one (``train[:10%]``) are not read."""

    revision: str | None = None
    """Commit on the hub, all 40 digits: a branch or tag may be another text tomorrow."""

    allow_unpinned: bool = False
    """Take a branch or tag, or whatever is the newest."""

    field: str = Field(default="text", min_length=1)
    """Name of the column that holds the text; a null in it is an empty document."""

    @model_validator(mode="after")
    def _is_pinned(self) -> Self:
        is_pinned = bool(self.revision and _COMMIT.fullmatch(self.revision))
        if self.path.startswith(_LOCAL):
            if self.revision or self.allow_unpinned:
                raise ValueError(
                    f"{self.path!r} is a folder, which has no revision. Remove revision and allow_unpinned"
                )
        elif is_pinned and self.allow_unpinned:
            raise ValueError("the revision is a commit, so allow_unpinned has no effect. Remove it")
        elif not is_pinned and not self.allow_unpinned:
            given = f"{self.revision!r} is no commit" if self.revision else "no revision is given"
            raise ValueError(
                f"{given}, expected the 40 digits of one, so that the text stays the same. Copy it from the "
                f"dataset's page, or say allow_unpinned: true. A folder is written ./{self.path}"
            )
        return self

    def inputs(self, folders: list[Path]) -> list[Input]:
        """Load the dataset and return the Arrow files of the split, in order."""
        import datasets

        path = self._place(folders) if self.path.startswith(_LOCAL) else self.path
        try:
            loaded: Any = datasets.load_dataset(
                path,
                self.name,
                data_dir=self.data_dir,
                data_files=self.data_files,
                split=self.split,
                revision=self.revision,
            )
        except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
            raise DataError(
                f"dataset {self.path!r}, split {self.split!r}: cannot be loaded: {error}. Correct path, "
                "name, split or revision; without a network it must have been loaded before."
            ) from error
        name = Path(self.path).name if self.path.startswith(_LOCAL) else self.path
        files = [Path(file["filename"]) for file in loaded.cache_files]
        if not files:
            raise DataError(
                f"dataset {self.path!r}, split {self.split!r}: has no rows, expected at least one. Correct "
                "the split, or remove the source."
            )
        return [Input(path=file, name=f"{name}/{self.split}-{at}") for at, file in enumerate(files)]

    def documents(self, source_input: Input) -> Iterator[str]:
        """Yield the column of every row, in order."""
        import pyarrow as pa

        check_is_regular(source_input.path)
        try:
            with pa.memory_map(str(source_input.path)) as file, pa.ipc.open_stream(file) as batches:
                check_column(batches.schema, self.field, f"dataset {self.path!r} ({source_input.path})")
                yield from texts_of(_columns(batches, self.field), source_input)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(
                f"{source_input.path}: cannot be read as Arrow: {error}. Remove it; it is then loaded again."
            ) from error

    def _place(self, folders: list[Path]) -> str:
        tried = [folder / self.path for folder in folders]
        for place in tried:
            if place.is_dir():
                return str(place.resolve())
        raise DataError(
            f"path {self.path!r}: there is no such folder. Looked for {', '.join(map(str, tried))}. Correct "
            "the path in the recipe."
        )


def _columns(batches: pa.RecordBatchStreamReader, field: str) -> Iterator[pa.Array]:
    for batch in batches:
        yield batch.column(batch.schema.get_field_index(field))
