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
from finetuner.methods.base import Method, MethodKind


def known_methods() -> dict[str, MethodKind]:
    """Every method there is, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = (importlib.import_module(f"{__name__}.{name}") for name in names)
    return {module.METHOD.name: module.METHOD for module in modules if hasattr(module, "METHOD")}


def new_method(name: str, base: BaseModel, *, config: TrainConfig | None = None) -> Method:
    """Begin a training by this method, from the base's weights; `config` None: the default recipe.

    Raises:
        BadInput: there is no such method, or the base's encoder has no place for an adapter.
    """
    methods = known_methods()
    if name not in methods:
        raise BadInput(f"method {name[:40]!r} is none of {', '.join(methods)}; set SAMLOOP_METHOD to one of these")
    return methods[name].begin(base, config or TrainConfig())
