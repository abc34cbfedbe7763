"""The method `conv-lora`: Conv-LoRA on the fused `qkv` of every block of the encoder, the mask decoder beside it.

The layer, and where and why it differs from the authors' code, are in backend.sam.adapters.conv_lora: the router
receives the task's gradient, one expert is chosen for an image and not for each window, padding has no vote, and the
balance is that of probabilities. It cannot be merged, for it depends on the image: the encoder that serves has the
layers too.
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
    """The adapter on a copy of an encoder; A is random, B zero, the gates alike."""

    def __init__(
        self, encoder: nn.Module, *, places: Mapping[str, Place], rank: int = RANK, alpha: float = ALPHA
    ) -> None:
        self.rank, self.alpha = rank, alpha
        self.encoder = share_tensors(encoder)
        self._layers = attach_conv_lora(self.encoder, places=places, rank=rank, alpha=alpha)
        for layer in self._layers:
            layer.to(layer.frozen.weight.device)

    def weights(self) -> Mapping[str, nn.Parameter]:
        """All that was added, by its names in the encoder."""
        return dict(adapter_parameters(self.encoder))

    def is_zero(self) -> bool:
        """Whether every B is."""
        return not any(bool(layer.up.any()) for layer in self._layers)

    def balance(self) -> Float[Tensor, ""]:
        """The routers' loss, summed over the layers (Zhong et al., section 3.2)."""
        return balance_loss(self.encoder)


def _begin(base: BaseModel, config: TrainConfig) -> EncoderMethod:
    return begin_with(METHOD, base, config=config, attach=ConvLora)


# An update is scaled by alpha / rank, 11 here: five times LoRA's, so a lower pace moves it as far.
METHOD = MethodKind(name=conv_lora.KIND.name, begin=_begin, adapter=conv_lora.KIND, pace=10.0)
