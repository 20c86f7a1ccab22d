"""Models of released families beside the figures of their authors' code: in double, enumerated, and as files."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from torch import Tensor

from sedd_core import plugin
from sedd_core.checkpoints.load import load_checkpoint
from sedd_core.maths import Draws
from sedd_core.stages import FactorizedSampler, NoiseLevel, Sampler
from sedd_core.stages.sampler import denoising_distribution
from tests.support.runs import ROOT

WHOLE = Path(os.environ.get("SEDD_GOLDEN_FAMILIES", ROOT.parent / "shared" / "golden_families"))
"""The whole golden data, which the repository does not hold: only the tiny networks are beside the plugins' tests."""
needs_whole = pytest.mark.skipif(not WHOLE.is_dir(), reason="the whole golden data (SEDD_GOLDEN_FAMILIES) is not here")


def arrays(file: Path) -> dict[str, Tensor]:
    """Every array of a file, as tensors."""
    with np.load(file) as stored:
        return {key: torch.tensor(stored[key]) for key in stored}


def level_at(t: Tensor, sigma: Tensor, rate: Tensor | None = None) -> NoiseLevel:
    return NoiseLevel(t, sigma, torch.ones_like(sigma) if rate is None else rate)


class Exact:
    """A model whose network computes in a dtype, from noise levels in that dtype."""

    def __init__(self, path: Path, dtype: torch.dtype = torch.float64, **arguments: Any) -> None:
        loaded = load_checkpoint(path, **arguments)
        self.backbone, self.head = loaded.model.backbone.to(dtype), loaded.model.head
        self.graph, self.noise, self.dtype = loaded.graph, loaded.noise, dtype

    @torch.no_grad()
    def logits(self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None) -> Tensor:
        return self.backbone.logits(
            self.backbone(x, level.at(x if level.sigma.ndim == 2 else x[:, 0]).to(self.dtype), cond)
        )

    def log_mean(self, x: Tensor, level: NoiseLevel, cond: Tensor | None = None) -> Tensor:
        return self.head.log_mean(self.logits(x, level, cond), x, level.at(x), self.graph)

    def __call__(self, x: Tensor, level: NoiseLevel, positions: Tensor | None = None) -> Tensor:
        log_score = self.head.log_score(self.logits(x, level), x, level.at(x), self.graph).scatter(
            -1, x[..., None], 0.0
        )
        return log_score if positions is None else log_score[positions]

    def integrand(self, x: Tensor, x0: Tensor, level: NoiseLevel) -> Tensor:
        """The score entropy [B, L], in nats per unit of time."""
        return self.entropy(self(x, level), x, x0, level)

    def entropy(self, log_score: Tensor, x: Tensor, x0: Tensor, level: NoiseLevel) -> Tensor:
        level = level.at(x)
        entropy = self.graph.score_entropy(log_score, level, x, x0) * level.rate
        return torch.where(self.graph.reachable(x, level), entropy, 0.0)

    def forward(self, states: Tensor, x0: Tensor, level: NoiseLevel) -> Tensor:
        """q(x | x0) [N0, N] of all states at one level."""
        kernel = self.graph.transition(torch.arange(self.graph.vocab_size), level)
        return torch.stack([kernel[x0[:, i]][:, states[:, i]] for i in range(x0.shape[1])]).prod(0)

    def integral(
        self, states: Tensor, x0: Tensor, nodes: Iterable[tuple[float, float]], *, of_sigma: bool = False
    ) -> Tensor:
        """Integral [N0] of the expected integrand over times (or sigmas), exactly summed over all states."""
        total = torch.zeros(len(x0), dtype=torch.float64)
        for part in batched(nodes, 16):
            points, weights = torch.tensor(part, dtype=torch.float64).T
            levels = NoiseLevel.of_sigma(points) if of_sigma else self.noise(points)
            shape = len(part), len(x0), *states.shape  # nodes, clean sequences, states, positions
            rows = levels.at(states.expand(len(part), -1, -1)).flatten()
            x = states.repeat(len(part), 1)
            log_score = self(x, NoiseLevel(*(value.view(x.shape) for value in rows)))
            log_score = log_score.view(len(part), 1, *states.shape, -1).expand(*shape, -1)
            entropy = self.entropy(log_score, states.expand(shape), x0[:, None].expand(shape), levels).sum(-1)
            probs = torch.stack([self.forward(states, x0, levels.pick(index)) for index in range(len(part))])
            total += (weights[:, None] * torch.where(probs > 0, probs * entropy, 0.0).sum(-1)).sum(0)
        return total

    def law(
        self, sampler: FactorizedSampler, states: Tensor, times: Tensor, last: Callable[[NoiseLevel], Tensor]
    ) -> Tensor:
        """Distribution [N] of a sampler's states after all steps and a last step, whose law [N, L, S] is given."""
        probs = self.graph.prior_law()[states].prod(-1)
        levels = [self.noise(t) for t in times]
        for now, then in pairwise(levels):
            args = [level.at(states[:, 0]) for level in (now, then)]
            probs = _propagate(probs, sampler.step_distribution(states, *args, self, self.graph))
        return _propagate(probs, last(levels[-1].at(states[:, 0])))

    def denoised(self, states: Tensor) -> Callable[[NoiseLevel], Tensor]:
        """The law [N, L, S] of the last denoising."""

        def law(level: NoiseLevel) -> Tensor:
            probs = torch.nn.functional.one_hot(states, self.graph.num_states).double()
            positions, clean = denoising_distribution(states, level, self, self.graph)
            probs[positions] = clean
            return probs

        return law

    def tail(self, sampler: Sampler, states: Tensor) -> Callable[[NoiseLevel], Tensor]:
        """The law [N, L, S] of a sampler's last step, where it draws nothing."""

        def law(level: NoiseLevel) -> Tensor:
            tokens = sampler.denoise(states, level, self, self.graph, Draws(0, torch.arange(len(states))))
            return torch.nn.functional.one_hot(tokens, self.graph.num_states).double()

        return law


def batched(values: Iterable[tuple[float, float]], count: int) -> Iterator[list[tuple[float, float]]]:
    """Parts of at most `count` values."""
    rest = iter(values)
    while part := list(islice(rest, count)):
        yield part


def _propagate(probs: Tensor, step: Tensor) -> Tensor:
    kernel = step[:, 0]
    for i in range(1, step.shape[1]):
        kernel = (kernel[:, :, None] * step[:, i, None, :]).flatten(1)
    return probs @ kernel


def race(weights: Tensor, uniform: Tensor) -> Tensor:
    """The draw of the authors' code: the first of exponential clocks with these rates."""
    return (weights / (1e-10 - (uniform + 1e-10).log())).argmax(-1)


def nodes(count: int, low: float, high: float, kind: str = "linear") -> list[tuple[float, float]]:
    """Gauss-Legendre nodes and weights for an integral over [low, high], in t, log t or logit t."""
    to = {"linear": lambda t: t, "log": np.log, "logit": lambda t: np.log(t) - np.log1p(-t)}[kind]
    back = {"linear": lambda v: v, "log": np.exp, "logit": lambda v: 1 / (1 + np.exp(-v))}[kind]
    slope = {"linear": np.ones_like, "log": lambda t: t, "logit": lambda t: t * (1 - t)}[kind]
    points, weights = np.polynomial.legendre.leggauss(count)
    a, b = to(low), to(high)
    t = back((a + b) / 2 + (b - a) / 2 * points)
    return list(zip(t.tolist(), ((b - a) / 2 * weights * slope(t)).tolist(), strict=True))


def in_module_order(folder: Path, prefix: str = "backbone.") -> dict[str, Tensor]:
    """The weights of a folder in the order of the network's modules, with their prefix."""
    stored = load_file(folder / "model.safetensors")
    own = {name.removeprefix(prefix): value for name, value in stored.items()}
    order = plugin("model_ddit")(**plugin("model_ddit").sizes_of(own)).state_dict()  # pyright: ignore
    return {prefix + name: own[name] for name in order}


def save_lightning(file: Path, weights: dict[str, Tensor], averages: list[Tensor], config: Any, **more: Any) -> Path:
    """Write a file as PyTorch Lightning does, whose config is an object of omegaconf; omegaconf is not needed."""
    names = {"dictconfig": ["DictConfig"], "nodes": ["AnyNode"], "base": ["ContainerMetadata"]}
    modules = {f"omegaconf.{module}": ModuleType(f"omegaconf.{module}") for module in names}
    modules["omegaconf"] = ModuleType("omegaconf")
    for module, classes in names.items():
        for name in classes:
            setattr(modules[f"omegaconf.{module}"], name, type(name, (), {"__module__": f"omegaconf.{module}"}))

    def node(value: Any, parent: Any = None) -> Any:
        is_dict = isinstance(value, dict)
        made = modules["omegaconf.dictconfig"].DictConfig() if is_dict else modules["omegaconf.nodes"].AnyNode()
        metadata = modules["omegaconf.base"].ContainerMetadata()
        vars(metadata).update(ref_type=Any, object_type=dict)
        content = {key: node(inner, made) for key, inner in value.items()} if is_dict else value
        vars(made).update({"_metadata": metadata, "_parent": parent, "_content" if is_dict else "_val": content})
        return made

    previous = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        content = {
            "epoch": 1,
            "pytorch-lightning_version": "2.2.1",
            "state_dict": weights,
            "hyper_parameters": {"config": node(config)},
            "ema": {"decay": 0.9999, "num_updates": 3, "shadow_params": averages},
        }
        torch.save(content | more, file)
    finally:
        for name, module in previous.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})
    return file


def stand_in_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, files: Iterable[str], source: Path
) -> None:
    """The cache of the hub's client, offline: a repository with these files, those of the source where it has them."""
    snapshot = tmp_path / "hub" / f"models--{name.replace('/', '--')}" / "snapshots" / ("0123456789" * 4)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(snapshot.name)
    for file in files:
        if (source / file).is_file():
            shutil.copy(source / file, snapshot / file)
        else:
            (snapshot / file).write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
