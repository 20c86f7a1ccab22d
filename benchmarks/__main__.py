"""`python -m benchmarks [--device cuda] [--quick] [names]`: measure, print a table, write a results file."""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import torch

from sedd_core import UserError, console
from sedd_core.errors import nearest

from . import cases, report
from .pairs import precisions
from .timing import Measurement

RESULTS = Path(__file__).parent / "results"


def case_names() -> list[str]:
    """Names of all cases: those of the files in `cases/`."""
    return sorted(module.name for module in iter_modules(cases.__path__))


def main(arguments: list[str]) -> int:
    """Run the command. Returns its exit code.

    Args:
        arguments: Arguments of the command line.
    """
    parsed = _parser().parse_args(arguments)
    try:
        _run(parsed.names, parsed.mode, parsed.device, parsed.results)
    except UserError as error:
        console.complain(f"error: {error}")
        return 1
    return 0


def _run(names: list[str], mode: str | None, device: str, results: Path) -> None:
    known = case_names()
    for name in names:
        if name not in known:
            raise UserError(f"There is no case {name}.{nearest(name, known)} The cases are: {', '.join(known)}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("torch finds no CUDA device here. Measure on the CPU by leaving out --device.")
    mode = mode or ("cuda" if device == "cuda" else "full")
    if "bf16" not in precisions(torch.device(device)):
        console.say("bf16 is measured in the case accuracy alone: this processor does not multiply in it (no AVX-512).")
    measured: dict[str, list[Measurement]] = {}
    for name in names or known:
        started = time.perf_counter()
        case = import_module(f"{cases.__name__}.{name}")
        measured[name] = case.measure(case.SIZES[mode], torch.device(device))
        console.say(f"{name}: {time.perf_counter() - started:.0f} s")
    report.print_table(measured)
    console.say(f"Written: {report.write(measured, mode, torch.device(device), results)}")


def _parser() -> argparse.ArgumentParser:
    lines = [f"  {name:12} {_first_line(name)}" for name in case_names()]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this framework against a naive implementation of SEDD.\n\ncases:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="cases to measure; none: all")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device; cuda has larger sizes")
    sizes = parser.add_mutually_exclusive_group()
    for mode, text in (("quick", "smaller sizes and fewer rounds"), ("tiny", "sizes for tests: no figures to quote")):
        sizes.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, help=text)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results file")
    return parser


def _first_line(name: str) -> str:
    return (import_module(f"{cases.__name__}.{name}").__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
