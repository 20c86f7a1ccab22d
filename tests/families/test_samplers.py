"""Every installed sampler on every family, from the command line: it samples, or is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sedd_core import load_model, plugin
from sedd_core.cli.main import main
from sedd_core.registry.installed import variants
from tests.support.golden_figures import GOLDEN
from tests.support.runs import ROOT

FAMILIES = {
    "sedd absorb": GOLDEN / "models" / "absorb_scaled",
    "sedd uniform": GOLDEN / "models" / "uniform",
    **{
        name: ROOT / "plugins" / f"format_{name}" / "tests" / "golden" / "tiny"
        for name in ("mdlm", "duo", "radd", "gidd")
    },
}


@pytest.mark.parametrize("sampler", variants("sampler"))
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sampler_on_a_family(
    family: str, sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, graph, _ = load_model(FAMILIES[family])
    reason = plugin(f"sampler_{sampler}")().incompatibility(graph)
    if sampler == "guided":  # these networks have no conditions
        reason = "Guidance needs a condition of the samples: set cond"
    experiment = f"--fdl_config={ROOT / 'experiments' / 'sample.py'}"
    settings = [
        f"--checkpoint={FAMILIES[family]}",
        f"sampler={sampler}",
        "steps=2",
        "count=2",
        "length=4",
        "format=ids",
    ]
    code = main(["launch.py", experiment, *settings, "--run_folder=run"])
    if reason is not None:
        assert code == 1
        assert reason in capsys.readouterr().err
        return
    assert code == 0
    (file,) = Path("run").glob("**/*.npy")
    tokens = np.load(file)
    assert tokens.shape == (2, 4)
    assert ((tokens >= 0) & (tokens < graph.vocab_size)).all()
