"""Sources of documents: data sets of the hub, or local files in their place."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sedd_core import UserError, console
from sedd_core.data import content_hash, corpus_key, title_of
from sedd_core.files import check_readable, expanded, matching
from sedd_core.stages import Split
from sedd_core.text import MARK, ending, starts_with_mark

from .hub import announce, is_unreachable, quiet_datasets, summary
from .presets import CONVERTED, PRESETS, Preset

LOADERS = {
    **{"jsonl": "json", "json": "json", "parquet": "parquet", "csv": "csv"},
    **dict.fromkeys(("txt", "tokens", "raw"), "text"),
}
"""Loader of a local file, by its extension (see `sedd_core.text.ending`); each line of a text file is a document."""
KINDS = {"json": "JSON lines", "parquet": "Parquet", "csv": "CSV", "text": "plain text, one document per line"}


Documents = Any
"""A `datasets.Dataset` or `datasets.IterableDataset`."""


@dataclass(frozen=True)
class Source:
    """One split of a data set; nothing is read before `documents` or `identity`."""

    setting: Split
    """Prefix of the settings that describe the source: "train" or "valid"."""
    name: str
    """Short name of the data set."""
    repository: str
    """Hub id of the data set."""
    config: str | None
    """Configuration of the data set on the hub."""
    revision: str | None
    """Revision of the data set on the hub."""
    split: str
    """Name of the split."""
    path: str | None
    """Local file, pattern or folder; None: the data set is read from the hub."""
    field: str
    """Column that contains the text."""
    preset: Preset
    """Defaults of the data set."""
    skip_null: bool = False
    """Whether to skip documents with a null text."""

    @classmethod
    def of(
        cls,
        setting: Split,
        name: str,
        config: str | None,
        revision: str | None,
        split: str | None,
        file: str | None,
        field: str | None,
        skip_null: bool = False,
    ) -> Source:
        """Create a source from settings; the preset replaces settings that are None.

        Args:
            setting: Prefix of the settings: "train" or "valid".
            name: Data set of the hub, or a local file or folder.
            config: Configuration of the data set on the hub.
            revision: Revision of the data set on the hub.
            split: Name of the split.
            file: Local file, pattern or folder that replaces the hub.
            field: Column that contains the text.
            skip_null: Whether to skip documents with a null text.
        """
        preset = PRESETS.get(name, Preset(name))
        check_readable(Path(name))
        local = name not in PRESETS and (_kind(name) is not None or Path(name).exists())
        path = str(expanded(file)) if file else name if local else None
        column = "text" if path and _kind(path) == "text" else field or preset.field
        usual = preset.valid if setting == "valid" else preset.train or "train"
        return cls(
            setting,
            title_of(name) if local else Path(name).name.partition(".")[0],
            preset.repository,
            config or preset.config,
            revision or preset.revision,
            split or usual,
            path,
            column,
            preset,
            skip_null,
        )

    def __str__(self) -> str:
        if self.path and self.name not in Path(self.path).name:
            return f"{self.name} ({self.path})"
        return self.path or " ".join(part for part in (self.name, self.split) if part)

    def same(self, other: Source) -> bool:
        """Whether both sources contain the same documents; a local file counts as one split under any name.

        Args:
            other: Source to compare with.
        """
        if self.path and other.path:
            split = _kind(self.path) or self.split == other.split
            return bool(split) and Path(self.path).resolve() == Path(other.path).resolve()
        return self.path == other.path and self.of_the_hub == other.of_the_hub

    @property
    def title(self) -> str:
        """Short name for figures: local files, or the data set with a non-default configuration or split."""
        usual = (self.preset.config, self.preset.revision, self.preset.valid)
        actual = (self.config, self.revision, self.split)
        others = [part for part, known in zip(actual, usual, strict=True) if part and part != known]
        if self.path:
            return title_of(self.path) if _kind(self.path) else "_".join([title_of(self.path), *others[-1:]])
        return "_".join([self.name, *others])

    @property
    def of_the_hub(self) -> tuple[str | None, ...]:
        """Identity of the data on the hub, used if no path is set."""
        return (self.repository, self.config, self.revision, self.split)

    def check_apart(self, other: Source) -> None:
        """Check that two sources read different local files.

        Args:
            other: Source to compare with.

        Raises:
            UserError: Both read the same file.
        """
        both = [_kind(source.path) for source in (self, other) if source.path]
        if len(both) < 2 or None in both:  # in a folder, each source reads its own split
            return
        files = {Path(path).resolve() for path in glob.glob(other.path or "")}
        for path in glob.glob(self.path or ""):
            if Path(path).resolve() in files:
                raise UserError(
                    f"{path} is in both training and validation data ({self.path}, {other.path}). Name different "
                    "files, or the same for both to hold out the last data.valid_documents documents."
                )

    def texts(self, documents: Documents, many: int, first: int = 0) -> Iterator[list[str]]:
        """Detokenized texts of documents from this source, in batches.

        Args:
            documents: Documents from `documents`, or a contiguous part of them.
            many: Number of documents per batch.
            first: Index in the source of the first document.

        Raises:
            UserError: Reading fails (a stream detects a damaged file or a network failure only then), or the column
                contains a value that is not text.
        """
        batches, row, skipped = documents.iter(many), first, 0
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:  # each reader of `datasets` raises its own errors
                raise UserError(
                    f"{self} cannot be read to its end: {type(error).__name__}: {error}. Repair the file, or "
                    "try again if it is on the hub."
                ) from error
            if batch is None:
                break
            texts = self._column(batch, row)
            row, skipped = row + len(batch[self.field]), skipped + len(batch[self.field]) - len(texts)
            yield [self.preset.detokenize(text) for text in texts]
        if skipped:
            console.say(f"         {self}: {skipped:,} of {row - first:,} documents are null and were skipped")

    def _column(self, batch: Mapping[str, list[Any]], row: int) -> list[str]:
        """Texts of a batch of documents; the first document has the index `row` in the source."""
        if self.field not in batch:
            raise UserError(f"{self} has no column '{self.field}'; it has {', '.join(batch)}: set data.text_field.")
        for offset, text in enumerate(batch[self.field]):
            if text is None and self.skip_null:
                continue
            if not isinstance(text, str):
                skip = ", or skip such documents: data.skip_null=true" if text is None else ""
                raise UserError(
                    f"The column '{self.field}' of {self._location(row + offset)} contains {text!r}, which is not "
                    f"text: correct it{skip}."
                )
        texts = [text for text in batch[self.field] if text is not None]
        if self.path and _kind(self.path) == "text":
            return [text.removeprefix(MARK) for text in texts]  # only the first line of a file has one
        return texts

    def _location(self, row: int) -> str:
        """Location of a document for messages: its file, and its number counted from 1."""
        kind = _kind(self.path) if self.path else None
        files = self._files() if kind else []
        for path in files if kind and len(files) > 1 else []:
            count = sum(1 for _ in self._load(kind or "", [path], streaming=True))
            if row < count:
                return f"document {row + 1:,} of {path}"
            row -= count
        return f"document {row + 1:,} of {self}"

    def identity(self, limit: int | None) -> str:
        """A hash of the texts: of the files' content or the hub's own hash, and of the detokenizer.

        Args:
            limit: Number of documents; None: all.

        Raises:
            UserError: The data set is not available.
        """
        if self.path:
            kind = _kind(self.path)
            files = self._files()
            own = [content_hash(Path(path)) for path in files] + [kind or f"split {self.split}"]
            if kind:
                _report_format(self.path, len(files), kind, self.field)
            if kind == "text" and any(starts_with_mark(Path(path)) for path in files):
                own.append("without its mark")
        elif limit is None:
            own = [self.documents(None)._fingerprint]
        else:
            own = [self._commit(), self.repository, str(self.config), self.split]
        return corpus_key(
            *own, str(limit), self.field, self.preset.rules, *(["without null"] if self.skip_null else [])
        )

    def documents(self, limit: int | None) -> Documents:
        """All documents, or a stream of the first ones.

        Args:
            limit: Number of documents to stream; None: all.

        Raises:
            UserError: The data set is not available, or has no training text.
        """
        if self.setting == "train" and self.preset.train is None and not self.path:
            raise UserError(f"{self.name} has no training text. Set another data.name, or data.train_file.")
        kind = _kind(self.path) if self.path else None
        documents = self._load_files(kind, limit) if kind else self._load_named(limit)
        return documents if limit is None else documents.take(limit)

    def _files(self) -> list[str]:
        assert self.path
        check_readable(Path(self.path))
        files = matching(self.path) or ([self.path] if Path(self.path).exists() else [])
        if not files:
            raise UserError(f"There is no file {self.path} (from {Path.cwd()}).")
        return files

    def _load_files(self, kind: str, limit: int | None) -> Any:
        return self._load(kind, self._files(), streaming=limit is not None)

    def _load(self, kind: str, files: list[str], *, streaming: bool) -> Any:
        try:
            return quiet_datasets().load_dataset(
                kind, data_files={"documents": files}, split="documents", streaming=streaming
            )
        except Exception as error:  # each reader of `datasets` raises its own errors
            cause = error.__cause__ or error
            raise UserError(f"{self.path} cannot be read as {kind}: {type(cause).__name__}: {cause}") from error

    def _load_named(self, limit: int | None) -> Any:
        """Load from the hub, or from a local folder made by `save_to_disk` or with files as on the hub."""
        datasets = quiet_datasets()
        saved = self.path and next(iter(p for p in _saved(Path(self.path), self.split) if p.is_dir()), None)
        if saved:
            documents = datasets.load_from_disk(str(saved))
            return documents if limit is None else documents.to_iterable_dataset()  # pyright: ignore[reportAttributeAccessIssue]
        origin, config, revision = self.path or self.repository, self.config, None if self.path else self.revision
        if not self.path:
            announce(str(self))
        try:
            if self.path and config not in datasets.get_dataset_config_names(self.path):
                config = None  # the user's own files; only copies of repositories have configurations
            return datasets.load_dataset(
                origin, config, split=self.split, revision=revision, streaming=limit is not None
            )
        except Exception as error:  # each builder raises its own errors
            if isinstance(error, ValueError) and "split" in str(error).lower():
                raise UserError(
                    f"{self.name} has no split '{self.split}': {error} With data.valid_split the same as "
                    "data.train_split, the last data.valid_documents documents are held out."
                ) from error
            if self.path:
                raise UserError(
                    f"{self.path} cannot be read as a data set: name a file (.jsonl, .parquet, .txt, .csv), or a "
                    f"folder of such files only. ({summary(error)})"
                ) from error
            raise self._not_loaded(error) from error

    def _commit(self) -> str:
        """Commit of the revision that is streamed."""
        from huggingface_hub import HfApi

        try:
            return str(HfApi().dataset_info(self.repository, revision=self.revision).sha)
        except Exception as error:  # errors of the hub's client or of its HTTP library
            raise self._not_loaded(error) from error

    def _not_loaded(self, error: Exception) -> UserError:
        """Error for a data set that cannot be loaded: no connection, or the message of its loader."""
        config = f" {self.config}" if self.config else ""
        if not is_unreachable(error):
            settings = "data.name, data.config" if self.setting == "train" else "data.valid_name, data.valid_config"
            advice = f"Check {settings} and data.{self.setting}_split"
            if "scripts are no longer supported" in str(error) and self.setting == "train":
                advice = f"The hub keeps its files on a branch: data.revision={CONVERTED}, without data.config"
            return UserError(
                f"The data set '{self.name}' ({self.repository}{config}, split {self.split}) cannot be loaded: "
                f"{summary(error)}. {advice}; or set data.{self.setting}_file to its files."
            )
        revision = f" --revision {self.revision}" if self.revision else ""
        return UserError(
            f"The data set '{self.name}' ({self.repository}{config}, split {self.split}) does not exist "
            f"locally and could not be fetched from the Hugging Face hub. On a machine with a network: hf "
            f"download --repo-type dataset {self.repository}{revision} --local-dir FOLDER; copy its files (.parquet, "
            f".jsonl, .txt, also .gz) to this machine, and set data.{self.setting}_file to the path, or to a pattern "
            "of several."
        )


@cache
def _report_format(path: str, count: int, kind: str, field: str) -> None:
    files = "" if count == 1 else f" ({count:,} files)"
    column = "" if kind == "text" else f", texts in '{field}'"
    console.say(f"         {path}{files}: read as {KINDS[kind]}{column}")


def _kind(path: str) -> str | None:
    """Loader of a local file; None for the name of a data set or a folder."""
    return LOADERS.get(ending(Path(path).name))


def _saved(folder: Path, split: str) -> list[Path]:
    """Folders where `save_to_disk` may have stored a split."""
    if (folder / "dataset_dict.json").is_file():
        return [folder / split]
    return [folder] if (folder / "state.json").is_file() else []
