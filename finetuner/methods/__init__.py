"""Ways to change a base model: a module with a constant `METHOD` is one, and is found here by itself.

base       what a method is, before and while a training runs
decoder    the mask decoder alone
encoder    an adapter in the encoder, and the decoder beside it
lora       LoRA in the encoder
conv_lora  Conv-LoRA in the encoder
"""

import importlib
import pkgutil

from backend.errors import BadInput
from backend.sam.loading import BaseModel
from finetuner.config import TrainConfig
from finetuner.methods import decoder, lora
from finetuner.methods.base import Method, MethodKind

AUTO = "auto"
_ADAPTER_PAYS_FROM_S = 300.0


def list_methods() -> dict[str, MethodKind]:
    """Every method there is, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = (importlib.import_module(f"{__name__}.{name}") for name in names)
    return {module.METHOD.name: module.METHOD for module in modules if hasattr(module, "METHOD")}


def choose_method(name: str, base: BaseModel, *, seconds: float) -> str:
    """The method that this name means for a training of so many seconds; `auto` alone means another.

    An adapter pays once it has a few hundred steps. Every step takes its image through the encoder, forth and back: a
    GPU does that in minutes, a processor takes over a second a step. There the decoder learns alone, and the embeddings
    that the server keeps outlive a promotion.
    """
    if name != AUTO:
        return name
    pays = base.device.type == "cuda" and seconds >= _ADAPTER_PAYS_FROM_S
    has_places = bool(base.family.places(base.model.vision_encoder))
    return lora.METHOD.name if pays and has_places else decoder.METHOD.name


def new_method(name: str, base: BaseModel, *, config: TrainConfig | None = None) -> Method:
    """Begin a training by this method, from the base's weights; `config` None: the default recipe.

    Raises:
        BadInput: there is no such method, or the base's encoder has no place for an adapter.
    """
    methods = list_methods()
    if name not in methods:
        raise BadInput(f"method {name[:40]!r} is none of {', '.join(methods)}; set SAMLOOP_METHOD to one of these")
    return methods[name].begin(base, config or TrainConfig())
