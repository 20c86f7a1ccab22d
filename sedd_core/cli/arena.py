"""`python -m sedd_core arena CHECKPOINT... --protocols=A,B`: checkpoints side by side under named protocols."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from ..console import say
from ..errors import UserError
from ..evaluation.arena import as_json, latex, markdown, read_cells
from ..evaluation.protocol import read_protocol
from ..files import write_text
from .evaluate import main as evaluate

USAGE = """usage: python -m sedd_core arena CHECKPOINT... --protocols=A,B [--folder=FOLDER] [--set=NAME] [--file=FILE]
                                 [--tokenizer=TOKENIZER] [settings of launch.py]

--folder     where evaluations and the table (arena.md, arena.tex, arena.json) are written; default arena.
             An interrupted arena continues: finished evaluations are kept.
Others as in python -m sedd_core evaluate."""


def main(arguments: list[str]) -> int:
    """Evaluate each checkpoint under each protocol, unless that was done, and write the table. Returns the exit code.

    Args:
        arguments: Words after `arena`.

    Raises:
        UserError: The command line is wrong, or the folder belongs to an arena with other settings.
    """
    checkpoints = [word for word in arguments if not word.startswith("-") and "=" not in word]
    flags = dict(word[2:].split("=", 1) for word in arguments if re.match(r"--(protocols|folder)=", word))
    rest = [word for word in arguments if word not in checkpoints and not re.match(r"--(protocols|folder)=", word)]
    protocols = [name for name in flags.get("protocols", "").split(",") if name]
    if not checkpoints or not protocols or len(set(checkpoints)) < len(checkpoints):
        raise UserError(f"arena takes different checkpoints and --protocols.\n{USAGE}")
    titles = [read_protocol(name).title for name in protocols]
    folder = Path(flags.get("folder") or "arena").expanduser()
    _check_same(folder, rest, titles)
    cells = []
    for protocol in protocols:
        for number, checkpoint in enumerate(checkpoints):
            run = folder / Path(protocol).stem / _label(checkpoint)
            if not (run / "results.json").is_file():
                say(f"arena: {checkpoint} under {protocol} ({number + 1} of {len(checkpoints)})")
                shutil.rmtree(run, ignore_errors=True)
                code = evaluate([checkpoint, f"--protocol={protocol}", *rest, f"--run_folder={run}"])
                if code:
                    return code
            cells += _cells(run, checkpoint, Path(protocol).stem)
            for name, text in (
                ("arena.md", markdown(cells)),
                ("arena.tex", latex(cells)),
                ("arena.json", as_json(cells)),
            ):
                write_text(folder / name, text)
    say(markdown(cells))
    say(f"Written to {folder}: arena.md, arena.tex, arena.json")
    return 0


def _cells(run: Path, checkpoint: str, protocol: str) -> list:
    try:
        return read_cells(run, checkpoint, protocol)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{run} does not contain a complete evaluation ({type(error).__name__}: {error}): remove that folder."
        ) from error


def _label(checkpoint: str) -> str:
    """A folder's name for a checkpoint."""
    return re.sub(r"[^\w.-]+", "_", checkpoint).strip("_.") or "checkpoint"


def _check_same(folder: Path, rest: list[str], titles: list[str]) -> None:
    """Keep the settings of an arena beside it. UserError if there are others; protocols may be added."""
    file = folder / "settings.json"
    versions = {title.rpartition(" ")[0]: title for title in titles}
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        changed = known["settings"] != rest or any(
            known["protocols"].get(name, title) != title for name, title in versions.items()
        )
    except FileNotFoundError:
        known, changed = {"protocols": {}}, False
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be read: {error}. Choose another --folder.") from error
    if changed:
        raise UserError(
            f"{folder} is an arena with other settings ({' '.join(known['settings']) or 'none'}; "
            f"{', '.join(known['protocols'].values())}): choose another --folder, or remove it."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps({"settings": rest, "protocols": known["protocols"] | versions}) + "\n")
