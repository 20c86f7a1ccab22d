"""Names of the files in a checkpoint folder, and their checksums."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ..files import check_readable, digest

MODEL, AVERAGE, CODEC, CONFIG = "model.safetensors", "ema.safetensors", "tokenizer.json", "config.json"
STATE, MOMENTS, SUMS = "trainer.pt", "moments", "sha256"


def write_sums(folder: Path) -> None:
    """Write the checksums of all files of a checkpoint folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = "".join(f"{digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    (folder / SUMS).write_text(sums)


def find_damage(folder: Path) -> str | None:
    """Verify the checksums of a checkpoint folder.

    Every required file, and trainer.pt if it exists, must have a matching line in the checksum file.

    Args:
        folder: Checkpoint folder.

    Returns:
        Description of the first problem, a sentence; None if the checkpoint is intact.

    Raises:
        UserError: A file is not readable by the user.
    """
    for name in (".", SUMS):
        check_readable(folder / name)
    if not (folder / SUMS).is_file():
        return f"{folder} has no {SUMS} file: the checkpoint is incomplete."
    lines = (folder / SUMS).read_text(errors="replace").splitlines()
    sums = {_inside(name): value for value, _, name in (line.partition("  ") for line in lines)}
    required = {MODEL, AVERAGE, CODEC, CONFIG, *([STATE] if (folder / STATE).exists() else [])}
    for name in sorted(required | set(sums)):
        if name not in sums:
            return f"{folder / SUMS} is damaged: it has no checksum of {name}."
        check_readable(folder / name)
        if not (folder / name).is_file() or digest(folder / name) != sums[name]:
            return f"{folder / name} is damaged or missing: its checksum differs."
    return None


def _inside(name: str) -> str:
    """A path of the checksum file as one inside of its folder: a file of the folder, or of its moments/."""
    *_, folder, last = "", "", *PurePosixPath(name).parts
    return f"{MOMENTS}/{last}" if folder == MOMENTS else last
