"""Fuzz all loaders with mutated checkpoint, tokenizer and record files.

    python scripts/fuzz_files.py --seed=0 --count=2000 [--jobs=1] [--keep=FOLDER]

A seed and a case number determine the case. Each case is loaded in a worker process, limited to 10 s of CPU time
(60 s of wall-clock time) and 8 GiB. The expected outcome is a result, or one message and exit code 1; a traceback, a
hang, a crash or a second message is a fault. Prints each fault, then the counts; the exit code is 1 if there was a
fault. About 0.3 s per case.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "models"
SECONDS, PATIENCE, MEMORY = 10, 60, 8 * 2**30
KINDS = {
    "own": (["load", "load", "sample"], 5),
    "resumed": (["resume"], 2),
    "record": (["dry_run"], 3),
    "published": (["load", "sample"], 3),
    "hub": (["load", "load", "sample"], 4),
    "original": (["load"], 4),
    "tokenizer": (["tokenize", "tokenize", "sample"], 4),
}
"""Actions on each kind of folder, and the weight with which the kind is drawn."""
TINY = (
    *(f"--fdl_config={ROOT / 'experiments' / 'quickstart.py'}", "data.paths=text.txt", "data.tokenizer=char"),
    *("data.length=16", "model.hidden_size=16", "model.n_heads=2", "model.n_blocks=1", "training.batch_size=4"),
    *("training.steps=2", "training.eval_every=0", "evaluator.sequences=4", "evaluator.points=1"),
    *("evaluator.references=false", "samples.steps=2", "samples.count=1", "monitor=None"),
)


def main() -> int:
    """Run the cases. Returns the exit code: 1 if there was a fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="Number of the first case; with --count=1, the only one.")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(Path(options.worker), options.seed)
    with tempfile.TemporaryDirectory() as folder:
        counts, faults = run(Path(folder), options.seed, options.first, options.count, options.jobs)
    print(
        f"seed {options.seed}, {options.count} cases: " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))
    )
    return 1 if faults else 0


def run(folder: Path, seed: int, first: int, count: int, jobs: int = 1) -> tuple[collections.Counter[str], list[str]]:
    """Run cases first .. first + count - 1. Returns the count of each outcome, and a description of each fault."""
    numbers, counts, faults = iter(range(first, first + count)), collections.Counter[str](), list[str]()
    workers = [Worker(folder / str(index), seed) for index in range(min(jobs, count))]
    for worker in workers:
        worker.give(next(numbers, None))
    while busy := [worker for worker in workers if worker.case is not None]:
        for worker in busy:
            outcome = worker.outcome()
            counts[outcome["what"]] += 1
            if outcome["what"] not in ("a result", "one message"):
                faults.append(f"case {worker.case}: {outcome['what']}: {outcome['how']}\n{outcome['said']}")
                print(faults[-1], flush=True)
            worker.give(next(numbers, None))
    for worker in workers:
        worker.end()
    return counts, faults


class Worker:
    """Process that runs one case at a time, and is restarted when a case ends it.

    Args:
        folder: Folder of the worker's files.
        seed: Random seed of the cases.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.case: int | None = None
        self.start()

    def start(self) -> None:
        """Start the process, and wait until it has created its original files."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        command = [sys.executable, __file__, f"--worker={self.folder}", f"--seed={self.seed}"]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "SEDD_CACHE": str(self.folder / "cache"),
            "RUST_BACKTRACE": "0",
            "PYTHONPATH": str(ROOT),
        }
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the worker does not start")

    def give(self, case: int | None) -> None:
        """Assign a case; None if no case is left."""
        self.case = case
        if case is not None:
            assert self.process.stdin is not None
            self.process.stdin.write(f"{case}\n")
            self.process.stdin.flush()

    def outcome(self) -> dict[str, str]:
        """Wait for the outcome of the case; a process that crashed or hangs is replaced."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        self.process.kill()
        code = self.process.wait()
        hung = not ready or code == -signal.SIGPROF
        how = (self.folder / "how").read_text() if (self.folder / "how").exists() else ""
        said = (self.folder / "said").read_text(errors="replace")[-1500:]
        self.start()
        return {"what": "a hang" if hung else f"a crash ({code})", "how": how, "said": said}

    def end(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


# In the worker.


def work(folder: Path, seed: int) -> int:
    """Create the original files, then read case numbers from standard input and answer each with one JSON line."""
    import fuzz_mutations

    answers = os.fdopen(os.dup(1), "w")
    os.chdir(folder)
    make_originals(folder / "originals")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        draw = random.Random(f"{seed} {int(line)}")
        kind = draw.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
        action = draw.choice(KINDS[kind][0])
        shutil.rmtree("case", ignore_errors=True)
        shutil.copytree(folder / "originals" / kind, "case", symlinks=True)
        file = draw.choice(targets(kind))
        how = f"{kind}, {action}, {file}: " + " and ".join(
            fuzz_mutations.mutate(Path("case", file), draw) for _ in range(draw.choice([1, 1, 2]))
        )
        sign(kind, draw.random() < 0.9)
        Path("how").write_text(how)
        print(json.dumps({"how": how, **outcome(ACTIONS[action])}), file=answers, flush=True)
    return 0


def outcome(action: Callable[[], int]) -> dict[str, str]:
    """Run an action. Returns its outcome, `what`, and its output on both streams, `said`."""
    from sedd_core import UserError

    with open("said", "w+", errors="replace") as said, _streams(said):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            what = {0: "a result", 1: "one message"}.get(code := action(), f"exit code {code}")
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            what = "one message"
        except BaseException:
            traceback.print_exc()
            what = "a traceback"
        signal.setitimer(signal.ITIMER_PROF, 0)
    text = Path("said").read_text(errors="replace")
    errors = sum(line.startswith("error: ") for line in text.splitlines())
    if "Traceback (most" in text:
        what = "a traceback"
    elif what == "one message" and errors != 1:
        what = f"{errors} messages"
    elif "panicked at" in text:
        what += ", after a panic message"
    return {"what": what, "said": text[-1500:]}


@contextlib.contextmanager
def _streams(said: Any) -> Any:
    """Within: standard output and error are redirected to a file, including those of native libraries."""
    kept = os.dup(1), os.dup(2)
    for number in (1, 2):
        os.dup2(said.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def make_originals(folder: Path) -> None:
    """Create one valid folder of each kind."""
    import torch
    from safetensors.torch import load_file

    from sedd_core.cli.main import main as launch
    from sedd_core.text.builtin import character_codec

    Path("text.txt").write_text("the cat sat on the mat, and the dog ate the hat.\n" * 20)
    with open("said", "w") as said, _streams(said):
        code = launch(["launch.py", *TINY, f"--run_folder={folder / 'own'}"])
    if code:
        raise RuntimeError(Path("said").read_text())
    for kind in ("resumed", "record"):
        shutil.copytree(folder / "own", folder / kind, symlinks=True)
    shutil.copytree(GOLDEN / "uniform", folder / "published")
    for kind in ("hub", "original", "tokenizer"):
        (folder / kind).mkdir()
    weights = load_file(GOLDEN / "absorb_unscaled" / "model.safetensors")
    config = json.loads((GOLDEN / "absorb_unscaled" / "config.json").read_text())
    (folder / "hub" / "config.json").write_text(json.dumps(config))
    torch.save(collections.OrderedDict(weights), folder / "hub" / "pytorch_model.bin")
    for part in (".hydra", "checkpoints-meta"):
        (folder / "original" / part).mkdir()
    (folder / "original" / ".hydra" / "config.yaml").write_text(_yaml_of(config))
    averages = [value for name, value in weights.items() if "inv_freq" not in name]
    state = {"model": collections.OrderedDict(weights), "ema": {"shadow_params": averages}, "step": 3}
    torch.save(state, folder / "original" / "checkpoints-meta" / "checkpoint.pth")
    character_codec("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW").save(folder / "hub" / "tokenizer.json")
    make_tokenizers(folder / "tokenizer")


def _yaml_of(config: Any) -> str:
    import yaml

    return yaml.safe_dump(config)


def make_tokenizers(folder: Path) -> None:
    """Create small tokenizers of each model type, with the components of common tokenizers."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    from sedd_core.text.builtin import bpe_codec

    text = Path("text.txt").read_text() * 3
    bpe_codec(text, 270).save(folder / "bpe.json")
    pieces = [("<unk>", 0.0), *((letter, -2.0 - i / 10) for i, letter in enumerate("▁abcdefghijklmnopqrstuvwxyz.,"))]
    unigram = Tokenizer(models.Unigram([*pieces, ("▁the", -1.0)], 0, False))
    unigram.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    unigram.enable_truncation(8)
    unigram.save(str(folder / "unigram.json"))
    words = {piece: index for index, piece in enumerate(["[UNK]", "[CLS]", "[SEP]", "the", "cat", "##s", "##at", "."])}
    wordpiece = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    wordpiece.normalizer, wordpiece.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    wordpiece.decoder = decoders.WordPiece()
    wordpiece.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    wordpiece.add_special_tokens(["[CLS]", "[SEP]"])
    wordpiece.save(str(folder / "wordpiece.json"))
    (folder / "gpt2").mkdir()
    model = json.loads((folder / "bpe.json").read_text())["model"]
    (folder / "gpt2" / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "gpt2" / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    (folder / "bert").mkdir()
    (folder / "bert" / "vocab.txt").write_text("\n".join(words))
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "sep_token": {"content": "[SEP]"}}
    (folder / "bert" / "tokenizer_config.json").write_text(json.dumps(config))


STEP = "checkpoints/step_000000002"


def targets(kind: str) -> list[str]:
    """The files to mutate in a kind of folder; repeated ones are drawn more frequently."""
    checkpoint = ("model.safetensors", "ema.safetensors", "tokenizer.json", "config.json")
    return {
        "own": [f"{STEP}/{name}" for name in (*checkpoint, "sha256")],
        "resumed": [f"{STEP}/{name}" for name in (*checkpoint, "trainer.pt", "trainer.pt", "trainer.pt")],
        "record": ["config.json"],
        "published": ["config.json", "model.safetensors"],
        "hub": ["config.json", "pytorch_model.bin", "pytorch_model.bin", "tokenizer.json"],
        "original": [".hydra/config.yaml", "checkpoints-meta/checkpoint.pth"],
        "tokenizer": [
            *("bpe.json", "unigram.json", "wordpiece.json", "gpt2/vocab.json", "gpt2/merges.txt"),
            *("bert/vocab.txt", "bert/tokenizer_config.json"),
        ],
    }[kind]


def sign(kind: str, again: bool) -> None:
    """Recompute the checksums of a damaged checkpoint, so that its files are read beyond the checksum test."""
    from sedd_core.files import digest

    if kind in ("own", "resumed") and again:
        files = sorted(path for path in Path("case", STEP).iterdir() if path.name != "sha256")
        Path("case", STEP, "sha256").write_text("".join(f"{digest(path)}  {path.name}\n" for path in files))


def _launch(*arguments: str) -> int:
    from sedd_core.cli.main import main as launch

    return launch(["launch.py", *arguments])


def load() -> int:
    """Load the model, score a few tokens, and encode and decode a str."""
    import torch

    from sedd_core.checkpoints.length import trained_length
    from sedd_core.checkpoints.load import load_checkpoint as load_from
    from sedd_core.stages import NoiseLevel

    loaded = load_from("case")
    trained_length(loaded.record)
    with torch.no_grad():
        loaded.model(torch.zeros(1, 4, dtype=torch.int64), NoiseLevel.of_sigma(torch.ones(1)))
    if loaded.codec is not None:
        loaded.codec.decode(loaded.codec.encode("the cat"))
    return 0


def tokenize() -> int:
    """Read every tokenizer of the folder, encode and decode a str, and decode every token."""
    from sedd_core.text.tokenizer import read_ended_tokenizer, read_tokenizer

    read_ended_tokenizer(Path("case", "bert"), "the")
    for name in ("bpe.json", "unigram.json", "wordpiece.json", "gpt2", "bert"):
        codec = read_tokenizer(Path("case", name))
        codec.decode(codec.encode("the cat sat.  And the\tdog" * 20))
        codec.characters(range(codec.vocab_size))
        codec.bytes(range(codec.vocab_size))
        codec.unknown("the zebra")
    return 0


def sample() -> int:
    """Sample with two steps from the command line; a tokenizer is used with a model that it does not fit."""
    shutil.rmtree("out", ignore_errors=True)
    common = f"--fdl_config={ROOT / 'experiments' / 'sample.py'}", "steps=2", "count=1", "--run_folder=out"
    if Path("case/bpe.json").exists():
        return _launch(*common, f"--checkpoint={GOLDEN / 'uniform'}", "tokenizer=case/bpe.json")
    text = "--prefix=the" if any(Path("case").rglob("tokenizer.json")) else "format=ids"
    return _launch(*common, "--checkpoint=case", text)


def dry_run() -> int:
    """Start a record with --dry_run."""
    return _launch("--fdl_config=case/config.json", "--dry_run")


def resume() -> int:
    """Resume a run for one more step."""
    return _launch("--resume", "--run_folder=case", "training.steps=3")


ACTIONS = {action.__name__: action for action in (load, tokenize, sample, dry_run, resume)}


if __name__ == "__main__":
    sys.exit(main())
