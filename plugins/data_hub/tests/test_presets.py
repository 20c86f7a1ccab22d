"""Each preset against its repository's layout on the hub: small local copies, read by the same call of `datasets`.

Layouts as of 2026: what the README of a repository configures, and the names of its files. The branch that the hub
converts has neither README nor configurations of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from sedd_core import UserError

CONVERTED = "refs/convert/parquet"
LAMBADA = ["de", "en", "es", "fr", "it"]
WIKITEXT = ["wikitext-103-raw-v1", "wikitext-103-v1", "wikitext-2-raw-v1", "wikitext-2-v1"]


class Layout(NamedTuple):
    """configs: the folder of each configuration in README.md; {}: none. splits, column: of each. names: of files."""

    configs: dict[str, str]
    splits: list[str]
    column: str = "text"
    names: str = "{folder}/{split}-00000-of-00001.parquet"


LAYOUTS = {
    ("Skylion007/openwebtext", None): Layout({"plain_text": "plain_text"}, ["train"]),
    ("dvruette/lm1b", None): Layout({"default": "data"}, ["train", "test"]),
    ("Salesforce/wikitext", None): Layout({name: name for name in WIKITEXT}, ["test", "train", "validation"]),
    ("EleutherAI/lambada_openai", None): Layout({"default": "data", **{name: name for name in LAMBADA}}, ["test"]),
    ("ptb-text-only/ptb_text_only", CONVERTED): Layout(
        {}, ["test", "train", "validation"], "sentence", "penn_treebank/{split}/0000.parquet"
    ),
}
EXPECTED = {
    "openwebtext": ("plain_text train", "plain_text train"),
    "lm1b": ("data train", "data test"),
    "wikitext2": ("wikitext-2-raw-v1 train", "wikitext-2-raw-v1 validation"),
    "wikitext103": ("wikitext-103-raw-v1 train", "wikitext-103-raw-v1 validation"),
    "ptb": ("penn_treebank train", "penn_treebank validation"),
    "lambada": (None, "data test"),
}
"""What the documents of the training and of the validation split begin with: the folder and the split they lie in."""


def write(folder: Path, layout: Layout) -> None:
    """Files of two documents each, which say where they lie."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for place in layout.configs.values() or ["penn_treebank"]:
        for split in layout.splits:
            file = folder / layout.names.format(folder=place, split=split)
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({layout.column: [f"{place} {split} {i}" for i in range(2)]}), file)
    if layout.configs:
        configs = [
            {
                "config_name": name,
                "data_files": [{"split": split, "path": f"{place}/{split}-*"} for split in layout.splits],
            }
            for name, place in layout.configs.items()
        ]
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n# A card\n")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repositories as folders; on every other branch of theirs stands a script."""
    import datasets
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    load_dataset = datasets.load_dataset

    def load(path: str, name: str | None, *, split: str, revision: str | None, streaming: bool) -> Any:
        if Path(path).is_dir():
            return load_dataset(path, name, split=split, streaming=streaming)
        if (path, revision) not in LAYOUTS:
            raise RuntimeError(f"Dataset scripts are no longer supported, but found {Path(path).name}.py")
        return load_dataset(str(tmp_path / path), name, split=split, streaming=streaming)

    for (repository, _), layout in LAYOUTS.items():
        write(tmp_path / repository, layout)
    monkeypatch.setattr(datasets, "load_dataset", load)
    return tmp_path


def source(setting: Any, name: str, **given: Any) -> Any:
    from data_hub.sources import Source

    arguments = dict.fromkeys(("config", "revision", "split", "file", "field"))
    return Source.of(setting, name, **{**arguments, **given})


def begins(source: Any, limit: int | None) -> list[str]:
    (texts,) = source.texts(source.documents(limit), 10)
    return texts


@pytest.mark.parametrize("limit", [None, 2], ids=["whole", "stream"])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_preset_reads_its_repository(hub: Path, name: str, limit: int | None) -> None:
    """The configuration, the splits and the column; the text is short enough to stay as it is."""
    for setting, place in zip(("train", "valid"), EXPECTED[name], strict=True):
        if place is not None:
            assert begins(source(setting, name), limit) == [f"{place} 0", f"{place} 1"]


def test_every_preset_is_read() -> None:
    from data_hub.presets import PRESETS

    assert set(EXPECTED) == set(PRESETS)


@pytest.mark.parametrize("name", [name for name in EXPECTED if name != "lambada"])
def test_a_copy_of_a_repository_is_read_as_the_hub_is(hub: Path, name: str) -> None:
    """What `hf download --local-dir` leaves, as the message without a network proposes."""
    folder = hub / source("train", name).repository
    for setting, place in zip(("train", "valid"), EXPECTED[name], strict=True):
        assert begins(source(setting, name, file=str(folder)), None) == [f"{place} 0", f"{place} 1"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "ptb", "config": "penn_treebank"}, ["BuilderConfig 'penn_treebank' not found", "['default']"]),
        ({"name": "ptb-text-only/ptb_text_only"}, ["found ptb_text_only.py", f"data.revision={CONVERTED}"]),
        ({"name": "wikitext2", "config": "raw"}, ["BuilderConfig 'raw' not found", "Check data.name, data.config"]),
    ],
)
def test_the_loaders_own_reason_is_said(hub: Path, given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        source("train", **given).documents(None)
    assert [word for word in words if word not in str(caught.value)] == []
    assert "does not exist locally" not in str(caught.value)


def test_only_a_connection_that_fails_is_called_unreachable() -> None:
    from data_hub.hub import is_unreachable

    class TransportError(Exception):
        """As httpx has it."""

    caused = ValueError("no file")
    caused.__cause__ = TimeoutError("no answer")
    assert all(is_unreachable(error) for error in (ConnectionResetError(), TimeoutError(), TransportError(), caused))
    assert not any(is_unreachable(error) for error in (ValueError("BuilderConfig"), FileNotFoundError(), OSError()))
