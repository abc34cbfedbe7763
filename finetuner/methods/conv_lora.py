"""The method `conv-lora`: trains Conv-LoRA on the fused `qkv` of every encoder block, together with the mask decoder.

backend.sam.adapters.conv_lora has the layer, and says where and why it differs from the authors' code: the router
receives the task's gradient, chooses one expert per image instead of per window, ignores padding, and its balance loss
is that of probabilities. The layer depends on the image, so it cannot be merged into the weights; serving has it too.
"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from backend.sam.adapters import conv_lora
from backend.sam.adapters.conv_lora import ALPHA, RANK, adapter_parameters, attach_conv_lora, balance_loss
from backend.sam.adapters.places import Place
from backend.sam.adapters.served import share_tensors
from backend.sam.loading import BaseModel
from finetuner.config import TrainConfig
from finetuner.methods.base import MethodKind
from finetuner.methods.encoder import EncoderMethod, begin_with


class ConvLora:
    """Conv-LoRA on a copy of an encoder; A starts random, B at zero, the gates all alike."""

    def __init__(
        self, encoder: nn.Module, *, places: Mapping[str, Place], rank: int = RANK, alpha: float = ALPHA
    ) -> None:
        self.rank, self.alpha = rank, alpha
        self.encoder = share_tensors(encoder)
        self._layers = attach_conv_lora(self.encoder, places=places, rank=rank, alpha=alpha)
        for layer in self._layers:
            layer.to(layer.frozen.weight.device)

    def weights(self) -> Mapping[str, nn.Parameter]:
        """The adapter's weights by their names in the encoder."""
        return dict(adapter_parameters(self.encoder))

    def is_zero(self) -> bool:
        """Whether every B is zero."""
        return not any(bool(layer.up.any()) for layer in self._layers)

    def balance(self) -> Float[Tensor, ""]:
        """The routers' balance loss, summed over the layers (Zhong et al. 2024, section 3.2); a scalar."""
        return balance_loss(self.encoder)


def _begin(base: BaseModel, config: TrainConfig) -> EncoderMethod:
    return begin_with(METHOD, base, config=config, attach=ConvLora)


# alpha / rank scales an update. It is 11 here, five times LoRA's, so a lower pace has the same effect.
METHOD = MethodKind(name=conv_lora.KIND.name, begin=_begin, adapter=conv_lora.KIND, pace=10.0)
