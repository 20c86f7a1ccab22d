"""State dicts in shards with an index, as on the hub."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def write_shards(folder: Path, state: dict[str, Tensor], count: int) -> None:
    """Write safetensors in `count` shards with their index."""
    owners = dict[str, str]()
    for shard in range(count):
        file = f"model-{shard + 1:05}-of-{count:05}.safetensors"
        part = dict(list(state.items())[shard::count])
        owners |= dict.fromkeys(part, file)
        save_file(part, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": owners}))
