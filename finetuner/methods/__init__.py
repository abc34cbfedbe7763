"""Ways to change a base model; each can be exchanged for another (base.Method)."""

from backend.errors import BadInput
from backend.sam.loading import BaseModel
from finetuner.methods.base import Method
from finetuner.methods.decoder import DecoderMethod

METHODS = {DecoderMethod.name: DecoderMethod}


def new_method(name: str, base: BaseModel, *, precision: str = "auto") -> Method:
    """Begin a training by this method, from the base's weights.

    Raises:
        BadInput: a name that METHODS does not hold.
    """
    if name not in METHODS:
        raise BadInput(f"method {name[:40]!r} is none of {', '.join(METHODS)}")
    return METHODS[name](base, precision=precision)
