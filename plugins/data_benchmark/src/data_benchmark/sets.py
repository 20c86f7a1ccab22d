"""Evaluation sets by name: where they are, and how their rows read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sedd_core import UserError, console
from sedd_core.files import expanded
from sedd_core.text import ending, read_text

from .detokenize import lambada, lm1b, papers, ptb, unchanged, wikitext

CONVERTED = "refs/convert/parquet"
"""Branch with the Parquet files that the hub makes of a repository with a loading script."""
TEXT8, TEXT8_TEST = 100_000_000, 5_000_000
"""Characters of text8, and of its test part, which is the last."""


@dataclass(frozen=True)
class Benchmark:
    """A data set with the usual way to read it."""

    repository: str
    """Hub id of the data set."""
    config: str | None = None
    """Configuration of the data set."""
    revision: str | None = None
    """Revision of the repository."""
    split: str = "test"
    """Usual split of evaluations."""
    field: str = "text"
    """Column that contains the text."""
    detokenize: Callable[[str], str] = unchanged
    """Published detokenizer."""
    row: Callable[[str], str] = str.strip
    """Row of the hub's data set, from a line of a plain-text file."""
    last: int = 0
    """Number of rows taken from the end of the split; 0: all."""


def _with_line_feed(line: str) -> str:
    """The hub keeps a line feed after every line that is not blank."""
    return f"{line}\n" if line.strip() else ""


BENCHMARKS = {
    "lambada": Benchmark("EleutherAI/lambada_openai", "default", detokenize=lambada),
    "wikitext2": Benchmark("Salesforce/wikitext", "wikitext-2-raw-v1", detokenize=wikitext, row=_with_line_feed),
    "wikitext103": Benchmark("Salesforce/wikitext", "wikitext-103-raw-v1", detokenize=wikitext, row=_with_line_feed),
    "ptb": Benchmark("ptb-text-only/ptb_text_only", revision=CONVERTED, field="sentence", detokenize=ptb),
    "lm1b": Benchmark("dvruette/lm1b", detokenize=lm1b),
    "ag_news": Benchmark("fancyzhx/ag_news"),
    "pubmed": Benchmark("armanc/scientific_papers", "pubmed", CONVERTED, field="article", detokenize=papers),
    "arxiv": Benchmark("armanc/scientific_papers", "arxiv", CONVERTED, field="article", detokenize=papers),
    "text8": Benchmark("afmck/text8"),
    "openwebtext": Benchmark("Skylion007/openwebtext", split="train", last=100_000),
}
"""Evaluation sets by name."""


def rows_of(name: str, split: str | None, file: str | None) -> Iterator[str]:
    """The texts of a set, as they are in its rows.

    Args:
        name: Name of the set.
        split: Split of the hub's data set; None: the usual one.
        file: Local file in place of the hub: plain text (a row per line), .jsonl, .parquet or .csv; also compressed.

    Raises:
        UserError: The file or the data set cannot be read.
    """
    benchmark = BENCHMARKS[name]
    if file is None:
        return _column(_of_the_hub(name, benchmark, split or benchmark.split), benchmark, name)
    path = expanded(file)
    if not path.is_file():
        raise UserError(f"There is no file {file} (from {Path.cwd()}): set data.file to the {name} set, or omit it.")
    kind = {"jsonl": "json", "json": "json", "parquet": "parquet", "csv": "csv"}.get(ending(path.name))
    if kind is None:
        text = read_text(path, f"the text of {name}")
        if name == "text8":
            text = text.rstrip("\r\n")
            return iter([text[-TEXT8_TEST:] if len(text) == TEXT8 else text])
        return map(benchmark.row, text.removesuffix("\n").split("\n"))
    try:
        import datasets

        loaded = datasets.load_dataset(kind, data_files={"rows": [str(path)]}, split="rows")
    except ImportError as error:
        raise _needs_datasets(file) from error
    except Exception as error:  # each reader of `datasets` raises its own errors
        raise UserError(f"{file} cannot be read as {kind}: {str(error).partition(chr(10))[0]}") from error
    return _column(loaded, benchmark, file)


def _column(rows: Any, benchmark: Benchmark, where: str) -> Iterator[str]:
    field = benchmark.field if benchmark.field in rows.column_names else "text"
    if field not in rows.column_names:
        names = ", ".join(rows.column_names)
        raise UserError(f"{where} has no column '{benchmark.field}' (present: {names}).")
    first = max(0, rows.num_rows - benchmark.last) if benchmark.last else 0
    return (row[field] for row in islice(rows, first, None))


def _of_the_hub(name: str, benchmark: Benchmark, split: str) -> Any:
    console.say(f"         looking for {name} ({benchmark.repository}) on the Hugging Face hub, or in its local cache")
    try:
        import datasets

        config = benchmark.config
        return datasets.load_dataset(benchmark.repository, config, split=split, revision=benchmark.revision)
    except ImportError as error:
        raise _needs_datasets(benchmark.repository) from error
    except Exception as error:  # each builder and client raises its own errors
        raise UserError(
            f"{name} ({benchmark.repository}, split {split}) could not be loaded from the Hugging Face hub: "
            f"{str(error).partition(chr(10))[0]}. Without a network, set data.file to a file of this split (.jsonl, "
            ".parquet, .csv, or plain text with a row per line)."
        ) from error


def _needs_datasets(what: str) -> UserError:
    return UserError(f"Reading {what} needs a package: pip install 'sedd-data-benchmark[hub]'.")
