"""Ways to change a base model; each can be exchanged for another (base.Method)."""

from typing import Any

import torch

from backend.errors import BadInput
from backend.sam.adapters.served import CONV_LORA, LORA
from backend.sam.loading import BaseModel
from finetuner.config import TrainConfig
from finetuner.methods.base import Method
from finetuner.methods.decoder import DecoderMethod

METHODS = (DecoderMethod.name, LORA, CONV_LORA)


def new_method(name: str, base: BaseModel, *, config: TrainConfig | None = None) -> Method:
    """Begin a training by this method, from the base's weights; `config` None: the default recipe.

    Raises:
        BadInput: a name that METHODS does not hold, or the base's encoder has no place for an adapter.
    """
    config = config or TrainConfig()
    if name not in METHODS:
        raise BadInput(f"method {name[:40]!r} is none of {', '.join(METHODS)}")
    if name == DecoderMethod.name:
        return DecoderMethod(base, precision=config.precision)
    return _encoder_method(name, base, config=config)


def _encoder_method(name: str, base: BaseModel, *, config: TrainConfig) -> Method:
    from finetuner.methods.encoder import EncoderMethod

    encoder = base.model.vision_encoder
    places = base.family.places(encoder)
    if not places:
        raise BadInput(
            f"{base.name[:100]} has no plain qkv layer in its encoder that {name} could adapt: it has an adapter "
            "already, or it is no ViT; set SAMLOOP_MODEL to the base it was trained on, or train with method decoder"
        )
    sizes: dict[str, Any] = {
        key: value for key, value in (("rank", config.rank), ("alpha", config.alpha)) if value is not None
    }
    # An adapter is born random: as the seed has it, and without disturbing what others draw.
    with torch.random.fork_rng([] if base.device.type == "cpu" else [base.device]):
        torch.manual_seed(config.seed)
        if name == LORA:
            from finetuner.methods.lora import Lora  # brings peft, which nothing else needs

            return EncoderMethod(name, base, attached=Lora(encoder, places=places, **sizes), config=config)
        from finetuner.methods.conv_lora import ConvLora

        return EncoderMethod(name, base, attached=ConvLora(encoder, places=places, **sizes), config=config)
