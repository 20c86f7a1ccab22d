"""The devices of tests that check a GPU: they run on the CPU too, as far as it goes, at the same tiny sizes."""

from __future__ import annotations

import pytest
import torch

GPU = (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"))
DEVICES = ("cpu", pytest.param("cuda", marks=GPU))
