"""Load every released checkpoint that this framework supports, and compare it with what is published. Needs the hub.

    python scripts/verify_families.py                        all: about 25 GB of downloads
    python scripts/verify_families.py sedd mdlm              those whose id contains a word
    python scripts/verify_families.py sedd --text=FILE       and their likelihood bound on a text, beside published ones

Each is fetched, recognized, loaded, and run once on random states, whose log-scores must be finite. The published
perplexities belong to other data and protocols: they say whether a bound is of the right size, no more. The exit code
is 1 if a checkpoint fails or differs.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sedd_core import UserError
from sedd_core.checkpoints import Loaded, load_checkpoint, trained_length
from sedd_core.console import say, table
from sedd_core.evaluation import text_sizes
from sedd_core.evaluation.bound import Estimation, Piece, estimate
from sedd_core.record import Record
from sedd_core.stages import Batch

OWT = "OpenWebText, validation"


class Expected(NamedTuple):
    """What is known of a released checkpoint."""

    id: str
    """Id on the hub."""
    graph: str
    """Plugin of its process."""
    head: str
    """Plugin of its head."""
    states: int
    """Number of states."""
    tokenizer: str = "gpt2"
    """Tokenizer that its folder lacks; "" if the folder has one."""
    perplexity: str = ""
    """Published perplexity with its data and source; "" if none was found."""


RELEASED = (
    Expected("louaaron/sedd-small", "graph_absorb", "head_score", 50258, perplexity="LAMBADA 50.92 (paper, v3)"),
    Expected("louaaron/sedd-medium", "graph_absorb", "head_score", 50258, perplexity="LAMBADA 42.77 (paper, v3)"),
    Expected("kuleshov-group/mdlm-owt", "graph_absorb", "head_mean", 50258, perplexity=f"{OWT}: 22.95 (rerun, duo#12)"),
    Expected("kuleshov-group/mdlm-noeos-owt", "graph_absorb", "head_mean", 50258),
    Expected("kuleshov-group/mdlm-no_flashattn-fp32-owt", "graph_absorb", "head_mean", 50258),
    Expected("s-sahoo/duo", "graph_uniform", "head_mean", 50258),
    Expected("s-sahoo/duo-distilled", "graph_uniform", "head_mean", 50258, perplexity=f"{OWT}: 30.27 (duo#12)"),
    Expected("kuleshov-group/udlm-lm1b", "graph_uniform", "head_mean", 30522, "bert-base-uncased"),
    Expected("JingyangOu/radd-t-dce", "graph_absorb", "head_mean", 50258),
    Expected("JingyangOu/radd-lambda-dce", "graph_absorb", "head_mean", 50258),
    *(
        Expected(f"dvruette/gidd-{size}-p_unif-{share}", "graph_gidd", "head_mean", 50258, "")
        for size in ("small", "base")
        for share in ("0.0", "0.1", "0.2")
    ),
    *(
        Expected(f"kuleshov-group/bd3lm-owt-block_size{size}", "graph_absorb", "head_mean", 50258)
        for size in ("4", "8", "16", "1024-pretrain")
    ),
    Expected("GSAI-ML/LLaDA-8B-Base", "graph_absorb", "head_mean", 126464, ""),
    Expected("Dream-org/Dream-v0-Base-7B", "graph_absorb", "head_mean", 152064, ""),
)


def main(arguments: Sequence[str]) -> int:
    """Check the checkpoints that the command line chooses. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Load every released checkpoint that this framework supports.")
    parser.add_argument("words", nargs="*", help="parts of the ids to check; none: all")
    parser.add_argument("--text", type=Path, help="text file whose likelihood bound is estimated")
    parser.add_argument("--sequences", type=int, default=16, help="number of sequences of the text")
    options = parser.parse_args(arguments)
    chosen = [one for one in RELEASED if not options.words or any(word in one.id for word in options.words)]
    rows: list[tuple[str, ...]] = []
    found: dict[str, list[str]] = {}
    for expected in chosen:
        try:
            loaded = load_checkpoint(expected.id, tokenizer=expected.tokenizer or None)
            wrong = list(differences(expected, loaded.record, loaded))
            shown = _bound(loaded, options.text, options.sequences) if options.text else "not asked for"
        except UserError as error:
            wrong, shown = [str(error)], ""
        found |= {expected.id: wrong} if wrong else {}
        rows.append((expected.id, "not as expected" if wrong else "as expected", shown, expected.perplexity))
    table("checkpoint", "loading", "perplexity bound here", "published", rows=rows)
    for name, wrong in found.items():
        say(f"{name}: {'; '.join(wrong)}")
    say(f"{len(chosen) - len(found)} of {len(chosen)} as expected")
    return int(bool(found))


def differences(expected: Expected, record: Record, loaded: Loaded) -> Iterator[str]:
    """What differs from the expected in a loaded checkpoint, as clauses."""
    for stage in ("graph", "head"):
        found, wanted = record.node(stage).name, getattr(expected, stage)
        if found != wanted:
            yield f"its {stage} is {found}, not {wanted}"
    if loaded.graph.num_states != expected.states:
        yield f"it has {loaded.graph.num_states} states, not {expected.states}"
    x = torch.randint(loaded.graph.num_states, (1, 16), generator=torch.Generator().manual_seed(0))
    level = loaded.noise(torch.full((1,), 0.5, dtype=torch.float64))
    with torch.no_grad():
        if not loaded.model(x, level).isfinite().all():
            yield "its log-scores are not finite"


def _bound(loaded: Loaded, text: Path, sequences: int) -> str:
    """Perplexity bound of the first sequences of a text, with its standard error."""
    if loaded.codec is None:
        return "no tokenizer"
    length = trained_length(loaded.record) or 1024
    tokens = torch.tensor(loaded.codec.encode(text.read_text(encoding="utf-8")))
    count = min(sequences, len(tokens) // length)
    if count < 2:
        return f"the text has {len(tokens):,} tokens, fewer than two sequences of {length:,}"
    rows = torch.arange(count).split(1)
    pieces = (Piece(row, row, Batch(tokens[int(row) * length :][None, :length])) for row in rows)
    codec = loaded.codec

    with torch.no_grad():
        settings = Estimation(seed=0, points=32, t_min=1e-3, total=count)
        found = estimate(loaded.model, loaded.noise, pieces, lambda batch: text_sizes(codec, batch), settings)
    nats, error = found.per(found.tokens)
    return f"{math.exp(nats):.2f} (nats per token {nats:.4f} ± {error:.4f}, {count} sequences)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
