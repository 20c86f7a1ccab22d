"""Low-rank adapters by peft, which is imported only where they are used."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from sedd_core import UserError


def add_adapters(trunk: PreTrainedModel, head: nn.Module | None, rank: int, alpha: int) -> None:
    """Add adapters to all linear maps of a trunk, and freeze everything else.

    Args:
        trunk: Network to adapt.
        head: Further module to freeze; None: none.
        rank: Rank of the adapters.
        alpha: Scale of the adapters: their product is multiplied by alpha / rank.

    Raises:
        UserError: peft is not installed.

    Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (arXiv 2106.09685), section 4.1.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError(
            "model.lora_rank needs peft, which is not installed: pip install 'sedd-model-hf[lora]', or set "
            "model.lora_rank=0."
        ) from error
    fan_in_fan_out = any(type(module).__name__ == "Conv1D" for module in trunk.modules())
    settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", fan_in_fan_out=fan_in_fan_out)
    inject_adapter_in_model(settings, trunk)
    if head is not None:
        head.requires_grad_(False)
