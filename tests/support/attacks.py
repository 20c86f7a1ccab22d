"""Records that name what no record may name."""

from __future__ import annotations

ATTACKS = [
    {"core": "os.system", "args": {}},
    {"core": "__builtins__", "args": {}},
    {"core": "Path", "args": {}},
    {"core": "sedd_core.record.os.system", "args": {"command": "touch owned"}},
    {"plugin": "os.system", "args": {}},
    {"plugin": "graph_absorb.__init__.__globals__", "args": {}},
    {"plugin": "../graph_absorb", "args": {}},
    {"plugin": "noise_geometric", "args": {"__class__": "x"}},
    {"plugin": "noise_geometric", "args": {"sigma_max": {"core": "eval", "args": {}}}},
    {"plugin": "noise_geometric", "args": {"sigma_max": [1.0]}},
    {"plugin": "noise_geometric", "core": "Samples", "args": {}},
    {"plugin": "noise_geometric"},
    {"plugin": "noise_geometric", "args": [1]},
    {"plugin": 5, "args": {}},
    {"plugin": ["noise_geometric"], "args": {}},
    {"core": {}, "args": {}},
    {"tuple": "abc"},
    {"tuple": 5},
    {"plugin": "noise_geometric", "args": {"sigma_max": float("nan")}},
    float("inf"),
    {"__fiddle__": "os.system"},
    ["noise_geometric"],
]
