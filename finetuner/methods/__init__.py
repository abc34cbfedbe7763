"""The training methods: every module here with a constant `METHOD` is one.

base       the interface of a method, before and during a training
decoder    trains the mask decoder alone
encoder    trains an adapter in the encoder together with the decoder
lora       adds LoRA to the encoder
conv_lora  adds Conv-LoRA to the encoder
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
    """All training methods by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = (importlib.import_module(f"{__name__}.{name}") for name in names)
    return {module.METHOD.name: module.METHOD for module in modules if hasattr(module, "METHOD")}


def choose_method(name: str, base: BaseModel, *, seconds: float) -> str:
    """Resolve `auto` for a base and a limit in `seconds`; any other name stands for itself.

    An adapter pays after a few hundred steps, and every step passes its image forward and backward through the encoder.
    A GPU does that in minutes; a CPU needs more than a second per step. On a CPU the decoder therefore learns alone,
    which also keeps the server's cached embeddings valid after a promotion.
    """
    if name != AUTO:
        return name
    pays = base.device.type == "cuda" and seconds >= _ADAPTER_PAYS_FROM_S
    has_places = bool(base.family.places(base.model.vision_encoder))
    return lora.METHOD.name if pays and has_places else decoder.METHOD.name


def new_method(name: str, base: BaseModel, *, config: TrainConfig | None = None) -> Method:
    """Start a training by this method from the base's weights; without `config`, by the default recipe.

    Raises:
        BadInput: there is no such method, or the base's encoder has no place for an adapter.
    """
    methods = list_methods()
    if name not in methods:
        raise BadInput(f"method {name[:40]!r} is none of {', '.join(methods)}; set SAMLOOP_METHOD to one of these")
    return methods[name].begin(base, config or TrainConfig())
