"""The method `lora`: trains peft's LoRA on the fused `qkv` of every encoder block, together with the mask decoder.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (ICLR 2022). Serving merges the update into the
encoder's weights, so it costs no more than the encoder alone (backend.sam.adapters.served).
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from backend.sam.adapters import lora
from backend.sam.adapters.places import Place
from backend.sam.adapters.served import share_tensors
from backend.sam.loading import BaseModel
from finetuner.config import TrainConfig
from finetuner.methods.base import MethodKind
from finetuner.methods.encoder import EncoderMethod, begin_with

RANK, ALPHA = 8, 16.0
_ADAPTER = "default"  # peft's own name for an adapter that is the only one


class Lora:
    """peft's LoRA on a copy of an encoder; A starts random, B at zero."""

    def __init__(
        self, encoder: nn.Module, *, places: Mapping[str, Place], rank: int = RANK, alpha: float = ALPHA
    ) -> None:
        import peft  # slow to import, and the other methods do not need it

        self.rank, self.alpha = rank, alpha
        config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(places), lora_dropout=0.0, bias="none")  # type: ignore[arg-type]  # its alpha may be a fraction, whatever its annotation says
        self.encoder: nn.Module = peft.inject_adapter_in_model(config, share_tensors(encoder), adapter_name=_ADAPTER)
        for weight in self.weights().values():
            weight.data = weight.data.float()  # bfloat16 would round most of Adam's steps to zero

    def weights(self) -> Mapping[str, nn.Parameter]:
        """`...qkv.lora_A.weight` (rank, in) and `...qkv.lora_B.weight` (out, rank) of every block."""
        return {
            name.replace(f".{_ADAPTER}.", "."): weight
            for name, weight in self.encoder.named_parameters()
            if ".lora_A." in name or ".lora_B." in name
        }

    def is_zero(self) -> bool:
        """Whether every B is zero."""
        return not any(bool(weight.any()) for name, weight in self.weights().items() if ".lora_B." in name)

    def balance(self) -> Float[Tensor, ""]:
        """Zero: LoRA has no router to balance."""
        return torch.zeros(())


def _begin(base: BaseModel, config: TrainConfig) -> EncoderMethod:
    return begin_with(METHOD, base, config=config, attach=Lora)


# alpha / rank scales an update. It is 2 here, and the adapter learns in about sixty steps: at a pace of 10 LoRA hardly
# moves, at 30 it gains more than the decoder alone (docs/results.md).
METHOD = MethodKind(name=lora.KIND.name, begin=_begin, adapter=lora.KIND, pace=30.0)
